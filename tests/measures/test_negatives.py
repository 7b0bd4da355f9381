"""Measures of negatives against values computed by hand."""

import math

import pytest
import torch

from sparring.measures.negatives import (
    NEGATIVE_METRICS,
    effective_number,
    hardest_places,
    quantiles,
    reciprocal_neighbors,
    same_class_share,
    used_share,
)


def test_quantiles_are_means_over_anchors_of_each_anchors_own() -> None:
    cosines = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4], [0.4, 0.4, 0.4, 0.4, 1.0]])
    found = quantiles(cosines)
    # Ranks 0 to 4: the 90 % quantile lies 0.6 of the way from rank 3 to rank 4.
    assert found["median"] == pytest.approx((0.2 + 0.4) / 2)
    assert found["high"] == pytest.approx((0.36 + 0.4 + 0.6 * 0.6) / 2)
    assert found["higher"] == pytest.approx((0.396 + 0.4 + 0.96 * 0.6) / 2)
    assert found["hardest"] == pytest.approx((0.4 + 1.0) / 2)


@pytest.mark.parametrize("number", [1, 2, 512])
def test_of_equal_negatives_all_count(number: int) -> None:
    cosines = torch.full((3, number), 0.7)
    assert effective_number(cosines, temperature=0.1) == pytest.approx(number)


def test_of_negatives_with_one_far_ahead_one_counts() -> None:
    cosines = torch.zeros(2, 512)
    cosines[:, 7] = 1.0
    # The others have exp(-100) of its weight each.
    assert effective_number(cosines, temperature=0.01) == pytest.approx(1.0, abs=1e-9)


def test_two_weights_have_the_effective_number_of_their_entropy() -> None:
    cosines = torch.tensor([[0.2 * math.log(3.0), 0.0]])  # weights 3/4 and 1/4
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_number(cosines, temperature=0.2) == pytest.approx(math.exp(entropy), abs=1e-6)


def test_a_loss_that_weighs_all_alike_counts_all() -> None:
    assert effective_number(torch.tensor([[1.0, 0.0, -1.0]]), temperature=None) == 3


@pytest.mark.parametrize(("number", "count"), [(1, 1), (99, 1), (100, 1), (101, 2), (512, 6)])
def test_the_hardest_are_one_percent_and_at_least_one(number: int, count: int) -> None:
    cosines = torch.arange(number, dtype=torch.float32)[None] / number
    found = hardest_places(cosines)
    assert sorted(found[0].tolist()) == list(range(number - count, number))


def test_entries_are_used_if_any_anchor_has_them_among_its_hardest() -> None:
    cosines = torch.zeros(3, 10)
    cosines[0, 4] = cosines[1, 4] = cosines[2, 9] = 1.0
    assert used_share(cosines) == pytest.approx(0.2)


def test_neighbours_must_have_each_other() -> None:
    # On the circle: 0 and 1 are each other's nearest; 2 has 1 as its nearest, which has 0.
    angles = torch.tensor([0.0, 0.1, 0.3, 2.0])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    expected = torch.eye(4, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = True
    assert torch.equal(reciprocal_neighbors(features), expected)


def test_pairs_of_one_class_are_counted_without_unknown_ones() -> None:
    # Of three known images, one of three pairs is of one class.
    assert same_class_share(torch.tensor([0, 0, 1, -1, -1])) == pytest.approx(1 / 3)
    assert same_class_share(torch.tensor([0, -1])) is None


def test_every_measure_says_what_it_means() -> None:
    assert all(len(metric.meaning) > 15 for metric in NEGATIVE_METRICS.values())
    assert all(name.startswith("negatives/") for name in NEGATIVE_METRICS)
