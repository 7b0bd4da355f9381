"""Average precision of one class, by both conventions of PASCAL VOC.

Images with equal scores enter the ranking together, so their order does not matter.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def eleven_point_average_precision(
    scores: Float[Tensor, "images"], is_positive: Bool[Tensor, "images"]
) -> float:
    """Mean of the best precision at a recall of at least 0, 0.1, .. 1, in [0, 1].

    1/11 sum_{t in {0, 0.1, .., 1}} max_{recall >= t} precision

    Args:
        scores: higher means more likely positive; any finite numbers.
        is_positive: whether the image shows the class; true at least once.

    Raises:
        ValueError: without a positive image, because recall is then undefined.

    Source: Everingham et al. 2010, The PASCAL Visual Object Classes (VOC) Challenge, section 4.2;
    the convention of VOC 2007.

    Example:
        >>> scores, is_positive = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True])
        >>> eleven_point_average_precision(scores, is_positive)  # 6 of 1, 5 of 2/3
        0.8484...
    """
    found, taken = _found_and_taken(scores, is_positive)
    envelope = _envelope(found / taken)
    # recall >= j / 10 in whole numbers, because 0.1 * 3 and 3 / 10 differ in floating point.
    starts = [int((10 * found < tenth * found[-1]).sum()) for tenth in range(11)]
    return envelope[starts].mean().item()


def area_average_precision(
    scores: Float[Tensor, "images"], is_positive: Bool[Tensor, "images"]
) -> float:
    """Area under the precision-recall curve, precision made non-increasing, in [0, 1].

    Args:
        scores: higher means more likely positive; any finite numbers.
        is_positive: whether the image shows the class; true at least once.

    Raises:
        ValueError: without a positive image, because recall is then undefined.

    Source: the convention of VOC from 2010 on: Everingham et al. 2015, The PASCAL Visual Object
    Classes Challenge: A Retrospective.

    Example:
        >>> scores, is_positive = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True])
        >>> area_average_precision(scores, is_positive)  # half of 1, half of 2/3
        0.8333...
    """
    found, taken = _found_and_taken(scores, is_positive)
    gained = found.diff(prepend=found.new_zeros(1)) / found[-1]
    return (gained * _envelope(found / taken)).sum().item()


def _found_and_taken(scores: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
    """Number of positives and of images at or above each distinct score, in float64.

    The scores are in falling order.
    """
    if not is_positive.any():
        raise ValueError(
            f"average precision needs a positive image, got {len(is_positive)} negative ones; "
            "leave such a class out"
        )
    scores, is_positive = scores.cpu(), is_positive.cpu()  # not all devices have float64
    order = scores.argsort(descending=True)
    ranked = scores[order]
    is_last = torch.ones(len(ranked), dtype=torch.bool, device=ranked.device)
    is_last[:-1] = ranked[1:] != ranked[:-1]
    taken = is_last.nonzero().flatten() + 1
    return is_positive[order].cumsum(0)[is_last].double(), taken.double()


def _envelope(precision: Tensor) -> Tensor:
    """Best precision at each recall or a higher one."""
    return precision.flip(0).cummax(0).values.flip(0)
