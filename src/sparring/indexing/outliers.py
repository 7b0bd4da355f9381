"""Images that are unlike all others: far from their nearest neighbours."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor

from sparring.errors import ConfigError, DataError
from sparring.indexing.equal_images import representatives
from sparring.indexing.indexed_images import IndexedImages, Rows, require_rows
from sparring.indexing.search import Progress, search

NUM_NEIGHBORS = 10
"""Neighbours whose mean distance is the score."""


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """Answer of `sparring.outliers`: every image with its score, the farthest first.

    Images with equal content count once: a copy is no neighbour, and has the score of the first.

    Attributes:
        images: the set.
        rows: of all images, by falling score.
        scores: mean cosine distance to the `num_neighbors` nearest other images, in [0, 2].
        quantiles: share of the images whose score is not larger, in (0, 1].
        neighbours: rows of the nearest other images of each, nearest first.
        num_neighbors: how many; fewer where the set has fewer.
        recall: of the search, if it is approximate; else None.
    """

    images: IndexedImages = field(repr=False)
    rows: Rows = field(repr=False)
    scores: npt.NDArray[np.float32] = field(repr=False)
    quantiles: npt.NDArray[np.float64] = field(repr=False)
    neighbours: npt.NDArray[np.int64] = field(repr=False)
    num_neighbors: int
    recall: float | None = None

    def sentence(self) -> str:
        """What the score is, for a reader of the result."""
        return (
            "The score of an image is its mean cosine distance to its "
            f"{self.num_neighbors} nearest other images; copies with equal content are no "
            "neighbours. It tells what the encoder finds unusual: whether that is a fault is for "
            "you to see."
        )

    def tree(self, shown: int = 24) -> dict[str, Any]:
        """What `--json` prints.

        Args:
            shown: images to list, the farthest ones.
        """
        return {
            "images": len(self.images),
            "neighbours": self.num_neighbors,
            "median": round(float(np.median(self.scores)), 6),
            "recall": self.recall,
            "outliers": [
                {
                    "key": self.images.key(int(self.rows[place])),
                    "score": round(float(self.scores[place]), 6),
                    "quantile": round(float(self.quantiles[place]), 6),
                    "label": self.images.label(int(self.rows[place])) or None,
                    "nearest": self.images.key(int(self.neighbours[place][0])),
                }
                for place in range(min(shown, len(self.rows)))
            ],
        }

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Columns and rows of the CSV file: every image, the farthest first."""
        return ["key", "score", "quantile", "label", "nearest"], [
            [
                self.images.key(int(row)),
                f"{score:.6f}",
                f"{quantile:.6f}",
                self.images.label(int(row)),
                self.images.key(int(near[0])),
            ]
            for row, score, quantile, near in zip(
                self.rows, self.scores, self.quantiles, self.neighbours, strict=True
            )
        ]


def find_outliers(
    images: IndexedImages,
    *,
    num_neighbors: int = NUM_NEIGHBORS,
    how: str = "auto",
    progress: Progress | None = None,
) -> Outliers:
    """Every image of a set with its mean distance to its nearest neighbours.

    Args:
        images: the set.
        num_neighbors: neighbours per image, >= 1.
        how: of the search, see `search`.
        progress: told the number of images done.

    Raises:
        ConfigError: if `num_neighbors` is less than 1.
        DataError: if the set has fewer than two different images.
    """
    if num_neighbors < 1:
        raise ConfigError(f"--k must be at least 1, got {num_neighbors}; 10 is the default")
    first = representatives(images)
    unique = torch.from_numpy(np.unique(first))
    require_rows(images, least=2, what="finding outliers")
    if len(unique) < 2:
        raise DataError(
            f"all {len(images):,} images of {images.name} have the same content: none is farther "
            "from the others; give a set with different images"
        )
    features = images.features[unique]
    k = min(num_neighbors, len(unique) - 1)
    everyone = torch.arange(len(unique))
    found = search(features, features, k, own=everyone, how=how, progress=progress)
    distances = (1 - found.cosines.double()).clamp(0, 2).mean(dim=1)
    places = _places(unique, first)
    scores = distances[places].float().numpy()
    order = np.argsort(-scores, kind="stable")
    ranks = np.searchsorted(np.sort(scores), scores, side="right")
    return Outliers(
        images=images,
        rows=order.astype(np.int64),
        scores=scores[order],
        quantiles=ranks[order] / len(scores),
        neighbours=unique[found.rows[places]].numpy()[order],
        num_neighbors=k,
        recall=found.recall,
    )


def _places(unique: Int64[Tensor, "different"], first: Rows) -> Int64[Tensor, "images"]:
    """Place among the different images of each image."""
    return torch.searchsorted(unique, torch.from_numpy(first))
