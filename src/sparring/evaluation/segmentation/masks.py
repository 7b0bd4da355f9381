"""Images with masks for segmentation protocols: opening and checking both sets, and scoring."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from sparring.config import Settings
from sparring.data.sources.segmentation_images import SegmentationImages
from sparring.data.sources.segmentation_layouts import open_segmentation_images
from sparring.data.sources.source import ImageData, Source
from sparring.errors import ConfigError, DataError
from sparring.evaluation.classified import HELD_OUT_SHARE
from sparring.evaluation.data import EvaluationData
from sparring.evaluation.features import ReportProgress
from sparring.evaluation.protocol import Result, table
from sparring.evaluation.segmentation.mask_views import resized_mask
from sparring.measures.iou import intersection_over_union, mean_iou, pixel_accuracy
from sparring.seeding import generator

IGNORED = 255
"""The id of pixels without a class in VOC's masks and most others."""
VOID_NAMES = ("void", "ignore", "ignored", "unlabelled", "unlabeled")
"""Names, in any case, of a class that means "no class"."""

# That many equal masks tell that two sets are one.
_COMPARED_MASKS = 8


class MaskSettings(Settings):
    """How masks are read; part of the settings of every protocol on masks."""

    protocol: ClassVar[str] = "segmentation"

    num_classes: int | None = Field(default=None, ge=2, le=65_536)
    """Ids are 0 .. num_classes - 1; None: as many as there are names, else up to the highest id in
    the masks."""
    class_names: tuple[str, ...] = ()
    """Names of the ids in their order, for masks that carry none; without them classes are called
    by their ids."""
    ignore_index: int | None = Field(default=None, ge=0, le=65_535)
    """Id of pixels without a class, neither learned nor scored; None: that of a class named void,
    ignored or unlabelled, else 255."""
    longer_side: int | None = Field(default=None, ge=16)
    """Larger images are shrunk to this longer side before the network sees them; None: none is.
    Scored are the masks at their own size."""


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """Images with masks, in a set to learn from and a set to score."""

    train: SegmentationImages
    train_rows: tuple[int, ...]
    test: SegmentationImages
    test_rows: tuple[int, ...]
    class_names: tuple[str, ...]
    ignore_index: int
    train_pixels: Int[Tensor, "classes"]
    test_pixels: Int[Tensor, "classes"]
    """Pixels of each class in the rows to learn from and in those to score."""
    tested_on: str
    """Which images are scored, in words."""
    longer_side: int | None

    @property
    def num_classes(self) -> int:
        """Number of ids that a pixel can be given."""
        return len(self.class_names)

    def train_pair(
        self, row: int
    ) -> tuple[Float[Tensor, "3 height width"], Int[Tensor, "height width"]]:
        """An image to learn from, in [0, 1], and its mask, both shrunk if they are large."""
        image, mask = shrunk(self.train.image(row), self.longer_side), self.train.mask(row)
        return image, mask if mask.shape == image.shape[1:] else resized_mask(mask, image.shape[1:])

    def test_image(self, row: int) -> Float[Tensor, "3 height width"]:
        """An image to score, in [0, 1]."""
        return shrunk(self.test.image(row), self.longer_side)

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
            "ignore_index": self.ignore_index,
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
    train, test, train_rows, test_rows, tested_on = _sets(data)
    train_counts = _pixels(train, train_rows, data.progress("checking the training masks"))
    test_counts = _pixels(test, test_rows, data.progress("checking the test masks"))
    names, ignore_index = _classes(
        train.class_names, np.maximum(train_counts, test_counts), settings
    )
    for counts, which in ((train_counts, "training"), (test_counts, "test")):
        _refuse_unusable(
            counts,
            which,
            ignore_index=ignore_index,
            num_classes=len(names),
            protocol=settings.protocol,
        )
    train_pixels, test_pixels = (
        _of_classes(counts, len(names), ignore_index) for counts in (train_counts, test_counts)
    )
    return Segmented(
        train=train,
        train_rows=train_rows,
        test=test,
        test_rows=test_rows,
        class_names=names,
        ignore_index=ignore_index,
        train_pixels=train_pixels,
        test_pixels=test_pixels,
        tested_on=tested_on,
        longer_side=settings.longer_side,
    )


def _sets(
    data: EvaluationData,
) -> tuple[SegmentationImages, SegmentationImages, tuple[int, ...], tuple[int, ...], str]:
    """Both sets and the rows of each; a single set, or two equal ones, are split."""
    given = data.train if data.train is not None else data.test
    if given is None:
        raise DataError("no images given; name some with --data")
    train = _opened(
        data, given, "images to learn from (--train-data)" if data.train is not None else "images"
    )
    test = (
        train
        if data.train is None or data.test is None
        else _opened(data, data.test, "images to score (--data)")
    )
    most_train, most_test = data.limits
    if not _are_same(train, test):
        return (
            train,
            test,
            _at_most(range(len(train)), most_train),
            _at_most(range(len(test)), most_test),
            "all test images",
        )
    if len(train) < 2:
        raise DataError(
            "a single image cannot be both learned from and scored; give others with --train-data"
        )
    order = torch.randperm(len(train), generator=generator(data.seed, "held-out masks")).tolist()
    held_out = max(1, round(HELD_OUT_SHARE * len(train)))
    tested_on = (
        f"{HELD_OUT_SHARE:.0%} of the images, held out because training and test images are the "
        "same"
    )
    return (
        train,
        train,
        _at_most(sorted(order[held_out:]), most_train),
        _at_most(sorted(order[:held_out]), most_test),
        tested_on,
    )


def _opened(data: EvaluationData, given: ImageData | Source, which: str) -> SegmentationImages:
    try:
        images = open_segmentation_images(given)
        images.form = data.form(images.source)
        return images
    except DataError as error:
        raise DataError(f"{which}: {error}") from None


def _at_most(rows: Sequence[int], limit: int | None) -> tuple[int, ...]:
    """At most so many of the rows, drawn at random with a fixed seed."""
    if limit is None or len(rows) <= limit:
        return tuple(rows)
    chosen: list[int] = (
        torch.randperm(len(rows), generator=generator(0, "limit"))[:limit].sort().values.tolist()
    )
    return tuple(rows[place] for place in chosen)


def _are_same(train: SegmentationImages, test: SegmentationImages) -> bool:
    """Whether both sets hold the same images, perhaps read from two files."""
    if train is test or train.fingerprint() == test.fingerprint():
        return True
    rows = np.linspace(0, len(train) - 1, _COMPARED_MASKS).astype(int).tolist()
    return len(train) == len(test) and all(
        torch.equal(train.mask(row), test.mask(row))
        and torch.equal(train.image(row), test.image(row))
        for row in rows
    )


def _pixels(
    data: SegmentationImages, rows: tuple[int, ...], progress: ReportProgress | None
) -> np.ndarray:
    """Number of pixels of each id in the masks of the rows."""
    counts = np.zeros(65_536, np.int64)
    for done, row in enumerate(rows, start=1):
        ids = data.checked_mask(row).flatten().numpy()
        if ids.size and not 0 <= ids.min() <= ids.max() < len(counts):
            raise DataError(
                f"the mask of {data.key(row)} has ids from {ids.min()} to {ids.max()}; "
                f"accepted are 0 to {len(counts) - 1}"
            )
        found = np.bincount(ids)
        counts[: len(found)] += found
        if progress is not None:
            progress(done, len(rows))
    return counts


def _classes(
    found: tuple[str, ...] | None, counts: np.ndarray, settings: MaskSettings
) -> tuple[tuple[str, ...], int]:
    """Names of the classes and the ignored id."""
    names, number = settings.class_names or found or (), settings.num_classes
    if settings.class_names and number is not None and len(names) != number:
        raise ConfigError(
            f"{settings.protocol}.num_classes is {number} and {settings.protocol}.class_names "
            f"has {len(names)} names; set one of them only"
        )
    void = next((place for place, name in enumerate(names) if name.lower() in VOID_NAMES), IGNORED)
    ignore_index = settings.ignore_index if settings.ignore_index is not None else void
    if number is None and not names:
        others = np.flatnonzero(counts)
        number = int(max(others[others != ignore_index], default=0)) + 1
    elif number is None:
        number = len(names) - (ignore_index == len(names) - 1)
    return tuple(
        names[place] if place < len(names) else str(place) for place in range(number)
    ), ignore_index


def _refuse_unusable(
    counts: np.ndarray, which: str, *, ignore_index: int, num_classes: int, protocol: str
) -> None:
    """Check that the masks have the classes that the settings promise."""
    ids = np.flatnonzero(counts)
    known = ids[ids != ignore_index]
    if len(known) and known[-1] >= num_classes:
        raise DataError(
            f"the {which} masks have the id {known[-1]}, but the classes are 0 to "
            f"{num_classes - 1} (and {ignore_index}: ignored); "
            f"set {protocol}.num_classes or {protocol}.class_names, or "
            f"{protocol}.ignore_index if that id means no class"
        )
    if not len(known):
        raise DataError(
            f"every pixel of the {which} masks has the id {ignore_index}, which is ignored; "
            f"set {protocol}.ignore_index to another id"
        )
    if which == "training" and len(known) == 1:
        hint = (
            f"; {ignore_index} is ignored: use other ids, or set {protocol}.ignore_index"
            if len(ids) > 1
            else ""
        )
        raise DataError(
            f"the training masks show a single class, id {known[0]}, and telling classes "
            f"apart needs at least two{hint}"
        )


def _of_classes(counts: np.ndarray, num_classes: int, ignore_index: int) -> Tensor:
    """Number of pixels of each class; the ignored id does not count."""
    kept = counts[:num_classes].copy()
    if ignore_index < num_classes:
        kept[ignore_index] = 0
    return torch.from_numpy(kept)
