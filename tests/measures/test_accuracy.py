"""Accuracies equal scikit-learn's and values by hand."""

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from sparring.measures.accuracy import (
    class_accuracies,
    mean_per_class,
    top_1,
    wilson_interval,
)


def test_both_measures_equal_scikit_learns() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (200,), generator=draw) ** 2 % 5
    predicted = torch.where(
        torch.rand(200, generator=draw) < 0.6, labels, torch.randint(0, 5, (200,), generator=draw)
    )
    assert top_1(predicted, labels) == pytest.approx(accuracy_score(labels, predicted))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(labels, predicted)
    assert mean_per_class(predicted, labels) == pytest.approx(expected)


def test_a_frequent_class_cannot_hide_a_rare_one() -> None:
    predicted, labels = torch.zeros(100, dtype=torch.long), torch.tensor([0] * 99 + [1])
    assert top_1(predicted, labels) == pytest.approx(0.99)
    assert mean_per_class(predicted, labels) == 0.5


def test_nothing_to_score_is_zero() -> None:
    none = torch.empty(0, dtype=torch.long)
    assert (top_1(none, none), mean_per_class(none, none)) == (0.0, 0.0)


def test_each_class_counts_by_its_own_images() -> None:
    labels = torch.tensor([7, 0, 0, 0, 0, 0, 0, 0, 7, 3])
    is_right = torch.tensor([False, True, True, True, True, True, True, False, True, False])
    classes, shares = class_accuracies(is_right, labels)
    assert classes.tolist() == [0, 3, 7]
    assert shares.tolist() == pytest.approx([6 / 7, 0, 1 / 2])


@pytest.mark.parametrize(("right", "count"), [(0, 4), (3, 4), (50, 100), (10, 10)])
def test_the_interval_ends_where_its_score_test_is_at_the_border(right: int, count: int) -> None:
    share = right / count
    low, high = wilson_interval(share, count)
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            # Wilson: |p - q| = 1.96 sqrt(q (1 - q) / n) at both ends q.
            assert abs(share - end) == pytest.approx(1.96 * (end * (1 - end) / count) ** 0.5)


def test_more_images_narrow_the_interval_and_none_tell_nothing() -> None:
    widths = [high - low for low, high in (wilson_interval(0.75, n) for n in (4, 40, 4000))]
    assert widths[0] > 0.6 > 0.3 > widths[1] > 0.03 > widths[2]
    assert wilson_interval(0.0, 0) == (0.0, 1.0)
