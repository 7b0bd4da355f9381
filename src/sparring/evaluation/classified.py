"""Images with known classes, in a set to learn from and a set to score."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.sources.source import Source
from sparring.errors import DataError
from sparring.evaluation.predictions import Predictions
from sparring.evaluation.split import split

HELD_OUT_SHARE = 0.2
"""Part of each class that is scored when the same images are given for training and test."""

# That many equal images, spread over the set, and equal labels tell that two sets are one.
_COMPARED_IMAGES = 64


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
        return known | ({"images_of_unseen_classes": unseen} if unseen else {})


def classified(train: Dataset, test: Dataset, *, seed: int) -> Classified:
    """Images of both sets whose classes are known. Equal sets are split, so that no image is scored
    by a classifier that learned it.

    Args:
        train: to learn from.
        test: to score; its classes are matched by name where both sets have names.
        seed: draws the part that is held out.

    Raises:
        DataError: without labels, or with a single class.
    """
    labels = _known_labels(train, "training")
    others = labels if test is train else _known_labels(test, "test")
    rows, test_rows = (np.flatnonzero(found >= 0) for found in (labels, others))
    present = np.unique(labels[rows])
    if len(present) < 2:
        raise DataError(
            "the training images show a single class, and telling classes apart needs at least two"
        )
    names = tuple(_name(train, int(label)) for label in present)
    numbers = {name: number for number, name in enumerate(names)}
    targets = torch.from_numpy(np.searchsorted(present, labels[rows]))
    by_label = {
        int(label): numbers.get(_name(test, int(label)), len(names))
        for label in np.unique(others[test_rows])
    }
    test_targets = torch.tensor(
        [by_label[int(label)] for label in others[test_rows]], dtype=torch.long
    )
    train_rows, scored_rows = torch.from_numpy(rows), torch.from_numpy(test_rows)
    tested_on = "all labelled test images"
    if _are_same(train, test, labels, others):
        kept, held_out = split(targets, share=HELD_OUT_SHARE, seed=seed)
        scored_rows, test_targets = train_rows[held_out], targets[held_out]
        train_rows, targets = train_rows[kept], targets[kept]
        tested_on = (
            f"{HELD_OUT_SHARE:.0%} of the images, held out because training and test images are "
            "the same"
        )
    return Classified(
        train=train,
        train_rows=train_rows,
        train_labels=targets,
        test=test,
        test_rows=scored_rows,
        test_labels=test_targets,
        class_names=names,
        tested_on=tested_on,
    )


def positions(known: Classified, validation: Source) -> Int[Tensor, "validation"]:
    """Positions among the training rows of the images of another source."""
    keys = {validation.key(row) for row in range(len(validation))}
    is_validation = [known.train.keys[row] in keys for row in known.train_rows.tolist()]
    return torch.tensor(is_validation).nonzero().flatten()


def _known_labels(dataset: Dataset, which: str) -> np.ndarray:
    labels = dataset.labels
    if labels is None or not (labels >= 0).any():
        raise DataError(
            f"the {which} images have no labels to score with: put each class in a folder of "
            "its own, "
            "or ask for protocols that need no labels"
        )
    return labels


def _name(dataset: Dataset, label: int) -> str:
    names = dataset.class_names
    return names[label] if names is not None and label < len(names) else str(label)


def _are_same(train: Dataset, test: Dataset, labels: np.ndarray, others: np.ndarray) -> bool:
    """Whether both sets hold the same images, perhaps read from two files."""
    if train is test or train.fingerprint == test.fingerprint:
        return True
    if len(train) != len(test) or not np.array_equal(labels, others):
        return False
    rows = np.linspace(0, len(train) - 1, min(len(train), _COMPARED_IMAGES)).astype(np.int64)
    return torch.equal(train.images(rows), test.images(rows))
