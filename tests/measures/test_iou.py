"""Mean IoU equals a slow loop and is right for masks of known score."""

import math

import pytest
import torch
from torch import Tensor

from sparring.measures.iou import (
    confusion_matrix,
    intersection_over_union,
    mean_iou,
    pixel_accuracy,
)

IGNORED = 255
TRUTH = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 255]])
PREDICTED = torch.tensor([[0, 0, 1, 0], [0, 1, 1, 1], [2, 0, 2, 1]])


def masks(seed: int, *, classes: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (7, 11), generator=draw)
    predicted = torch.where(
        torch.rand(7, 11, generator=draw) < 0.5,
        truth,
        torch.randint(0, classes, (7, 11), generator=draw),
    )
    truth[torch.rand(7, 11, generator=draw) < 0.2] = IGNORED
    return predicted, truth


def ious_by_loop(predicted: Tensor, truth: Tensor, classes: int) -> list[float]:
    """IoUs from the definition: pixels in both over pixels in either."""
    ious = []
    for number in range(classes):
        both = either = true = 0
        for guess, id_ in zip(predicted.flatten().tolist(), truth.flatten().tolist(), strict=True):
            if id_ == IGNORED:
                continue
            both += guess == number and id_ == number
            either += guess == number or id_ == number
            true += id_ == number
        ious.append(both / either if true else math.nan)
    return ious


def confusion(predicted: Tensor, truth: Tensor, *, classes: int = 5) -> Tensor:
    return confusion_matrix(predicted, truth, num_classes=classes, ignore_index=IGNORED)


@pytest.mark.parametrize("seed", range(5))
def test_the_score_equals_that_of_a_slow_loop(seed: int) -> None:
    predicted, truth = masks(seed)
    expected = ious_by_loop(predicted, truth, 5)
    assert intersection_over_union(confusion(predicted, truth)).tolist() == pytest.approx(expected)
    assert mean_iou(confusion(predicted, truth)) == pytest.approx(sum(expected) / 5)


def test_hand_made_masks_have_the_known_score() -> None:
    counts = confusion(PREDICTED, TRUTH, classes=3)
    assert counts.tolist() == [[3, 1, 0], [1, 3, 0], [1, 0, 2]]
    assert intersection_over_union(counts).tolist() == pytest.approx([3 / 6, 3 / 5, 2 / 3])
    assert mean_iou(counts) == pytest.approx((3 / 6 + 3 / 5 + 2 / 3) / 3)
    assert pixel_accuracy(counts) == pytest.approx(8 / 11)


def test_matrices_of_several_masks_add_up_to_that_of_all() -> None:
    pairs = [masks(seed) for seed in range(3)]
    together = confusion(
        torch.cat([predicted for predicted, _ in pairs]), torch.cat([truth for _, truth in pairs])
    )
    assert torch.equal(sum(confusion(*pair) for pair in pairs), together)  # type: ignore[arg-type]


def test_a_perfect_prediction_scores_one_and_a_shifted_one_nothing() -> None:
    _, truth = masks(0)
    assert mean_iou(confusion(truth.clamp_max(4), truth)) == 1
    assert mean_iou(confusion((truth.clamp_max(4) + 1) % 5, truth)) == 0


def test_a_class_without_true_pixels_has_no_part_in_the_mean_but_its_prediction_costs_others() -> (
    None
):
    truth, predicted = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 4, 1])
    ious = intersection_over_union(confusion(predicted, truth))
    assert ious.isnan().tolist() == [False, False, True, True, True]
    assert mean_iou(confusion(predicted, truth)) == pytest.approx((2 / 3 + 1) / 2)


def test_ignored_pixels_count_nowhere() -> None:
    predicted, truth = masks(1)
    other = torch.where(truth == IGNORED, (predicted + 1) % 5, predicted)
    assert torch.equal(confusion(predicted, truth), confusion(other, truth))


def test_the_ignored_id_may_lie_among_the_classes() -> None:
    counts = confusion_matrix(PREDICTED, TRUTH.clamp_max(2), num_classes=3, ignore_index=2)
    assert counts.tolist() == [[3, 1, 0], [1, 3, 0], [0, 0, 0]]


def test_an_id_beyond_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"class ids must lie in 0 .. 1, got 0 .. 2 as truth"):
        confusion(PREDICTED.clamp_max(1), TRUTH, classes=2)
    with pytest.raises(ValueError, match="as prediction"):
        confusion(PREDICTED, TRUTH.clamp_max(1), classes=2)


def test_nothing_to_count_is_refused() -> None:
    empty = confusion(PREDICTED, torch.full_like(TRUTH, IGNORED), classes=3)
    with pytest.raises(ValueError, match="at least one pixel"):
        mean_iou(empty)
    with pytest.raises(ValueError, match="at least one pixel"):
        pixel_accuracy(empty)
