"""Images with known classes, in a set to learn from and a set to score."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparring.data.classes import Labels, canonical, listed, match_classes
from sparring.data.dataset import Dataset
from sparring.data.duplicates import known_images
from sparring.data.sources.source import Source
from sparring.errors import DataError
from sparring.evaluation.predictions import Predictions
from sparring.evaluation.split import split

HELD_OUT_SHARE = 0.2
"""Part of each class that is scored when the same images are given for training and test."""


@dataclass(frozen=True, kw_only=True)
class Classified:
    """Images with known classes: those to learn from, and those to score."""

    train: Dataset
    train_rows: Int[Tensor, "train"]
    """Indices into `train`, rising."""
    train_labels: Int[Tensor, "train"]
    """Class of each row, 0 .. classes - 1, every one of them present."""
    test: Dataset
    test_rows: Int[Tensor, "test"]
    test_labels: Int[Tensor, "test"]
    """Class of each test row, matched by name; a class that training lacks is `len(class_names)`,
    which is never predicted and so counts as an error."""
    class_names: tuple[str, ...]
    tested_on: str
    """Which images are scored, in words."""
    validation: Int[Tensor, "validation"] | None = None
    """Positions within `train_rows` of the official validation images of a public set that has
    them."""
    num_known: int = 0
    """Images to score that are equal to one that is learned from."""
    notes: tuple[str, ...] = ()
    """What a user should read about the classes and the images, a line each."""

    def predictions(
        self, predicted: Int[Tensor, "*fits test"], fits: Sequence[str] = ()
    ) -> Predictions:
        """Predictions of the test rows, for a result.

        Args:
            predicted: class of each row, for each fit if there are several.
            fits: names of several fits.
        """
        return Predictions(
            keys=tuple(self.test.keys[row] for row in self.test_rows.tolist()),
            classes=self.class_names,
            targets=self.test_labels.numpy(),
            predicted=predicted.cpu().numpy(),
            fits=tuple(fits),
        )

    @property
    def sizes(self) -> dict[str, int | str]:
        """Numbers of images, and what is scored, for the result of a protocol."""
        unseen = int((self.test_labels == len(self.class_names)).sum())
        known: dict[str, int | str] = {
            "train_images": len(self.train_rows),
            "test_images": len(self.test_rows),
            "tested_on": self.tested_on,
        }
        counts = {"images_of_unseen_classes": unseen, "images_also_learned_from": self.num_known}
        return known | {name: count for name, count in counts.items() if count}


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Features and classes of the rows to learn from and of the rows to score, on the device."""

    train_features: Float[Tensor, "train channels"]
    train_labels: Int[Tensor, "train"]
    test_features: Float[Tensor, "test channels"]
    test_labels: Int[Tensor, "test"]


def classified(train: Dataset, test: Dataset, *, seed: int) -> Classified:
    """Images of both sets whose classes are known. If all images to score are learned from too, a
    part is held out, so that no image is scored by a classifier that learned it.

    Args:
        train: to learn from.
        test: to score; its classes are matched by name.
        seed: draws the part that is held out.

    Raises:
        DataError: without labels, with a single class, or without a class that both sets show.
    """
    labels = _known_labels(train, "training")
    others = labels if test is train else _known_labels(test, "test")
    rows, test_rows = (np.flatnonzero(found >= 0) for found in (labels, others))
    names, targets = _by_name(train, labels[rows])
    if len(names) < 2:
        raise DataError(
            f"the training images show a single class, {listed(names)}, and telling classes apart "
            "needs at least two"
        )
    test_names, test_targets = _by_name(test, others[test_rows])
    matching = match_classes(names, test_names)
    notes = list(matching.notes)
    if len(test_names) == 1:
        notes.append(f"all test images are of one class, {listed(test_names)}")
    test_targets = np.array(matching.targets, np.int64)[test_targets]
    tested_on = "all labelled test images"
    if test.source.part:
        tested_on = f"all labelled images of the part '{test.source.part}'"
    equal = _equal_images(train, test, rows, test_rows)
    if (equal >= 0).all():
        kept, held_out = split(torch.from_numpy(test_targets), share=HELD_OUT_SHARE, seed=seed)
        notes += _never_scored(names, test_targets)
        test_rows, test_targets = test_rows[held_out.numpy()], test_targets[held_out.numpy()]
        if train is test:
            rows, targets = rows[kept.numpy()], targets[kept.numpy()]
        else:
            is_kept = _without(train, test, rows=rows, test_rows=test_rows, targets=targets)
            rows, targets = rows[is_kept], targets[is_kept]
        tested_on = (
            f"{HELD_OUT_SHARE:.0%} of the images, held out because training and test images are "
            "the same"
        )
        equal = _equal_images(train, test, rows, test_rows)
    if num_known := int((equal >= 0).sum()):
        notes.append(_also_known(train, test, test_rows, equal))
    return Classified(
        train=train,
        train_rows=torch.from_numpy(rows),
        train_labels=torch.from_numpy(targets),
        test=test,
        test_rows=torch.from_numpy(test_rows),
        test_labels=torch.from_numpy(test_targets),
        class_names=names,
        tested_on=tested_on,
        num_known=num_known,
        notes=tuple(notes),
    )


def _never_scored(names: Sequence[str], targets: npt.NDArray[np.int64]) -> list[str]:
    """A line about classes of a single image, which cannot be held out; none without any."""
    numbers, counts = np.unique(targets, return_counts=True)
    alone = [names[number] for number in numbers[counts == 1] if number < len(names)]
    if not alone:
        return []
    return [f"{listed(alone)}: a single image of it, which is learned from and never scored"]


def positions(known: Classified, validation: Source) -> Int[Tensor, "validation"]:
    """Positions among the training rows of the images of another source."""
    keys = {validation.key(row) for row in range(len(validation))}
    is_validation = [known.train.keys[row] in keys for row in known.train_rows.tolist()]
    return torch.tensor(is_validation).nonzero().flatten()


def _known_labels(dataset: Dataset, which: str) -> Labels:
    labels = dataset.labels
    if labels is None or not (labels >= 0).any():
        reason = dataset.source.labels_missing
        raise DataError(
            f"the {which} images have no labels to score with: put each class in a folder of its "
            "own, give (images, labels), or ask for a protocol that needs none "
            "(`sparring protocols` lists them)"
            f"{f' ({reason})' if reason else ''}"
        )
    return labels


def _by_name(dataset: Dataset, labels: Labels) -> tuple[tuple[str, ...], Labels]:
    """Names of the classes that labels show, in the order of their numbers, and the place of each
    label among them; equal names are one class."""
    present, places = np.unique(labels, return_inverse=True)
    given = dataset.class_names or ()
    names = [given[label] if label < len(given) else str(label) for label in present.tolist()]
    classes = {canonical(name): name for name in reversed(names)}
    order = tuple(name for name in names if classes[canonical(name)] is name)
    numbers = {canonical(name): number for number, name in enumerate(order)}
    return order, np.array([numbers[canonical(name)] for name in names], np.int64)[places]


def _equal_images(train: Dataset, test: Dataset, rows: Labels, test_rows: Labels) -> Labels:
    """For each image to score, the row of an equal one that is learned from, or -1."""
    if train is test and np.array_equal(rows, test_rows):
        return rows
    return known_images(train, test, rows=rows, scored_rows=test_rows)


def _without(
    train: Dataset, test: Dataset, *, rows: Labels, test_rows: Labels, targets: Labels
) -> npt.NDArray[np.bool_]:
    """Whether each training row stays when the images to score are taken out; a class that would
    vanish stays."""
    is_kept = known_images(test, train, rows=test_rows, scored_rows=rows) < 0
    return is_kept | ~np.isin(targets, targets[is_kept])


def _also_known(train: Dataset, test: Dataset, test_rows: Labels, equal: Labels) -> str:
    first = int(np.argmax(equal >= 0))
    pair = f"{test.keys[int(test_rows[first])]}, which equals {train.keys[int(equal[first])]}"
    return (
        f"{int((equal >= 0).sum()):,} of the {len(equal):,} images to score are also learned from, "
        f"such as {pair}; scores count them"
    )
