"""Shares of rightly classified rows: over all rows, and as the mean over classes."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

AccuracyName: TypeAlias = Literal["top-1", "mean-per-class"]


def top_1(predicted: Int[Tensor, "rows"], labels: Int[Tensor, "rows"]) -> float:
    """Share of rows whose predicted class is theirs, in [0, 1]; 0 without rows."""
    return (predicted == labels).double().mean().nan_to_num().item()


def mean_per_class(predicted: Int[Tensor, "rows"], labels: Int[Tensor, "rows"]) -> float:
    """Mean over the classes present of the share of their rows predicted rightly, in [0, 1]: rare classes count as much as frequent ones.

    Example:
        >>> mean_per_class(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]))
        0.5
    """
    shares = [top_1(predicted[labels == label], labels[labels == label]) for label in torch.unique(labels)]
    return sum(shares) / max(len(shares), 1)


ACCURACIES: Mapping[AccuracyName, Callable[[Tensor, Tensor], float]] = {"top-1": top_1, "mean-per-class": mean_per_class}
"""By the name that settings use."""
