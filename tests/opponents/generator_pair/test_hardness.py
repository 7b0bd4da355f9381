"""Hardness of generated pairs and the limits of the game against slow loops, closed-form values and
counterfactuals."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sparring.opponents.generator_pair.hardness import (
    crowding,
    diversity_loss,
    fence,
    hardness,
    pair_similarity,
    similarity_floor,
)

TIGHT = {"rtol": 1e-12, "atol": 1e-13}
"""Sums of a few float64 terms of order one."""


def rows(count: int, dim: int = 6, *, seed: int = 0) -> Tensor:
    """Rows of random length and direction."""
    return torch.randn(
        count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def cos(left: Tensor, right: Tensor) -> float:
    """Cosine of two vectors."""
    return float(left @ right / (left.norm() * right.norm()))


def axes(*numbers: int) -> Tensor:
    """Unit rows along the numbered axes of six."""
    return torch.eye(6, dtype=torch.float64)[list(numbers)]


def slow_hardness(first: Tensor, second: Tensor, real: Tensor, *, temperature: float) -> float:
    """The mean over rows and directions, written from the formula."""
    terms = []
    for side, other in ((first, second), (second, first)):
        for row, partner in zip(side, other, strict=True):
            positive = math.exp(cos(row, partner) / temperature)
            terms.append(
                -math.log(
                    positive / (positive + sum(math.exp(cos(row, r) / temperature) for r in real))
                )
            )
    return sum(terms) / len(terms)


def test_hardness_equals_a_slow_loop() -> None:
    first, second, real = rows(4), rows(4, seed=1), rows(7, seed=2)
    expected = slow_hardness(first, second, real, temperature=0.2)
    assert float(hardness(first, second, real, temperature=0.2)) == pytest.approx(
        expected, rel=1e-12
    )


def test_hardness_of_indistinguishable_images_is_the_log_of_their_number() -> None:
    same = torch.ones(3, 4, dtype=torch.float64)
    value = hardness(same, same, torch.ones(7, 4, dtype=torch.float64), temperature=0.1)
    assert float(value) == pytest.approx(math.log(8), rel=1e-12)


def test_hardness_has_real_negatives_only_so_that_it_is_the_mean_of_its_rows() -> None:
    first, second, real = rows(4), rows(4, seed=1), rows(7, seed=2)
    alone = [hardness(first[i : i + 1], second[i : i + 1], real, temperature=0.2) for i in range(4)]
    torch.testing.assert_close(
        torch.stack(alone).mean(), hardness(first, second, real, temperature=0.2), **TIGHT
    )


def test_hardness_does_not_depend_on_which_generator_comes_first() -> None:
    first, second, real = rows(4), rows(4, seed=1), rows(7, seed=2)
    torch.testing.assert_close(
        hardness(first, second, real, temperature=0.2),
        hardness(second, first, real, temperature=0.2),
        **TIGHT,
    )


def test_hardness_ignores_the_length_of_rows() -> None:
    first, second, real = rows(4), rows(4, seed=1), rows(7, seed=2)
    longer = hardness(3 * first, 0.1 * second, 7 * real, temperature=0.2)
    torch.testing.assert_close(longer, hardness(first, second, real, temperature=0.2), **TIGHT)


def test_hardness_grows_when_the_pair_comes_apart() -> None:
    # The pair opens in the plane of axes 0 and 1; the real rows stand upright on it, so that
    # nothing else changes.
    first, real = axes(0), axes(2, 3, 4)
    values = []
    for angle in (0.0, 0.3, 0.6, 1.2, 2.4):
        second = math.cos(angle) * axes(0) + math.sin(angle) * axes(1)
        values.append(float(hardness(first, second, real, temperature=0.2)))
    assert all(later > earlier for earlier, later in pairwise(values))


def test_hardness_grows_when_a_real_row_is_moved_towards_a_row() -> None:
    first, second = axes(0, 1), axes(0, 1)
    values = []
    for angle in (0.0, 0.3, 0.6, 1.2):
        moved = math.cos(angle) * axes(2) + math.sin(angle) * axes(0)
        values.append(float(hardness(first, second, torch.cat([moved, axes(3)]), temperature=0.2)))
    assert all(later > earlier for earlier, later in pairwise(values))


def test_gradients_of_hardness_agree_with_finite_differences() -> None:
    inputs = (
        rows(3).requires_grad_(),
        rows(3, seed=1).requires_grad_(),
        rows(4, seed=2).requires_grad_(),
    )
    assert torch.autograd.gradcheck(
        lambda first, second, real: hardness(first, second, real, temperature=0.5), inputs
    )


def test_pair_similarity_is_the_cosine_of_partners_and_of_no_others() -> None:
    first, second = rows(5), rows(5, seed=1)
    expected = torch.tensor(
        [cos(row, partner) for row, partner in zip(first, second, strict=True)], dtype=torch.float64
    )
    torch.testing.assert_close(pair_similarity(first, second), expected, **TIGHT)


def test_pair_similarity_is_one_for_identical_rows_and_minus_one_for_opposite_ones() -> None:
    first, one = rows(5), torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(pair_similarity(first, 3 * first), one, **TIGHT)
    torch.testing.assert_close(pair_similarity(first, -0.2 * first), -one, **TIGHT)
    anything = pair_similarity(rows(500), rows(500, seed=1))
    assert anything.abs().max() < 1


def test_identical_images_give_a_similarity_of_one_and_no_gradient() -> None:
    # Two generators that are equal at the start are in an equilibrium of the similarity, from which
    # only the negatives lead away.
    first, second = rows(4).requires_grad_(), rows(4).requires_grad_()
    for gradient in torch.autograd.grad(pair_similarity(first, second).sum(), (first, second)):
        assert gradient.abs().max() < 1e-15
    for gradient in torch.autograd.grad(pair_similarity(first, rows(4, seed=1)).sum(), (first,)):
        assert gradient.abs().max() > 0.1
    for gradient in torch.autograd.grad(
        hardness(first, second, rows(7, seed=2), temperature=0.2), (first, second)
    ):
        assert gradient.abs().max() > 0.01


def test_the_fence_is_zero_above_its_floor() -> None:
    similarity = torch.tensor([0.7, 0.9, 1.0], dtype=torch.float64, requires_grad=True)
    loss = fence(similarity, floor=0.7)
    (gradient,) = torch.autograd.grad(loss, similarity)
    assert float(loss.detach()) == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_below_its_floor_the_fence_is_the_mean_of_squared_shortfalls() -> None:
    similarity = torch.tensor([0.9, 0.6, 0.2, -1.0], dtype=torch.float64, requires_grad=True)
    loss = fence(similarity, floor=0.7)
    (gradient,) = torch.autograd.grad(loss, similarity)
    assert float(loss.detach()) == pytest.approx((0.1**2 + 0.5**2 + 1.7**2) / 4, rel=1e-12)
    expected = torch.tensor([0.0, -0.2, -1.0, -3.4], dtype=torch.float64) / 4
    torch.testing.assert_close(gradient, expected, **TIGHT)


def test_crowding_equals_a_slow_mean_over_pairs_of_different_rows() -> None:
    embeddings = rows(7)
    pairs = [cos(embeddings[i], embeddings[j]) for i in range(7) for j in range(7) if i != j]
    assert float(crowding(embeddings)) == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)


def test_crowding_is_one_for_equal_rows_zero_for_orthogonal_minus_one_for_two_opposite_ones() -> (
    None
):
    direction = rows(1)
    assert float(crowding(direction.repeat(5, 1))) == pytest.approx(1, rel=1e-12)
    assert float(crowding(axes(0, 1, 2, 3))) == pytest.approx(0, abs=1e-12)
    assert float(crowding(torch.cat([direction, -2 * direction]))) == pytest.approx(-1, rel=1e-12)


def test_gradients_of_crowding_agree_with_finite_differences() -> None:
    assert torch.autograd.gradcheck(crowding, rows(4).requires_grad_())


def test_the_diversity_loss_is_zero_for_images_as_diverse_as_real_ones_or_more() -> None:
    alike, spread = crowding(rows(6) + 2), crowding(rows(6))
    assert alike > spread + 0.1
    assert float(diversity_loss(alike, alike)) == 0
    assert float(diversity_loss(spread, alike)) == 0


def test_the_diversity_loss_of_images_that_are_too_alike_is_their_squared_excess() -> None:
    made, real = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    assert float(diversity_loss(made, real)) == pytest.approx(0.25, rel=1e-12)


def test_the_diversity_loss_drives_generated_images_apart() -> None:
    made, real = (rows(6) + 2).requires_grad_(), crowding(rows(6))
    (gradient,) = torch.autograd.grad(diversity_loss(crowding(made), real), made)
    assert crowding(made.detach() - gradient) < crowding(made.detach())


@pytest.mark.parametrize("end", [0.9, 0.5, -1.0])
def test_the_floor_falls_from_one_to_its_end_and_stays_there(end: float) -> None:
    fractions = [step / 100 for step in range(101)]
    floors = [similarity_floor(fraction, end=end) for fraction in fractions]
    assert floors[0] == 1
    assert all(later < earlier for earlier, later in pairwise(floors[:71]))
    assert floors[70:] == pytest.approx([end] * 31, rel=1e-12)
    assert floors[35] == pytest.approx((1 + end) / 2, rel=1e-12)


def test_a_floor_that_ends_at_one_never_falls() -> None:
    assert {similarity_floor(step / 100, end=1.0) for step in range(101)} == {1.0}


def test_the_floor_is_reached_when_asked() -> None:
    assert similarity_floor(0.25, end=0.5, reached_at=0.5) == pytest.approx(0.75, rel=1e-12)
    assert similarity_floor(0.5, end=0.5, reached_at=0.5) == pytest.approx(0.5, rel=1e-12)
