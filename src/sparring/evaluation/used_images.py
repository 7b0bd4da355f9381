"""Which images a result is of: fingerprints of the sets that were learned from and scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from jaxtyping import Int
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.sources.source import ImageData, Source
from sparring.evaluation.classified import Classified
from sparring.training.scores import ImageSet


class Annotated(Protocol):
    """Images that a protocol opens by itself, such as those with boxes or masks."""

    def key(self, index: int, /) -> str: ...
    def content_fingerprint(self) -> str: ...


def chosen_set(images: Annotated, rows: Sequence[int]) -> ImageSet:
    """Chosen images of a set that a protocol has opened by itself."""
    return ImageSet.of(images.content_fingerprint(), [images.key(row) for row in rows])


def whole_sets(train: Dataset, test: Dataset) -> tuple[ImageSet, ImageSet]:
    """All images to learn from and all images to score; their files are listed for it."""
    first = ImageSet.of(train.content_fingerprint, list(train.keys))
    if test is train:
        return first, first
    return first, ImageSet.of(test.content_fingerprint, list(test.keys))


def classified_sets(
    known: Classified, whole: tuple[ImageSet, ImageSet]
) -> tuple[ImageSet, ImageSet]:
    """Images with known classes, of sets whose fingerprints are known."""
    return (
        _labelled_set(whole[0], known.train, known.train_rows, known.train_labels),
        _labelled_set(whole[1], known.test, known.test_rows, known.test_labels),
    )


def _labelled_set(
    whole: ImageSet, dataset: Dataset, rows: Int[Tensor, "rows"], labels: Int[Tensor, "rows"]
) -> ImageSet:
    """Images with their classes: under another class an image is another question."""
    names = dataset.keys
    pairs = zip(rows.tolist(), labels.tolist(), strict=True)
    return ImageSet.of(whole.fingerprint or "", [f"{names[row]} {label}" for row, label in pairs])


def name_of(data: ImageData | Source | None) -> str:
    """Name of the images as a user gave them; those of None are held out."""
    if data is None:
        return "held-out images"
    return str(data) if isinstance(data, str | Path) else "given images"
