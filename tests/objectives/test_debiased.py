"""Debiased and hardness-weighted negatives against slow loops, closed-form values, and the
objectives that they turn into."""

import math

import pytest
import torch
from torch import Tensor

from sparring.distributed import JointRows
from sparring.objectives.contrastive import nt_xent
from sparring.objectives.debiased import (
    estimated_negatives,
    hcl,
    importance_weights,
    pairs_of_views,
)

BETA, TAU, T = 1.3, 0.2, 0.4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loss_of(views: Tensor | JointRows, *, beta: float = BETA, tau_plus: float = TAU) -> Tensor:
    return hcl(*pairs_of_views(views), beta=beta, tau_plus=tau_plus, temperature=T)


def slow_terms(views: Tensor, *, beta: float, tau_plus: float) -> list[tuple[float, bool]]:
    """Loss of each anchor, written from the papers' formulas, and whether the bound holds it."""
    num_views, batch, _ = views.shape
    units = {
        (v, i): views[v, i] / views[v, i].norm() for v in range(num_views) for i in range(batch)
    }
    found = []
    for (v, i), anchor in units.items():
        positive = math.exp(float(anchor @ units[1 - v, i]) / T)
        scores = [float(anchor @ other) for (_, j), other in units.items() if j != i]
        total = sum(math.exp(beta * s / T) for s in scores)
        weights = [math.exp(beta * s / T) / total for s in scores]
        expected = sum(w * math.exp(s / T) for w, s in zip(weights, scores, strict=True))
        debiased = (expected - tau_plus * positive) / (1 - tau_plus)
        bound = math.exp(-1 / T)
        negative = len(scores) * max(debiased, bound)
        found.append((-math.log(positive / (positive + negative)), debiased < bound))
    return found


@pytest.mark.parametrize(("beta", "tau_plus"), [(BETA, TAU), (0.0, TAU), (BETA, 0.0)])
def test_the_loss_of_two_views_equals_a_slow_loop(beta: float, tau_plus: float) -> None:
    views = drawn(2, 5, 6)
    terms = [term for term, _ in slow_terms(views, beta=beta, tau_plus=tau_plus)]
    assert float(loss_of(views, beta=beta, tau_plus=tau_plus)) == pytest.approx(
        sum(terms) / len(terms), rel=1e-12
    )


def test_the_slow_loop_meets_both_sides_of_the_bound() -> None:
    bounded = [is_bounded for _, is_bounded in slow_terms(drawn(2, 5, 6), beta=0.0, tau_plus=TAU)]
    assert any(bounded)
    assert not all(bounded)


def test_views_of_orthogonal_images_have_a_known_loss() -> None:
    # s+ = 1, every negative 0: without correction log(1 + N exp(-1 / t)), at any hardness. With
    # tau_plus = 0.1, 1 - 0.1 exp(1 / t) falls below exp(-1 / t): the bound holds.
    views = torch.eye(4, dtype=torch.float64).expand(2, 4, 4)
    uncorrected = math.log(1 + 6 * math.exp(-1 / T))
    assert float(loss_of(views, tau_plus=0.0)) == pytest.approx(uncorrected, rel=1e-12)
    bounded = math.log(1 + 6 * math.exp(-2 / T))
    assert float(loss_of(views, tau_plus=0.1)) == pytest.approx(bounded, rel=1e-12)


@pytest.mark.parametrize("batch", [2, 7])
def test_without_hardness_and_correction_it_is_nt_xent(batch: int) -> None:
    views = drawn(2, batch, 6)
    # Sums in another order, in float64.
    torch.testing.assert_close(
        loss_of(views, beta=0.0, tau_plus=0.0), nt_xent(views, temperature=T), rtol=1e-12, atol=0
    )


def test_hardness_and_correction_each_change_the_loss() -> None:
    views = drawn(2, 7, 6)
    plain = nt_xent(views, temperature=T)
    # Weights in favour of the similar can only raise it; the correction may do either.
    assert loss_of(views, beta=0.5, tau_plus=0.0) > plain + 0.01
    assert abs(loss_of(views, beta=0.0, tau_plus=0.1) - plain) > 0.01


def test_gradients_match_finite_differences() -> None:
    views = drawn(2, 3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss_of, (views,))


def test_rotations_and_lengths_of_embeddings_do_not_matter() -> None:
    views = drawn(2, 5, 6)
    rotation = torch.linalg.qr(drawn(6, 6, seed=2)).Q
    lengths = drawn(2, 5, 1, seed=3).exp()
    torch.testing.assert_close(
        loss_of(lengths * views @ rotation), loss_of(views), rtol=1e-12, atol=0
    )


def test_the_order_of_images_and_of_views_does_not_matter() -> None:
    views, order = drawn(2, 5, 6), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(loss_of(views[:, order].flip(0)), loss_of(views), rtol=1e-12, atol=0)


def test_the_halves_of_a_joint_batch_average_to_the_whole() -> None:
    views = drawn(2, 6, 5)
    halves = [
        loss_of(JointRows(views[:, first : first + 3], views, first=first)) for first in (0, 3)
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), loss_of(views), rtol=1e-12, atol=0)
    misplaced = loss_of(JointRows(views[:, 3:], views, first=0))
    assert not torch.isclose(halves[1], misplaced)


def test_the_pairs_are_every_other_image_once_and_the_other_view() -> None:
    views = drawn(2, 4, 5)
    positive, negative = pairs_of_views(JointRows(views[:, 2:], views, first=2))
    units = torch.nn.functional.normalize(views, dim=2)
    for row, (v, i) in enumerate([(0, 2), (0, 3), (1, 2), (1, 3)]):
        assert float(positive[row]) == pytest.approx(float(units[v, i] @ units[1 - v, i]))
        others = [float(units[v, i] @ units[w, j]) for w in range(2) for j in range(4) if j != i]
        assert negative[row].tolist() == pytest.approx(others)


def test_weights_sum_to_one_and_grow_with_hardness() -> None:
    negative = drawn(3, 5).tanh()
    weights = importance_weights(negative, beta=2.0, temperature=T)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert torch.equal(weights.argsort(dim=1), negative.argsort(dim=1))
    alike = importance_weights(negative, beta=0.0, temperature=T)
    torch.testing.assert_close(alike, torch.full_like(alike, 0.2))


def test_the_estimate_is_the_weighted_sum_corrected_for_false_negatives() -> None:
    positive, negative = drawn(3).tanh(), drawn(3, 5, seed=1).tanh()
    weights = importance_weights(negative, beta=BETA, temperature=T)
    own = (positive / T).exp()
    expected = 5 * ((weights * (negative / T).exp()).sum(dim=1) / own - TAU) / (1 - TAU)
    estimate, bound = estimated_negatives(
        positive, negative, beta=BETA, tau_plus=TAU, temperature=T
    )
    torch.testing.assert_close(estimate, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(bound, 5 * math.exp(-1 / T) / own, rtol=1e-12, atol=0)


def test_the_correction_takes_false_negatives_out_in_the_mean() -> None:
    # Chuang et al.: of the negatives a share tau_plus looks like the positive. Where that is so
    # exactly, the estimate is what the true negatives alone would give.
    similar, different = 0.7, 0.1
    positive = torch.tensor([similar], dtype=torch.float64)
    negative = torch.tensor([[similar] * 2 + [different] * 8], dtype=torch.float64)
    estimate, _ = estimated_negatives(positive, negative, beta=0.0, tau_plus=0.2, temperature=T)
    assert float(estimate) == pytest.approx(10 * math.exp((different - similar) / T), rel=1e-12)
