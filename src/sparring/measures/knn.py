"""Nearest neighbours by cosine, exact and in bounded memory, and their weighted vote."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparring.acceleration.largest import falling, largest_products

USUAL_NEIGHBORS, FEW_NEIGHBORS = 200, 20
"""Number of neighbours of Wu et al. 2018, arXiv:1805.01978, on ImageNet's 1,300 images per class,
and the number that is the best of 10 to 200 in Caron et al. 2021, arXiv:2104.14294."""


def fitting_neighbors(labels: Int[Tensor, "train"], *, most: int = USUAL_NEIGHBORS) -> int:
    """Number of neighbours whose vote small classes can win.

    As many as the smallest class has images, but 20 if the classes could fill them in equal parts,
    else as many as they could. With more, most of the votes on an image of a small class belong to
    the large ones, wherever its own class lies.

    Args:
        labels: class of each voting row; -1 = unknown, left out.
        most: largest number to return, >= 1.

    Returns:
        A number between 1 and `most`; never more than the labelled rows.

    Example:
        >>> fitting_neighbors(torch.arange(500) % 2), fitting_neighbors(torch.arange(60) % 2)
        (200, 30)
        >>> fitting_neighbors(torch.tensor([0] * 90 + [1] * 3))
        6
    """
    sizes = torch.unique(labels[labels >= 0], return_counts=True)[1]
    if not len(sizes):
        return 1
    smallest, balanced = int(sizes.min()), int(sizes.min()) * len(sizes)
    return min(most, max(smallest, min(FEW_NEIGHBORS, balanced)))


def knn_accuracy(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int[Tensor, "train"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int[Tensor, "test"],
    *,
    num_neighbors: int = USUAL_NEIGHBORS,
    temperature: float = 0.1,
) -> float:
    """Accuracy of the nearest-neighbour vote on the test rows, in [0, 1].

    Six parameters because a score needs both halves of both sets.

    Args:
        train_features: voting rows; normalised here.
        train_labels: class indices; -1 = unknown, left out.
        test_features: rows to classify; normalised here.
        test_labels: class indices; -1 = unknown, left out.
        num_neighbors: k >= 1; capped at the number of labelled train rows. 200 is the usual
            setting.
        temperature: t > 0 in the weight exp(cosine / t); 0.07 to 0.2 in the literature.

    Raises:
        ValueError: without a labelled row on either side, or from `knn_predict`.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4.
    """
    voters, judged = train_labels >= 0, test_labels >= 0
    if not (voters.any() and judged.any()):
        raise ValueError(
            "kNN needs at least one labelled row in the training features and one in the test "
            "features"
        )
    predicted = knn_predict(
        _rows(train_features, voters),
        _rows(train_labels, voters),
        _rows(test_features, judged),
        num_neighbors=num_neighbors,
        temperature=temperature,
    )
    return (predicted == _rows(test_labels, judged)).cpu().double().mean().item()


def knn_predict(
    features: Float[Tensor, "train dim"],
    labels: Int[Tensor, "train"],
    queries: Float[Tensor, "test dim"],
    *,
    num_neighbors: int = USUAL_NEIGHBORS,
    temperature: float = 0.1,
) -> Int[Tensor, "test"]:
    """Class with the largest weighted vote of each query's neighbours.

    Ties go to the smallest class.

    argmax_c sum_{j in kNN(i), y_j = c} exp(cos(q_i, f_j) / t)

    Args:
        features: voting rows; normalised here.
        labels: class index >= 0 of each voting row.
        queries: rows to classify; normalised here.
        num_neighbors: k >= 1; capped at the number of rows.
        temperature: t > 0.

    Raises:
        ValueError: if k or t is out of range, or there is no voting row.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4.
    """
    if temperature <= 0:
        raise ValueError(
            f"temperature must be positive, got {temperature}; typical values are 0.07 to 0.2"
        )
    num_classes = int(labels.max()) + 1 if len(labels) else 0
    predicted = labels.new_empty(len(queries))
    done = 0
    for cosines, indices in _neighbours(features, queries, num_neighbors):
        # Relative to the nearest neighbour: the same vote, and a small temperature cannot overflow.
        weights = torch.exp((cosines - cosines.amax(dim=1, keepdim=True)) / temperature)
        votes = weights.new_zeros(len(weights), num_classes).scatter_add_(
            1, labels[indices].long(), weights
        )
        predicted[done : done + len(votes)] = votes.argmax(dim=1)
        done += len(votes)
    return predicted


def nearest(
    features: Float[Tensor, "rows dim"], queries: Float[Tensor, "queries dim"], num_neighbors: int
) -> tuple[Float[Tensor, "queries k"], Int[Tensor, "queries k"]]:
    """Cosines and row indices of each query's nearest rows, nearest first.

    Args:
        features: rows to choose from; normalised here.
        queries: rows to look up; normalised here.
        num_neighbors: k >= 1; capped at the number of rows.

    Raises:
        ValueError: if k < 1 or there is no row to choose from.

    Example:
        >>> nearest(torch.eye(3), torch.tensor([[0.0, 2.0, 1.0]]), 2)[1].tolist()
        [[1, 2]]
    """
    parts = [falling(*found) for found in _neighbours(features, queries, num_neighbors)]
    if not parts:
        k = min(num_neighbors, len(features))
        return queries.new_empty(0, k), torch.empty(0, k, dtype=torch.long, device=queries.device)
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


@torch.no_grad()
def _neighbours(
    features: Tensor, queries: Tensor, num_neighbors: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cosines and row indices of consecutive queries' nearest rows, in any order, block by
    block."""
    if num_neighbors < 1 or not len(features):
        raise ValueError(
            f"needs num_neighbors >= 1 and a row to choose from, got {num_neighbors} and "
            f"{len(features)} rows"
        )
    yield from largest_products(
        F.normalize(queries, dim=1), F.normalize(features, dim=1), min(num_neighbors, len(features))
    )


def _rows(tensor: Tensor, chosen: Tensor) -> Tensor:
    """Chosen rows; not a copy if all are chosen."""
    return tensor if bool(chosen.all()) else tensor[chosen]
