"""VICReg's terms against slow loops, closed-form values and invariances."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sparring.objectives.vicreg import covariance, invariance, variance_hinge

BATCH, DIM = 6, 4
spread_terms = pytest.mark.parametrize("term", [variance_hinge, covariance])


def drawn(batch: int = BATCH, dim: int = DIM, *, seed: int = 0) -> Tensor:
    """Embeddings some of whose dimensions spread by more than 1 and some by less."""
    rows = torch.randn(
        batch, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return rows * torch.linspace(0.3, 2.0, dim, dtype=torch.float64) + 5.0


def slow_covariance_matrix(rows: list[list[float]]) -> list[list[float]]:
    count, dim = len(rows), len(rows[0])
    means = [sum(row[j] for row in rows) / count for j in range(dim)]
    return [
        [
            sum((row[j] - means[j]) * (row[k] - means[k]) for row in rows) / (count - 1)
            for k in range(dim)
        ]
        for j in range(dim)
    ]


def test_invariance_equals_a_slow_loop() -> None:
    first, second = drawn(), drawn(seed=1)
    slow = sum(
        (float(first[i, j]) - float(second[i, j])) ** 2 for i in range(BATCH) for j in range(DIM)
    )
    assert float(invariance(first, second)) == pytest.approx(slow / (BATCH * DIM), rel=1e-12)


def test_variance_hinge_equals_a_slow_loop_on_both_sides_of_its_corner() -> None:
    matrix = slow_covariance_matrix(drawn().tolist())
    deviations = [math.sqrt(matrix[j][j] + 1e-4) for j in range(DIM)]
    assert min(deviations) < 1 < max(deviations)
    slow = sum(max(0.0, 1 - deviation) for deviation in deviations) / DIM
    assert float(variance_hinge(drawn())) == pytest.approx(slow, rel=1e-12)


def test_covariance_equals_a_slow_loop() -> None:
    matrix = slow_covariance_matrix(drawn().tolist())
    slow = sum(matrix[j][k] ** 2 for j in range(DIM) for k in range(DIM) if j != k) / DIM
    assert float(covariance(drawn())) == pytest.approx(slow, rel=1e-12)


def test_collapsed_embeddings_have_the_largest_shortfall_and_no_covariance() -> None:
    same = torch.full((5, 3), 7.0, dtype=torch.float64)
    assert float(variance_hinge(same)) == pytest.approx(1 - 0.01, rel=1e-12)
    assert float(covariance(same)) == 0.0


def test_a_repeated_dimension_has_a_known_covariance() -> None:
    # The variance of 0, 2, 4 is 4; of three equal dimensions six pairs have that covariance.
    column = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64)
    assert float(covariance(column[:, None].expand(3, 3))) == pytest.approx(6 * 16 / 3, rel=1e-12)


def test_uncorrelated_dimensions_of_unit_variance_cost_nothing() -> None:
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert float(variance_hinge(signs)) == 0.0
    assert float(covariance(signs)) == 0.0


@pytest.mark.parametrize(
    "loss",
    [
        lambda rows: invariance(rows, drawn(seed=1)),
        variance_hinge,
        covariance,
    ],
)
def test_gradients_match_finite_differences(loss: Callable[[Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, (drawn().requires_grad_(),))


def test_the_gradient_of_collapsed_embeddings_is_finite() -> None:
    same = torch.full((5, 3), 7.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(variance_hinge(same), same)
    assert torch.isfinite(gradient).all()


@spread_terms
def test_a_shift_and_the_order_of_rows_and_dimensions_do_not_matter(
    term: Callable[[Tensor], Tensor],
) -> None:
    rows = drawn()
    moved = rows.flip(0)[:, torch.tensor([2, 0, 3, 1])] - 3.0
    torch.testing.assert_close(term(moved), term(rows), rtol=1e-10, atol=0)


def test_a_shift_of_both_views_does_not_matter_to_invariance() -> None:
    first, second = drawn(), drawn(seed=1)
    torch.testing.assert_close(
        invariance(first + 2, second + 2), invariance(first, second), rtol=1e-10, atol=0
    )
