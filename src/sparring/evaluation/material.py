"""What the protocols work on: features of both sets, computed once, and the labels that may be used with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sparring.errors import DataError
from sparring.evaluation.features import FeatureEncoder, ImageSet, Progress, evaluating, extract_features
from sparring.evaluation.split import split
from sparring.seeding import generator

ViewPair = Callable[[UInt8[Tensor, "batch 3 size size"]], Sequence[Float[Tensor, "batch 3 size size"]]]
"""Two random views of each image, in [0, 1]."""

HELD_OUT_SHARE = 0.2
"""Part of each class that is scored when the same images are given for training and test."""

# Alignment is a mean over images: more cost time and change little.
_ALIGNMENT_IMAGES = 1024


@runtime_checkable
class LabelledImages(ImageSet, Protocol):
    """A data set whose labels, if any, scoring may ask for; -1 = unknown."""

    @property
    def labels(self) -> np.ndarray | None: ...


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Features and labels of the rows to learn from and of the rows to score; all labels known."""

    train_features: Float[Tensor, "train channels"]
    train_labels: Int[Tensor, "train"]
    test_features: Float[Tensor, "test channels"]
    test_labels: Int[Tensor, "test"]
    tested_on: str
    """Says in words which images are scored."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a protocol may use."""

    labelled: Labelled | None
    """None when only label-free protocols were asked for."""
    features: Float[Tensor, "images channels"]
    """Of all test images."""
    views: tuple[Float[Tensor, "sample channels"], Float[Tensor, "sample channels"]] | None
    """Features of two views of a sample of the test images, if views were given."""
    seed: int


def both_features(
    encoder: FeatureEncoder,
    train: ImageSet,
    test: ImageSet,
    *,
    device: torch.device | str,
    progress: Progress | None,
) -> tuple[Float[Tensor, "train channels"], Float[Tensor, "test channels"]]:
    """Features of both sets on the device; the same tensor twice if they are the same images."""
    total = len(train) if train is test else len(train) + len(test)

    def counted(already: int) -> Progress | None:
        return (lambda done, _: progress(already + done, total)) if progress else None

    train_features = extract_features(encoder, train, device=device, progress=counted(0)).to(device)
    if train is test:
        return train_features, train_features
    test_features = extract_features(encoder, test, device=device, progress=counted(len(train))).to(device)
    return train_features, (train_features if torch.equal(train_features, test_features) else test_features)


def view_features(
    encoder: FeatureEncoder, dataset: ImageSet, views: ViewPair, *, device: torch.device | str, seed: int
) -> tuple[Float[Tensor, "sample channels"], Float[Tensor, "sample channels"]]:
    """Features of two views of a sample of the images."""
    chosen = torch.randperm(len(dataset), generator=generator(seed, "alignment"))[:_ALIGNMENT_IMAGES]
    parts = []
    with evaluating(encoder.modules()):
        for start in range(0, len(chosen), 256):
            first, second = views(dataset.images(chosen[start : start + 256].numpy()).to(device))
            parts.append((encoder.features(first), encoder.features(second)))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def known_labels(dataset: LabelledImages, which: str) -> Int[Tensor, "images"]:
    """Labels of a set that has some.

    Raises:
        DataError: if it has none.
    """
    labels = dataset.labels
    if labels is None or not (labels >= 0).any():
        raise DataError(
            f"the {which} images have no labels to score with: put each class in a folder of its own, "
            "or ask for protocols that need no labels"
        )
    return torch.from_numpy(labels).long()


def labelled(
    train: LabelledImages,
    test: LabelledImages,
    features: tuple[Float[Tensor, "train channels"], Float[Tensor, "test channels"]],
    *,
    seed: int,
) -> Labelled:
    """Labelled rows of both sets; equal sets are parted, so that no image is scored by itself."""
    train_features, test_features = features
    train_labels, test_labels = known_labels(train, "training"), known_labels(test, "test")
    train_rows, test_rows = ((labels >= 0).nonzero().flatten() for labels in (train_labels, test_labels))
    tested_on = "all labelled test images"
    if train_features is test_features:
        kept, held_out = split(train_labels[train_rows], share=HELD_OUT_SHARE, seed=seed)
        train_rows, test_rows = train_rows[kept], train_rows[held_out]
        tested_on = f"{HELD_OUT_SHARE:.0%} of the images, held out because training and test images are the same"
    device = train_features.device
    return Labelled(
        train_features=train_features[train_rows.to(device)],
        train_labels=train_labels[train_rows].to(device),
        test_features=test_features[test_rows.to(device)],
        test_labels=test_labels[test_rows].to(device),
        tested_on=tested_on,
    )
