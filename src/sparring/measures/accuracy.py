"""Classification accuracy: over all rows, per class, and as the mean over classes."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

AccuracyName: TypeAlias = Literal["top-1", "mean-per-class"]


def top_1(predicted: Int[Tensor, "rows"], labels: Int[Tensor, "rows"]) -> float:
    """Share of rows whose predicted class is correct, in [0, 1]; 0 without rows."""
    return (predicted == labels).cpu().double().mean().nan_to_num().item()


def class_accuracies(
    is_right: Bool[Tensor, "images"], labels: Int[Tensor, "images"]
) -> tuple[Int[Tensor, "classes"], Float[Tensor, "classes"]]:
    """Classes that occur, in rising order, and the accuracy on each.

    The mean of these is the mean-per-class accuracy.

    Args:
        is_right: whether the prediction for the image is correct.
        labels: its true class; any integers, whether they can be predicted or not.

    Example:
        >>> class_accuracies(torch.tensor([True, True, True, False]), torch.tensor([0, 0, 0, 5]))
        (tensor([0, 5]), tensor([1., 0.], dtype=torch.float64))
    """
    is_right, labels = is_right.cpu(), labels.cpu()  # not all devices have float64
    classes, positions = torch.unique(labels, return_inverse=True)
    zeros = torch.zeros(len(classes), dtype=torch.float64)
    return classes, zeros.index_add(0, positions, is_right.double()) / torch.bincount(
        positions, minlength=len(classes)
    )


def mean_per_class(predicted: Int[Tensor, "rows"], labels: Int[Tensor, "rows"]) -> float:
    """Mean of the accuracies on the classes present, in [0, 1].

    Rare classes count as much as frequent ones.

    Example:
        >>> mean_per_class(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]))
        0.5
    """
    return class_accuracies(predicted == labels, labels)[1].mean().nan_to_num().item()


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Interval in [0, 1] that holds the true share with 95 % confidence, given independent rows.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), z = 1.96

    Args:
        share: share p of the rows that are right, in [0, 1].
        count: number n of rows; without any the interval is all of [0, 1].

    Source: Wilson 1927, Journal of the American Statistical Association 22.

    Example:
        >>> [round(end, 3) for end in wilson_interval(0.75, 4)]
        [0.301, 0.954]
    """
    if not count:
        return 0.0, 1.0
    square = 1.96**2 / count
    half = (square * share * (1 - share) + square**2 / 4) ** 0.5
    low, high = ((share + square / 2 + side * half) / (1 + square) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)


ACCURACIES: Mapping[AccuracyName, Callable[[Tensor, Tensor], float]] = {
    "top-1": top_1,
    "mean-per-class": mean_per_class,
}
"""Accuracy functions by the name used in settings."""
