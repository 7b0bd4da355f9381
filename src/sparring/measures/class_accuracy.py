"""Accuracy class by class, for sets whose classes differ in size."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def class_accuracies(
    is_right: Bool[Tensor, "images"], labels: Int[Tensor, "images"]
) -> tuple[Int[Tensor, "classes"], Float[Tensor, "classes"]]:
    """The classes that occur, rising, and the share of each one's images that are told rightly; its mean is the mean-per-class accuracy.

    Args:
        is_right: whether the image was told rightly.
        labels: its true class; any integers, whether they can be predicted or not.

    Example:
        >>> class_accuracies(torch.tensor([True, True, True, False]), torch.tensor([0, 0, 0, 5]))
        (tensor([0, 5]), tensor([1., 0.], dtype=torch.float64))
    """
    classes, positions = torch.unique(labels, return_inverse=True)
    zeros = torch.zeros(len(classes), dtype=torch.float64, device=labels.device)
    return classes, zeros.index_add(0, positions, is_right.double()) / torch.bincount(positions, minlength=len(classes))
