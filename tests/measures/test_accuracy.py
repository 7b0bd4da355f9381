"""Accuracies equal scikit-learn's and values by hand."""

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from sparring.measures.accuracy import class_accuracies, mean_per_class, top_1


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
