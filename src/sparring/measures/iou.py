"""Confusion matrix, intersection over union and pixel accuracy of class masks."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def confusion_matrix(
    predicted: Int[Tensor, "*pixels"],
    truth: Int[Tensor, "*pixels"],
    *,
    num_classes: int,
    ignore_index: int = -1,
) -> Int[Tensor, "classes classes"]:
    """Number of pixels of each true class (row) that were predicted as each class (column).

    Matrices of several masks can be added.

    Args:
        predicted: class ids, 0 .. num_classes - 1.
        truth: class ids of the same range, or `ignore_index`.
        num_classes: number of classes.
        ignore_index: id whose pixels are left out.

    Raises:
        ValueError: if a counted pixel has an id outside the range.
    """
    counted = truth != ignore_index
    rows, columns = truth[counted].long(), predicted[counted].long()
    for ids, which in ((rows, "truth"), (columns, "prediction")):
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= num_classes):
            raise ValueError(
                f"class ids must lie in 0 .. {num_classes - 1}, got {int(ids.min())} .. "
                f"{int(ids.max())} as {which}"
            )
    return torch.bincount(rows * num_classes + columns, minlength=num_classes**2).view(
        num_classes, num_classes
    )


def intersection_over_union(confusion: Int[Tensor, "classes classes"]) -> Float[Tensor, "classes"]:
    """IoU of each class in [0, 1]; NaN for a class without true pixels.

    IoU_c = n_cc / (sum_j n_cj + sum_i n_ic - n_cc)

    Args:
        confusion: n_ij = pixels of class i that were predicted as class j.

    Source: Long et al. 2015, arXiv:1411.4038, section 5; Everingham et al. 2010 (VOC).
    """
    counts = confusion.double()
    common, true, given = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    return torch.where(true > 0, common / (true + given - common).clamp_min(1), torch.nan)


def mean_iou(confusion: Int[Tensor, "classes classes"]) -> float:
    """Mean IoU over the classes with true pixels, in [0, 1].

    Raises:
        ValueError: if there is no such class.
    """
    ious = intersection_over_union(confusion)
    if bool(ious.isnan().all()):
        raise ValueError("mean IoU needs at least one pixel that is not ignored")
    return ious.nanmean().item()


def pixel_accuracy(confusion: Int[Tensor, "classes classes"]) -> float:
    """Share of counted pixels whose predicted class is correct, in [0, 1].

    Raises:
        ValueError: if no pixel was counted.
    """
    total = int(confusion.sum())
    if not total:
        raise ValueError("pixel accuracy needs at least one pixel that is not ignored")
    return int(confusion.diagonal().sum()) / total
