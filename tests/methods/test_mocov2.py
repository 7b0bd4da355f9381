"""MoCo v2: what the loss sees, and what the queue and the teacher do afterwards."""

from typing import Any

import pytest
import ring
import torch
from torch import Tensor

from sparring.methods.mocov2 import MoCoV2
from sparring.models.view import as_views
from sparring.objectives.contrastive import in_batch_info_nce, info_nce
from sparring.objectives.similarity import unit_rows
from sparring.training.build import Game


def started(**settings: Any) -> tuple[Game, MoCoV2]:
    """Game after two steps, so that teacher and encoder differ and the queue holds keys."""
    game = ring.game(
        "mocov2",
        **{"players": {"encoder": {"learning_rate": 0.5}}, "queue": {"size": 100}, **settings},
    )
    for number in (10, 11):
        game.method.step(as_views(ring.views(number)), game.players, ring.prepared(game, number))
    assert isinstance(game.method, MoCoV2)
    return game, game.method


def one_way(method: MoCoV2, query: Tensor, key: Tensor) -> Tensor:
    return info_nce(method.encoder(query), method.teacher(key), method.queue.keys, temperature=0.2)


def test_one_way_asks_with_the_first_view_and_answers_with_the_second() -> None:
    game, method = started(symmetric=False, in_batch=False)
    first, second = ring.views()
    loss = method.loss(as_views([first, second]), ring.prepared(game)).loss
    torch.testing.assert_close(loss, one_way(method, first, second), rtol=1e-12, atol=0)
    assert not torch.isclose(loss, one_way(method, second, first), rtol=1e-4)


def test_symmetric_is_the_mean_of_both_directions() -> None:
    game, method = started(symmetric=True, in_batch=False)
    first, second = ring.views()
    both = (one_way(method, first, second) + one_way(method, second, first)) / 2
    torch.testing.assert_close(
        method.loss(as_views([first, second]), ring.prepared(game)).loss, both, rtol=1e-12, atol=0
    )


def test_in_batch_adds_the_keys_of_the_other_images() -> None:
    game, method = started(symmetric=False, in_batch=True)
    first, second = ring.views()
    keys = method.teacher(second)
    loss = method.loss(as_views([first, second]), ring.prepared(game)).loss
    expected = in_batch_info_nce(method.encoder(first), keys, method.queue.keys, temperature=0.2)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert loss > one_way(method, first, second)  # a larger denominator


def test_the_keys_of_a_loss_are_not_yet_in_the_queue() -> None:
    game, method = started()
    before = method.queue.keys.clone()
    method.loss(as_views(ring.views()), ring.prepared(game))
    assert torch.equal(method.queue.keys, before)
    method.step(as_views(ring.views()), game.players, ring.prepared(game))
    assert not torch.equal(method.queue.keys, before)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_queue_takes_in_unit_keys_of_the_teacher_that_made_them(symmetric: bool) -> None:
    game, method = started(symmetric=symmetric)
    first, second = ring.views()
    row = method.queue.next_row
    # Before the step: the teacher moves in it.
    expected = [
        unit_rows(method.teacher(view)) for view in ([second, first] if symmetric else [second])
    ]
    method.step(as_views([first, second]), game.players, ring.prepared(game))
    rows = (row + torch.arange(len(expected) * ring.BATCH)) % 100
    torch.testing.assert_close(method.queue.keys[rows], torch.cat(expected), rtol=1e-12, atol=0)
    assert method.queue.next_row == (row + len(rows)) % 100


def test_of_one_view_the_queue_takes_in_the_keys_that_one_direction_has() -> None:
    game, method = started(symmetric=True, queue={"size": 100, "key_views": "one"})
    row, views = method.queue.next_row, ring.views()
    expected = unit_rows(method.teacher(views[1]))
    method.step(as_views(views), game.players, ring.prepared(game))
    rows = (row + torch.arange(ring.BATCH)) % 100
    torch.testing.assert_close(method.queue.keys[rows], expected, rtol=1e-12, atol=0)
    assert method.queue.next_row == (row + ring.BATCH) % 100


def test_after_the_encoders_move_the_teacher_follows_the_moved_encoder() -> None:
    game, method = started(teacher_momentum=0.75)
    before = ring.parameters(method.teacher)
    method.step(as_views(ring.views()), game.players, ring.prepared(game))
    for old, new, online in zip(
        before, method.teacher.parameters(), method.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * online.detach(), rtol=1e-12, atol=1e-15)


def test_no_gradient_reaches_teacher_or_queue() -> None:
    game, method = started(in_batch=True)
    loss = method.loss(as_views(ring.views()), ring.prepared(game)).loss
    assert not method.queue.keys.requires_grad
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    reached = torch.autograd.grad(loss, list(method.encoder.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in reached)


def test_an_update_lowers_the_loss_on_the_same_views() -> None:
    game, method = started(players={"encoder": {"learning_rate": 0.05, "momentum": 0.0}})
    views, now = ring.views(), ring.prepared(game)
    before = method.loss(as_views(views), now).loss
    game.players["encoder"].update(before)
    assert method.loss(as_views(views), now).loss < before
