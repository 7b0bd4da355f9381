"""Images with masks for segmentation protocols: opening and checking both sets, and scoring."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from sparring.data.sources.image_source import UnreadableItemError
from sparring.data.sources.segmentation_images import SegmentationImages
from sparring.data.sources.segmentation_layouts import open_segmentation_images
from sparring.data.sources.source import ImageData, Source
from sparring.errors import DataError
from sparring.evaluation.classified import HELD_OUT_SHARE
from sparring.evaluation.data import EvaluationData
from sparring.evaluation.protocol import Result, table
from sparring.evaluation.readable import readable
from sparring.evaluation.segmentation.mask_classes import (
    NUM_IDS,
    CountedMasks,
    MaskClasses,
    MaskSettings,
    mask_classes,
)
from sparring.evaluation.segmentation.mask_views import resized_mask
from sparring.measures.iou import intersection_over_union, mean_iou, pixel_accuracy
from sparring.seeding import generator

_Counts: TypeAlias = dict[int, npt.NDArray[np.int64]]
"""Number of pixels of each id, by the row of a mask."""
# That many equal masks tell that two sets are one.
_COMPARED_MASKS = 8


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """Images with masks, in a set to learn from and a set to score."""

    train: SegmentationImages
    train_rows: tuple[int, ...]
    test: SegmentationImages
    test_rows: tuple[int, ...]
    classes: MaskClasses
    tested_on: str
    """Which images are scored, in words."""
    longer_side: int | None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each number that a pixel can be given."""
        return self.classes.names

    @property
    def ignore_index(self) -> int:
        """Number of pixels without a class."""
        return self.classes.ignore_index

    @property
    def train_pixels(self) -> Int[Tensor, "classes"]:
        """Pixels of each class in the rows to learn from."""
        return self.classes.train_pixels

    @property
    def test_pixels(self) -> Int[Tensor, "classes"]:
        """Pixels of each class in the rows to score."""
        return self.classes.test_pixels

    @property
    def num_classes(self) -> int:
        """Number of classes that a pixel can be given."""
        return len(self.class_names)

    def train_pair(
        self, row: int
    ) -> tuple[Float[Tensor, "3 height width"], Int[Tensor, "height width"]]:
        """An image to learn from, in [0, 1], and the class of each pixel, both shrunk if they are
        large."""
        image = shrunk(self.train.image(row), self.longer_side)
        mask = self.classes.train_numbers[self.train.mask(row)]
        return image, mask if mask.shape == image.shape[1:] else resized_mask(mask, image.shape[1:])

    def test_image(self, row: int) -> Float[Tensor, "3 height width"]:
        """An image to score, in [0, 1]."""
        return shrunk(self.test.image(row), self.longer_side)

    def test_mask(self, row: int) -> Int[Tensor, "height width"]:
        """Class of each pixel of an image to score."""
        return self.classes.test_numbers[self.test.mask(row)]

    def prediction(
        self, logits: Float[Tensor, "classes height width"]
    ) -> Int[Tensor, "height width"]:
        """Predicted class of each pixel; a class that training lacks is never predicted."""
        unseen = (self.train_pixels == 0).to(logits.device)
        return logits.masked_fill(unseen[:, None, None], -torch.inf).argmax(dim=0)

    def result(self, confusion: Int[Tensor, "classes classes"]) -> Result:
        """Result of a confusion matrix on the images to score, with the numbers of images."""
        ious = intersection_over_union(confusion)
        present = [number for number in range(self.num_classes) if self.test_pixels[number] > 0]
        shares = self.test_pixels / self.test_pixels.sum()
        rows = [
            (self.class_names[number], ious[number].item(), shares[number].item())
            for number in present
        ]
        return {
            "miou": mean_iou(confusion),
            "pixel_accuracy": pixel_accuracy(confusion),
            "classes": len(present),
            "ignore_index": self.classes.ignored_id,
            "train_images": len(self.train_rows),
            "test_images": len(self.test_rows),
            "tested_on": self.tested_on,
            "table": table(
                ("class", "IoU %", "share of pixels %"),
                rows,
                title="Intersection over union by class",
            ),
            **self._unseen_note(),
        }

    def _unseen_note(self) -> Result:
        unseen = [
            name
            for name, train, test in zip(
                self.class_names, self.train_pixels, self.test_pixels, strict=True
            )
            if test and not train
        ]
        if not unseen:
            return {}
        return {
            "note": f"not in the training masks, so counted with an IoU of 0: {', '.join(unseen)}"
        }


def shrunk(image: Tensor, longer_side: int | None) -> Float[Tensor, "3 height width"]:
    """An image of bytes in [0, 1], its longer side at most this."""
    values, longest = image.float() / 255, max(image.shape[1:])
    if longer_side is None or longest <= longer_side:
        return values
    size = [max(1, round(side * longer_side / longest)) for side in image.shape[1:]]
    return F.interpolate(
        values[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )[0].clamp(0, 1)


def open_segmented(data: EvaluationData, settings: MaskSettings) -> Segmented:
    """Open the images with masks, and check every mask once.

    Raises:
        ConfigError: names and a number of classes that differ.
        DataError: no masks, masks that do not fit their images, ids beyond the classes, or nothing
            to learn or to score.
    """
    key = f"masks {settings.model_dump_json(include=set(MaskSettings.model_fields))}"
    found = data.once((settings.protocol, key), lambda: _opened_and_checked(data, settings))
    data.use(found.train, found.train_rows, found.test, found.test_rows)
    return found


def _opened_and_checked(data: EvaluationData, settings: MaskSettings) -> Segmented:
    train, test = _sets(data)
    for note in dict.fromkeys((*train.notes, *test.notes)):
        data.report(note)
    train_counts, test_counts, tested_on = _seen(train, test, data)
    classes = mask_classes(
        CountedMasks(train.class_names, _total(train_counts.values())),
        CountedMasks(test.class_names, _total(test_counts.values())),
        settings,
    )
    for note in classes.notes:
        data.report(note)
    return Segmented(
        train=train,
        train_rows=tuple(train_counts),
        test=test,
        test_rows=tuple(test_counts),
        classes=classes,
        tested_on=tested_on,
        longer_side=settings.longer_side,
    )


def _sets(data: EvaluationData) -> tuple[SegmentationImages, SegmentationImages]:
    """Both sets; the same object twice if only one is given, or if they are equal."""
    given = data.train if data.train is not None else data.test
    if given is None:
        raise DataError("no images given; name some with --data")
    train = _opened(
        data, given, "images to learn from (--train-data)" if data.train is not None else "images"
    )
    if data.train is None or data.test is None:
        return train, train
    test = _opened(data, data.test, "images to score (--data)")
    return train, train if _are_same(train, test) else test


def _seen(
    train: SegmentationImages, test: SegmentationImages, data: EvaluationData
) -> tuple[_Counts, _Counts, str]:
    """Pixels of each id in the masks of the images that can be read, by row, in the set to learn
    from and in the one to score; and which images are scored. A single set is split."""
    most_train, most_test = data.limits

    def look(images: SegmentationImages, rows: Sequence[int], which: str) -> _Counts:
        what = f"{which}images and their masks"
        return readable(rows, partial(_counts, images), what=what, data=data)

    if train is not test:
        return (
            look(train, _at_most(range(len(train)), most_train, seed=data.seed), "training "),
            look(test, _at_most(range(len(test)), most_test, seed=data.split_seed), "test "),
            "all test images",
        )
    seen = look(train, range(len(train)), "")
    rows = list(seen)
    if len(rows) < 2:
        raise DataError(
            "a single image cannot be both learned from and scored; give others with --train-data"
        )
    generated = generator(data.split_seed, "held-out masks")
    order = torch.randperm(len(rows), generator=generated).tolist()
    held_out = max(1, round(HELD_OUT_SHARE * len(rows)))
    kept, scored = (
        {rows[place]: seen[rows[place]] for place in _at_most(sorted(places), limit, seed=seed)}
        for places, limit, seed in (
            (order[held_out:], most_train, data.seed),
            (order[:held_out], most_test, data.split_seed),
        )
    )
    tested_on = (
        f"{HELD_OUT_SHARE:.0%} of the images, held out because training and test images are the "
        "same"
    )
    return kept, scored, tested_on


def _opened(data: EvaluationData, given: ImageData | Source, which: str) -> SegmentationImages:
    try:
        images = open_segmentation_images(given)
        images.form = data.form(images.source)
        return images
    except DataError as error:
        raise DataError(f"{which}: {error}") from None


def _at_most(rows: Sequence[int], limit: int | None, *, seed: int) -> tuple[int, ...]:
    """At most so many of the rows, drawn at random."""
    if limit is None or len(rows) <= limit:
        return tuple(rows)
    order = torch.randperm(len(rows), generator=generator(seed, "limit"))
    chosen: list[int] = order[:limit].sort().values.tolist()
    return tuple(rows[place] for place in chosen)


def _are_same(train: SegmentationImages, test: SegmentationImages) -> bool:
    """Whether both sets hold the same images, perhaps read from two files."""
    if train is test or train.fingerprint() == test.fingerprint():
        return True
    rows = np.linspace(0, len(train) - 1, _COMPARED_MASKS).astype(int).tolist()
    return len(train) == len(test) and all(_is_same(train, test, row) for row in rows)


def _is_same(train: SegmentationImages, test: SegmentationImages, row: int) -> bool:
    """Whether a row of both sets has the same image and mask, or can be read in neither."""
    first, second = (_pair(images, row) for images in (train, test))
    if first is None or second is None:
        return first is second
    return all(map(torch.equal, first, second))


def _pair(images: SegmentationImages, row: int) -> tuple[Tensor, Tensor] | None:
    """An image and its mask; None if the image cannot be read."""
    try:
        return images.mask(row), images.image(row)
    except UnreadableItemError:
        return None


def _counts(images: SegmentationImages, row: int) -> npt.NDArray[np.int64]:
    """Number of pixels of each id in a mask, up to its highest."""
    ids = images.checked_mask(row).flatten().numpy()
    if ids.size and not 0 <= ids.min() <= ids.max() < NUM_IDS:
        raise DataError(
            f"the mask of {images.key(row)} has ids from {ids.min()} to {ids.max()}; "
            f"accepted are 0 to {NUM_IDS - 1}"
        )
    return np.bincount(ids)


def _total(parts: Iterable[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Number of pixels of each of the `NUM_IDS` ids."""
    counts = np.zeros(NUM_IDS, np.int64)
    for part in parts:
        counts[: len(part)] += part
    return counts
