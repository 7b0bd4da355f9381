"""Average precision equals slow loops from the definition, values by hand, and scikit-learn's."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch import Tensor

from sparring.measures.average_precision import (
    area_average_precision,
    eleven_point_average_precision,
)

BOTH = [eleven_point_average_precision, area_average_precision]


def ranking(
    seed: int, *, images: int = 60, share: float = 0.3, levels: int = 0
) -> tuple[Tensor, Tensor]:
    """Scores correlated with the truth; with `levels`, many are equal."""
    draw = np.random.default_rng(seed)
    truth = draw.random(images) < share
    truth[0] = True
    scores = draw.normal(0, 1, images) + truth
    if levels:
        scores = np.floor(scores * levels) / levels
    return torch.from_numpy(scores), torch.from_numpy(truth)


def points(scores: Tensor, truth: Tensor) -> list[tuple[Fraction, Fraction]]:
    """Recall and precision at every threshold that occurs, as exact fractions."""
    found = []
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = [
            bool(is_there)
            for score, is_there in zip(scores.tolist(), truth.tolist(), strict=True)
            if score >= threshold
        ]
        found.append((Fraction(sum(taken), int(truth.sum())), Fraction(sum(taken), len(taken))))
    return found


def slow_eleven_point(scores: Tensor, truth: Tensor) -> float:
    at = points(scores, truth)
    return float(
        sum(
            max(precision for recall, precision in at if recall >= Fraction(tenth, 10))
            for tenth in range(11)
        )
        / 11
    )


def slow_area(scores: Tensor, truth: Tensor) -> float:
    at, total, before = points(scores, truth), Fraction(0), Fraction(0)
    for recall, _ in at:
        total += (recall - before) * max(precision for later, precision in at if later >= recall)
        before = recall
    return float(total)


@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("seed", range(4))
def test_both_equal_the_definition(seed: int, levels: int) -> None:
    scores, truth = ranking(seed, levels=levels)
    assert eleven_point_average_precision(scores, truth) == pytest.approx(
        slow_eleven_point(scores, truth), abs=1e-12
    )
    assert area_average_precision(scores, truth) == pytest.approx(
        slow_area(scores, truth), abs=1e-12
    )


def test_a_recall_that_is_a_tenth_counts_at_that_tenth() -> None:
    # Ten positives, the i-th at rank i and after it nothing but noise at the end: 3 / 10 >= 0.1 * 3
    # fails in floating point.
    truth = torch.tensor([True] * 3 + [False] * 7 + [True] * 7)
    scores = torch.arange(17, 0, -1).double()
    expected = (4 * 1 + 7 * 10 / 17) / 11
    assert eleven_point_average_precision(scores, truth) == pytest.approx(expected, abs=1e-12)


def test_examples_by_hand() -> None:
    scores, truth = (
        torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]),
        torch.tensor([False, True, False, True, False]),
    )
    # Precisions 0, 1/2, 1/3, 1/2, 2/5 at recalls 0, 1/2, 1/2, 1, 1: the best from each recall on is
    # 1/2.
    assert eleven_point_average_precision(scores, truth) == pytest.approx(1 / 2)
    assert area_average_precision(scores, truth) == pytest.approx(1 / 2)
    late = torch.tensor([True, False, False, False, True])
    assert eleven_point_average_precision(scores, late) == pytest.approx((6 * 1 + 5 * 2 / 5) / 11)
    assert area_average_precision(scores, late) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 5)


@pytest.mark.parametrize("measure", BOTH)
def test_a_perfect_ranking_is_one_and_equal_scores_give_the_share_of_positives(
    measure: object,
) -> None:
    assert callable(measure)
    truth = torch.tensor([True, True, False, False, False])
    assert measure(torch.tensor([5.0, 4, 3, 2, 1]), truth) == 1
    assert measure(torch.zeros(5), truth) == pytest.approx(2 / 5)
    assert measure(torch.tensor([1.0, 2, 3, 4, 5]), truth) == pytest.approx(
        2 / 5
    )  # the worst ranking ends there too


@pytest.mark.parametrize("measure", BOTH)
def test_the_order_of_images_of_one_score_does_not_matter(measure: object) -> None:
    assert callable(measure)
    scores, truth = ranking(7, levels=2)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))
    assert measure(scores[order], truth[order]) == measure(scores, truth)
    assert measure(3 * scores + 1, truth) == measure(scores, truth)


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_scikit_learns_with_the_precision_made_to_fall(seed: int) -> None:
    scores, truth = ranking(seed, levels=4)
    precision, recall, _ = precision_recall_curve(truth.numpy(), scores.numpy())
    fallen = np.maximum.accumulate(precision)  # its recall falls
    assert area_average_precision(scores, truth) == pytest.approx(
        -np.sum(np.diff(recall) * fallen[:-1]), abs=1e-12
    )
    assert area_average_precision(scores, truth) >= average_precision_score(
        truth.numpy(), scores.numpy()
    )


@pytest.mark.parametrize("measure", BOTH)
def test_a_class_without_a_positive_is_refused(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match="needs a positive image, got 3 negative"):
        measure(torch.arange(3).float(), torch.zeros(3, dtype=torch.bool))
