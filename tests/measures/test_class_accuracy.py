"""Accuracy class by class, by hand."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from sparring.measures.class_accuracy import class_accuracies


def test_each_class_counts_by_its_own_images() -> None:
    labels = torch.tensor([7, 0, 0, 0, 0, 0, 0, 0, 7, 3])
    is_right = torch.tensor([False, True, True, True, True, True, True, False, True, False])
    classes, shares = class_accuracies(is_right, labels)
    assert classes.tolist() == [0, 3, 7]
    assert shares.tolist() == pytest.approx([6 / 7, 0, 1 / 2])


def test_the_mean_is_scikit_learns_balanced_accuracy() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 6, (200,), generator=draw).square() % 7
    predicted = torch.where(torch.rand(200, generator=draw) < 0.6, labels, labels[torch.randperm(200, generator=draw)])
    _, shares = class_accuracies(predicted == labels, labels)
    assert shares.mean().item() == pytest.approx(balanced_accuracy_score(labels.numpy(), predicted.numpy()))
    assert shares.mean().item() != pytest.approx((predicted == labels).double().mean().item(), abs=1e-3)
