"""Cross-entropy with several positives and weights: against `nt_xent`, a slow loop, and what
weights mean."""

import pytest
import torch
from torch import Tensor

from sparring.objectives.contrastive import Anchors, multi_positive_nt_xent, nt_xent

TIGHT = {"rtol": 1e-12, "atol": 1e-13}
"""Sums of some ten float64 terms of order one."""
MIXED = torch.tensor([0, 1, 2, 0, 1, 2, 3, 4, 3, 4, 3, 4, 3, 4])
"""Three images with two views each and two with four, set by set and view by view."""


def rows(count: int, dim: int = 5, *, seed: int = 0) -> Tensor:
    """Rows of random length and direction."""
    return torch.randn(
        count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def random_weights(count: int) -> Tensor:
    """Weights between 0.5 and 2."""
    return 0.5 + 1.5 * torch.rand(
        count, dtype=torch.float64, generator=torch.Generator().manual_seed(9)
    )


def loss_of(embeddings: Tensor, images: Tensor, weights: Tensor | None = None) -> Tensor:
    """The loss of one process, at a temperature of 0.5; weights of one unless given."""
    anchors = Anchors(embeddings=embeddings, images=images)
    weights = torch.ones(len(images), dtype=embeddings.dtype) if weights is None else weights
    return multi_positive_nt_xent(
        anchors, anchors, torch.arange(len(images)), weights, temperature=0.5
    )


def slow_losses(embeddings: Tensor, images: Tensor) -> Tensor:
    """Loss of each anchor at a temperature of 0.5, written from the formula; autograd follows
    it."""
    unit = [row / row.norm() for row in embeddings]
    losses = []
    for anchor, image in enumerate(images.tolist()):
        others = [row for row in range(len(unit)) if row != anchor]
        total = sum(torch.exp(unit[anchor] @ unit[row] / 0.5) for row in others)
        positives = [row for row in others if int(images[row]) == image]
        shares = [torch.log(torch.exp(unit[anchor] @ unit[row] / 0.5) / total) for row in positives]
        losses.append(-torch.stack(shares).mean())
    return torch.stack(losses)


@pytest.mark.parametrize("num_views", [2, 4])
def test_it_is_nt_xent_where_all_images_have_as_many_views(num_views: int) -> None:
    views = rows(num_views * 6).view(num_views, 6, 5).requires_grad_()
    ours, theirs = (
        loss_of(views.flatten(0, 1), torch.arange(6).repeat(num_views)),
        nt_xent(views, temperature=0.5),
    )
    torch.testing.assert_close(ours, theirs, **TIGHT)
    torch.testing.assert_close(
        torch.autograd.grad(ours, views)[0], torch.autograd.grad(theirs, views)[0], **TIGHT
    )


def test_a_mixture_of_two_and_four_views_equals_a_slow_loop() -> None:
    embeddings = rows(len(MIXED)).requires_grad_()
    ours, slow = loss_of(embeddings, MIXED), slow_losses(embeddings, MIXED).mean()
    torch.testing.assert_close(ours, slow, **TIGHT)
    torch.testing.assert_close(
        torch.autograd.grad(ours, embeddings)[0], torch.autograd.grad(slow, embeddings)[0], **TIGHT
    )


def test_weights_make_it_the_weighted_mean_of_the_anchors_losses() -> None:
    embeddings, weights = rows(len(MIXED)).requires_grad_(), random_weights(len(MIXED))
    ours, slow = (
        loss_of(embeddings, MIXED, weights),
        (weights * slow_losses(embeddings, MIXED)).sum() / weights.sum(),
    )
    torch.testing.assert_close(ours, slow, **TIGHT)
    torch.testing.assert_close(
        torch.autograd.grad(ours, embeddings)[0], torch.autograd.grad(slow, embeddings)[0], **TIGHT
    )
    assert not torch.isclose(ours, loss_of(embeddings, MIXED))


def test_only_the_ratio_of_weights_matters() -> None:
    embeddings, weights = rows(len(MIXED)), random_weights(len(MIXED))
    torch.testing.assert_close(
        loss_of(embeddings, MIXED, 7 * weights), loss_of(embeddings, MIXED, weights), **TIGHT
    )


def test_an_anchor_without_weight_is_still_a_negative_of_the_others() -> None:
    embeddings, is_first_set = rows(len(MIXED)), MIXED < 3
    expected = slow_losses(embeddings, MIXED)[is_first_set].mean()
    torch.testing.assert_close(loss_of(embeddings, MIXED, is_first_set.double()), expected, **TIGHT)
    alone = loss_of(embeddings[is_first_set], MIXED[is_first_set])
    assert alone < expected - 0.1


def test_the_order_of_rows_and_the_names_of_images_do_not_matter() -> None:
    embeddings, weights = rows(len(MIXED)), random_weights(len(MIXED))
    order = torch.randperm(len(MIXED), generator=torch.Generator().manual_seed(3))
    moved = loss_of(embeddings[order], 40 - 7 * MIXED[order], weights[order])
    torch.testing.assert_close(moved, loss_of(embeddings, MIXED, weights), **TIGHT)


def test_parts_of_a_joint_batch_add_up_to_the_whole_and_need_to_know_their_own_rows() -> None:
    embeddings = rows(len(MIXED))
    everyone, one = Anchors(embeddings=embeddings, images=MIXED), torch.ones(7, dtype=torch.float64)
    parts = []
    for own in torch.arange(len(MIXED)).view(7, 2).T:  # even rows, then odd ones
        part = Anchors(embeddings=embeddings[own], images=MIXED[own])
        parts.append(multi_positive_nt_xent(part, everyone, own, one, temperature=0.5))
        astray = multi_positive_nt_xent(
            part, everyone, (own + 1) % len(MIXED), one, temperature=0.5
        )
        assert not torch.isclose(parts[-1], astray)
    torch.testing.assert_close(torch.stack(parts).mean(), loss_of(embeddings, MIXED), **TIGHT)


def test_gradients_agree_with_finite_differences() -> None:
    weights = random_weights(len(MIXED))
    assert torch.autograd.gradcheck(
        lambda rows: loss_of(rows, MIXED, weights), rows(len(MIXED)).requires_grad_()
    )


def test_gradients_stay_finite_in_single_precision_at_a_low_temperature() -> None:
    embeddings = rows(len(MIXED)).float().requires_grad_()
    anchors = Anchors(embeddings=embeddings, images=MIXED)
    loss = multi_positive_nt_xent(
        anchors, anchors, torch.arange(len(MIXED)), torch.ones(len(MIXED)), temperature=0.005
    )
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
