"""Alignment objectives against slow loops, closed-form values and invariances."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sparring.objectives.alignment import negative_cosine, normalised_regression

BOTH = pytest.mark.parametrize("objective", [negative_cosine, normalised_regression])


def rows(count: int, dim: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(
        count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def test_negative_cosine_equals_a_slow_loop() -> None:
    prediction, target = rows(3), rows(3, seed=1)
    slow = 0.0
    for p, z in zip(prediction.tolist(), target.tolist(), strict=True):
        slow -= (
            sum(a * b for a, b in zip(p, z, strict=True)) / (math.hypot(*p) * math.hypot(*z)) / 3
        )
    assert float(negative_cosine(prediction, target)) == pytest.approx(slow, rel=1e-12)


def test_regression_equals_a_slow_loop_over_squared_distances() -> None:
    prediction, target = rows(3), rows(3, seed=1)
    slow = 0.0
    for p, z in zip(prediction.tolist(), target.tolist(), strict=True):
        slow += (
            sum((a / math.hypot(*p) - b / math.hypot(*z)) ** 2 for a, b in zip(p, z, strict=True))
            / 3
        )
    assert float(normalised_regression(prediction, target)) == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize(
    ("turn", "cosine", "distance"), [(0.0, -1.0, 0.0), (math.pi / 2, 0.0, 2.0), (math.pi, 1.0, 4.0)]
)
def test_equal_orthogonal_and_opposite_rows_have_known_values(
    turn: float, cosine: float, distance: float
) -> None:
    prediction = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[3 * math.cos(turn), 3 * math.sin(turn)]], dtype=torch.float64)
    assert float(negative_cosine(prediction, target)) == pytest.approx(cosine, abs=1e-12)
    assert float(normalised_regression(prediction, target)) == pytest.approx(distance, abs=1e-12)


@BOTH
def test_the_length_of_rows_does_not_matter(objective: Callable[[Tensor, Tensor], Tensor]) -> None:
    prediction, target = rows(4), rows(4, seed=1)
    lengths = torch.tensor([[0.1], [1.0], [7.0], [100.0]], dtype=torch.float64)
    torch.testing.assert_close(
        objective(lengths * prediction, target / lengths), objective(prediction, target)
    )


@BOTH
def test_it_is_a_mean_over_the_batch_whatever_the_order(
    objective: Callable[[Tensor, Tensor], Tensor],
) -> None:
    prediction, target = rows(4), rows(4, seed=1)
    singles = torch.stack(
        [objective(prediction[i : i + 1], target[i : i + 1]) for i in (2, 0, 3, 1)]
    )
    torch.testing.assert_close(objective(prediction, target), singles.mean())


@BOTH
def test_gradients_agree_with_finite_differences(
    objective: Callable[[Tensor, Tensor], Tensor],
) -> None:
    assert torch.autograd.gradcheck(
        objective, (rows(3).requires_grad_(), rows(3, seed=1).requires_grad_())
    )
