"""Clusters of a set by k-means on unit features, with their most central images."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from sparring.errors import ConfigError
from sparring.indexing.indexed_images import IndexedImages, Rows, require_rows
from sparring.measures.agreement import normalized_mutual_information
from sparring.measures.knn import nearest
from sparring.seeding import generator

NUM_CLUSTERS = 10
CANDIDATES = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50)
"""Numbers of clusters among which `auto` chooses."""
STARTS = 4
"""Runs of k-means from different centres, of which the tightest is kept."""
MOST_STEPS = 50
_SAME = 1e-6  # cosine distance below which rows count as equal
SILHOUETTE_IMAGES = 2000
"""Images drawn at random by which `auto` compares numbers of clusters."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One cluster.

    Attributes:
        rows: its images, the most central first.
        similarities: cosine of each with the centre.
        majority: name of the most frequent class among those that are known; empty without labels.
        purity: share of that class among the images whose class is known; None without labels.
    """

    rows: Rows = field(repr=False)
    similarities: npt.NDArray[np.float32] = field(repr=False)
    majority: str = ""
    purity: float | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Answer of `sparring.clusters`.

    Attributes:
        images: the set.
        clusters: the largest first.
        purity: share of the images with a known class whose class is the most frequent one of their
            cluster; None without labels.
        nmi: normalised mutual information of clusters and classes, in [0, 1]; None without labels.
        num_classes: classes that are known; 0 without labels.
        is_chosen: whether `auto` chose the number of clusters.
    """

    images: IndexedImages = field(repr=False)
    clusters: tuple[Cluster, ...]
    purity: float | None = None
    nmi: float | None = None
    num_classes: int = 0
    is_chosen: bool = False

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Number of each image's cluster, 0 for the largest."""
        numbers = np.empty(len(self.images), np.int64)
        for number, cluster in enumerate(self.clusters):
            numbers[cluster.rows] = number
        return numbers

    def sentence(self) -> str:
        """How the clusters were found, for a reader of the result."""
        chosen = (
            f" Their number has the largest silhouette of those tried, up to {max(CANDIDATES)}."
            if self.is_chosen
            else ""
        )
        return (
            "Clusters are found by k-means on the directions of the features, the best of "
            f"{STARTS} starts; each picture shows its cosine with the centre.{chosen}"
        )

    def tree(self) -> dict[str, Any]:
        """What `--json` prints: the clusters with their ten most central images."""
        return {
            "images": len(self.images),
            "num": len(self.clusters),
            "chosen_by": "silhouette" if self.is_chosen else None,
            "purity": self.purity,
            "nmi": self.nmi,
            "classes": self.num_classes,
            "clusters": [
                {
                    "cluster": number,
                    "size": len(one),
                    "majority": one.majority or None,
                    "purity": one.purity,
                    "central": [self.images.key(int(row)) for row in one.rows[:10]],
                }
                for number, one in enumerate(self.clusters)
            ],
        }

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Columns and rows of the CSV file: every image with its cluster."""
        return ["key", "cluster", "similarity_to_centre", "label"], [
            [self.images.key(int(row)), number, f"{cosine:.6f}", self.images.label(int(row))]
            for number, one in enumerate(self.clusters)
            for row, cosine in zip(one.rows, one.similarities, strict=True)
        ]


def find_clusters(images: IndexedImages, *, num: int | None, seed: int = 0) -> Clusters:
    """Clusters of a set; the same seed and features give the same.

    Args:
        images: the set.
        num: number of clusters, at most that of different images; None: the one of `CANDIDATES`
            with the largest silhouette.
        seed: of the first centres, and of the images that the silhouette is of.

    Raises:
        ConfigError: if `num` is out of range.
        DataError: for fewer than two images.
    """
    require_rows(images, least=2, what="clustering")
    if num is not None and not 1 <= num <= len(images):
        raise ConfigError(
            f"--num must be between 1 and the number of images, {len(images):,}, or auto; got {num}"
        )
    unit = F.normalize(images.features, dim=1)
    chosen = _best_number(unit, seed=seed) if num is None else num
    numbers, centres = k_means(unit, chosen, seed=seed)
    found = sorted(_clusters(images, unit, numbers, centres), key=lambda one: -len(one))
    purity = nmi = None
    classes = 0
    if images.labels is not None and (known := images.labels >= 0).any():
        weighed = [(one.purity, int(known[one.rows].sum())) for one in found]
        purity = sum(share * count for share, count in weighed if share is not None) / known.sum()
        nmi = normalized_mutual_information(numbers.numpy()[known], images.labels[known])
        classes = len(np.unique(images.labels[known]))
    return Clusters(
        images=images,
        clusters=tuple(found),
        purity=None if purity is None else float(purity),
        nmi=nmi,
        num_classes=classes,
        is_chosen=num is None,
    )


def k_means(
    unit: Float[Tensor, "rows dim"], num: int, *, seed: int
) -> tuple[Int64[Tensor, "rows"], Float[Tensor, "num dim"]]:
    """Cluster of each row and the clusters' centres, unit rows, from the best of `STARTS` starts.

    A centre is the direction of its cluster's mean, and each row belongs to the centre of the
    largest cosine. Clusters that end without a row are left out, so fewer than `num` come back
    where fewer rows differ.

    Args:
        unit: rows of length 1.
        num: wanted number of clusters, >= 1.
        seed: of the first centres.

    Source: spherical k-means, Dhillon and Modha 2001; first centres by k-means++, Arthur and
    Vassilvitskii 2007.
    """
    best = None
    for start in range(STARTS):
        centres = _first_centres(unit, num, generator(seed, "k-means", start))
        numbers = torch.full((len(unit),), -1)
        for _ in range(MOST_STEPS):
            cosines, rows = nearest(centres, unit, 1)
            if torch.equal(rows[:, 0], numbers):
                break
            numbers = rows[:, 0]
            sums = torch.zeros_like(centres).index_add_(0, numbers, unit)
            has_rows = torch.bincount(numbers, minlength=len(centres)) > 0
            centres = torch.where(has_rows[:, None], F.normalize(sums, dim=1), centres)
        total = float(cosines.double().sum())
        if best is None or total > best[0]:
            best = (total, numbers, centres)
    assert best is not None
    present, numbers = torch.unique(best[1], return_inverse=True)
    return numbers, best[2][present]


def silhouette(unit: Float[Tensor, "rows dim"], numbers: Int64[Tensor, "rows"]) -> float:
    """Mean silhouette of clusters by cosine distance, in [-1, 1]; 0 for a single cluster.

    Source: Rousseeuw 1987.
    """
    present, numbers = torch.unique(numbers, return_inverse=True)
    if len(present) < 2:
        return 0.0
    members = F.one_hot(numbers).to(unit.dtype)
    counts = members.sum(dim=0)
    sums = (1 - unit @ unit.T).clamp(min=0) @ members
    own = counts[numbers]
    inside = sums.gather(1, numbers[:, None])[:, 0] / (own - 1).clamp(min=1)
    outside = (sums / counts).scatter(1, numbers[:, None], float("inf")).amin(dim=1)
    value = (outside - inside) / torch.maximum(inside, outside).clamp(min=1e-12)
    return float(value.where(own > 1, torch.zeros(())).mean())


def _best_number(unit: Tensor, *, seed: int) -> int:
    """Number of clusters with the largest silhouette, in a sample of the rows."""
    chosen = torch.randperm(len(unit), generator=generator(seed, "silhouette"))
    sample = unit[chosen[:SILHOUETTE_IMAGES]]
    fitting = [num for num in CANDIDATES if num < len(sample)] or [1]
    scores = {num: silhouette(sample, k_means(sample, num, seed=seed)[0]) for num in fitting}
    return max(fitting, key=lambda num: scores[num])


def _first_centres(unit: Tensor, num: int, draws: torch.Generator) -> Tensor:
    """Rows far from one another; fewer than `num` where no further row differs."""
    row = int(torch.randint(len(unit), (1,), generator=draws))
    chosen, distances = [row], (1 - unit @ unit[row]).double()
    while len(chosen) < num:
        weights = distances.clamp(min=0).where(
            distances > _SAME, torch.zeros((), dtype=torch.double)
        )
        sums = weights.cumsum(0)
        if float(sums[-1]) == 0:
            break
        drawn = torch.rand(1, generator=draws, dtype=torch.double) * sums[-1]
        row = min(int(torch.searchsorted(sums, drawn, right=True)), len(unit) - 1)
        chosen.append(row)
        distances = torch.minimum(distances, (1 - unit @ unit[row]).double())
    return unit[chosen]


def _clusters(
    images: IndexedImages, unit: Tensor, numbers: Tensor, centres: Tensor
) -> list[Cluster]:
    found = []
    for number in range(len(centres)):
        rows = (numbers == number).nonzero()[:, 0]
        cosines, order = (unit[rows] @ centres[number]).sort(descending=True, stable=True)
        rows = rows[order]
        majority, purity = _majority(images, rows.numpy())
        found.append(
            Cluster(
                rows=rows.numpy(),
                similarities=cosines.clamp(-1, 1).numpy(),
                majority=majority,
                purity=purity,
            )
        )
    return found


def _majority(images: IndexedImages, rows: Rows) -> tuple[str, float | None]:
    """Name of the most frequent known class of some images, and its share."""
    if images.labels is None:
        return "", None
    known = images.labels[rows]
    known = known[known >= 0]
    if not len(known):
        return "", None
    labels, counts = np.unique(known, return_counts=True)
    return images.class_name(int(labels[counts.argmax()])), float(counts.max() / len(known))
