"""Contrastive objectives against slow loops, closed-form values and invariances."""

import math

import pytest
import torch
from torch import Tensor

from sparring.distributed import JointRows
from sparring.objectives.contrastive import (
    in_batch_info_nce,
    info_nce,
    invariant_spreading,
    nt_xent,
)
from sparring.objectives.similarity import cosine


def rows(count: int, dim: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(
        count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def part_of(everyone: Tensor, first: int) -> JointRows:
    """Two rows of a process whose first one is this row of everyone's."""
    return JointRows(everyone[..., first : first + 2, :], everyone, first=first)


def cos(left: Tensor, right: Tensor) -> float:
    return float(left @ right / (left.norm() * right.norm()))


def test_cosine_ignores_the_length_of_rows() -> None:
    left, right = rows(3), rows(4, seed=1)
    torch.testing.assert_close(cosine(left, right), cosine(3 * left, 0.1 * right))


def test_info_nce_equals_a_slow_loop() -> None:
    query, key, negatives = rows(3), rows(3, seed=1), rows(4, seed=2)
    slow = 0.0
    for q, k in zip(query, key, strict=True):
        positive = math.exp(cos(q, k) / 0.2)
        slow -= (
            math.log(positive / (positive + sum(math.exp(cos(q, n) / 0.2) for n in negatives))) / 3
        )
    assert float(info_nce(query, key, negatives, temperature=0.2)) == pytest.approx(slow, rel=1e-12)


def test_info_nce_of_indistinguishable_negatives_is_the_log_of_their_number() -> None:
    same = torch.ones(2, 4, dtype=torch.float64)
    value = info_nce(same, same, torch.ones(7, 4, dtype=torch.float64), temperature=0.1)
    assert float(value) == pytest.approx(math.log(8), rel=1e-12)


def test_in_batch_keys_are_negatives_of_the_other_queries() -> None:
    query, key, negatives = rows(3), rows(3, seed=1), rows(4, seed=2)
    slow = 0.0
    for i, q in enumerate(query):
        columns = [math.exp(cos(q, n) / 0.2) for n in [*key, *negatives]]
        slow -= math.log(columns[i] / sum(columns)) / 3
    assert float(in_batch_info_nce(query, key, negatives, temperature=0.2)) == pytest.approx(
        slow, rel=1e-12
    )


def test_joint_rows_say_which_gathered_key_is_the_own_one() -> None:
    query, key, negatives = rows(4), rows(4, seed=1), rows(2, seed=2)
    whole = in_batch_info_nce(query, key, negatives, temperature=0.2)
    halves = [
        in_batch_info_nce(query[i : i + 2], part_of(key, i), negatives, temperature=0.2)
        for i in (0, 2)
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), whole)
    assert not torch.isclose(
        halves[1], in_batch_info_nce(query[2:], part_of(key, 0), negatives, temperature=0.2)
    )


@pytest.mark.parametrize("num_views", [2, 3])
def test_nt_xent_equals_a_slow_loop(num_views: int) -> None:
    views = rows(num_views * 3).view(num_views, 3, 5)
    everyone = [(v, i) for v in range(num_views) for i in range(3)]
    terms = []
    for v, i in everyone:
        others = [(w, j) for w, j in everyone if (w, j) != (v, i)]
        total = sum(math.exp(cos(views[v, i], views[w, j]) / 0.5) for w, j in others)
        positives = [
            math.exp(cos(views[v, i], views[w, i]) / 0.5) for w in range(num_views) if w != v
        ]
        terms.append(-sum(math.log(p / total) for p in positives) / len(positives))
    assert float(nt_xent(views, temperature=0.5)) == pytest.approx(
        sum(terms) / len(terms), rel=1e-12
    )


def test_nt_xent_of_a_part_needs_the_row_where_it_begins() -> None:
    views = rows(8).view(2, 4, 5)
    whole = nt_xent(views, temperature=0.5)
    parts = [nt_xent(part_of(views, i), temperature=0.5) for i in (0, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
    wrong = JointRows(views[:, 2:], views, first=0)
    assert not torch.isclose(parts[1], nt_xent(wrong, temperature=0.5))


def test_nt_xent_does_not_depend_on_the_order_of_images() -> None:
    views = rows(12).view(2, 6, 5)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(
        nt_xent(views[:, order], temperature=0.5), nt_xent(views, temperature=0.5)
    )


def test_gradients_agree_with_finite_differences() -> None:
    views = rows(6).view(2, 3, 5).requires_grad_()
    negatives = rows(4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: nt_xent(v, temperature=0.5), views)
    assert torch.autograd.gradcheck(
        lambda v, n: in_batch_info_nce(v[0], v[1], n, temperature=0.5), (views, negatives)
    )


def test_invariant_spreading_equals_a_slow_loop() -> None:
    views = rows(8).view(2, 4, 5)
    flat, slow = views.flatten(0, 1), 0.0
    for r in range(8):
        others = [c for c in range(8) if c != r]
        total = sum(math.exp(cos(flat[r], flat[c]) / 0.3) for c in others)
        for c in others:
            probability = math.exp(cos(flat[r], flat[c]) / 0.3) / total
            slow -= (math.log(probability) if c == (r + 4) % 8 else math.log(1 - probability)) / 8
    assert float(invariant_spreading(views, temperature=0.3)) == pytest.approx(slow, rel=1e-12)


def test_invariant_spreading_moves_views_as_anchors_only() -> None:
    views = rows(6).view(2, 3, 5).requires_grad_()
    (whole,) = torch.autograd.grad(invariant_spreading(views, temperature=0.3), views)
    (apart,) = torch.autograd.grad(
        invariant_spreading(JointRows(views, views.detach()), temperature=0.3), views
    )
    assert torch.equal(whole, apart)
    assert not torch.equal(whole, torch.zeros_like(whole))


def test_invariant_spreading_of_halves_of_a_joint_batch_is_that_of_the_whole() -> None:
    views = rows(8).view(2, 4, 5)
    halves = [invariant_spreading(part_of(views, i), temperature=0.3) for i in (0, 2)]
    torch.testing.assert_close(
        torch.stack(halves).mean(), invariant_spreading(views, temperature=0.3)
    )


def test_invariant_spreading_stays_finite_where_a_wrong_image_is_certain() -> None:
    view = torch.eye(4)[[0, 0, 1, 2]].view(
        2, 2, 4
    )  # both views 0 coincide; no view meets its partner
    views = view.requires_grad_()
    loss = invariant_spreading(views, temperature=0.01)
    (gradient,) = torch.autograd.grad(loss, views)
    assert loss.isfinite()
    assert gradient.isfinite().all()
