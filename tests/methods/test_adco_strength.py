"""The dial of AdCo: excess loss against a loop by hand, what the encoder meets, and what the bank
climbs."""

import math
from typing import Any

import pytest
import ring
import torch
from torch import Tensor

import games
from sparring.methods.adco import AdCo
from sparring.methods.method import MethodLoss
from sparring.models.view import as_views
from sparring.objectives.bank_games import adversarial_bank_game
from sparring.objectives.similarity import unit_rows
from sparring.training.build import Game

TEMPERATURE, SIZE = 0.2, 40


def begun(**settings: Any) -> tuple[Game, AdCo]:
    """Game in float64 with a full bank, and a queue of other vectors beside it."""
    given = {"bank": {"size": SIZE, "temperature": 0.04}, "queue_epochs": 0.0}
    game = ring.game("adco", **{**given, "key_norm": {"shuffled": False}, **settings})
    method = game.method
    assert isinstance(method, AdCo)
    method.bank.fill(ring.spread(SIZE))
    method.bank.remember(ring.spread(SIZE, seed=6))
    return game, method


def loss_of(method: AdCo, number: int = 0) -> MethodLoss:
    return method.loss(as_views(ring.views(number)), games.context(number))


def turned(method: AdCo, share: float) -> None:
    """Put the dial at a share."""
    method.dial.log_share.copy_(torch.tensor(share).log())


@torch.no_grad()
def by_hand(method: AdCo, number: int, negatives: Tensor, *, others: bool, both: bool) -> float:
    """Mean loss in nats of the queries against these negatives, query by query."""
    first, second = ring.views(number)
    found = []
    for asking, answering in ((first, second), (second, first))[: 1 + both]:
        queries, keys = (
            unit_rows(network(view))
            for network, view in ((method.encoder, asking), (method.teacher, answering))
        )
        for row, query in enumerate(queries):
            columns = keys if others else keys[row : row + 1]
            all_columns = torch.cat([columns, unit_rows(negatives)]) @ query
            exponentials = [math.exp(float(value) / TEMPERATURE) for value in all_columns]
            own = math.exp(float(keys[row] @ query) / TEMPERATURE)
            found.append(-math.log(own / sum(exponentials)))
    return sum(found) / len(found)


@pytest.mark.parametrize("form", ["one-way", "symmetric"])
@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("strength", ["released", 0.1])
def test_the_excess_is_the_loss_against_what_is_met_less_that_against_the_queue(
    form: str, in_batch: bool, strength: Any
) -> None:
    _, method = begun(form=form, in_batch=in_batch, strength=strength)
    turned(method, 0.5)
    share = method.dial.share(games.context(3).position)
    losses = [
        by_hand(method, 3, negatives, others=in_batch, both=form == "symmetric")
        for negatives in (method.bank.mixed(share, 3), method.bank.past)
    ]
    found = loss_of(method, 3)
    assert float(found.loss.detach()) == pytest.approx(losses[0], rel=1e-9)
    assert float(found.outputs["excess"]) == pytest.approx(losses[0] - losses[1], rel=1e-7)
    assert abs(losses[0] - losses[1]) > 1e-3


def test_a_mixture_holds_its_share_of_the_bank_and_all_of_it_over_the_steps() -> None:
    _, method = begun()
    bank, past = method.bank.vectors.detach(), method.bank.past
    taken = torch.zeros(SIZE, dtype=torch.bool)
    for step in range(20):
        mixed = method.bank.mixed(torch.tensor(0.25), step)
        is_bank = (mixed == bank).all(dim=1)
        assert int(is_bank.sum()) == SIZE // 4
        assert torch.equal(mixed[~is_bank], past[~is_bank])
        taken |= is_bank
    assert taken.all()
    assert torch.equal(method.bank.mixed(torch.tensor(0.0), 7), past)
    assert torch.equal(method.bank.mixed(torch.tensor(1.0), 7), bank)


def test_a_held_bank_climbs_the_loss_of_all_its_vectors_at_the_encoders_temperature() -> None:
    _, method = begun(strength=0.1, form="one-way")
    first, second = ring.views()
    expected = adversarial_bank_game(
        method.encoder(first).detach(),
        method.teacher(second),
        method.bank.vectors,
        temperature=TEMPERATURE,
        bank_temperature=TEMPERATURE,
    ).bank_loss
    found = loss_of(method).outputs["bank_loss"]
    gradients = [torch.autograd.grad(loss, method.bank.vectors)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_to_compute_a_loss_moves_nothing() -> None:
    _, method = begun(strength=0.1)
    before, counted = games.state(method), method.dial.get_extra_state()
    loss_of(method)
    assert not games.changed(before, games.state(method))
    assert method.dial.get_extra_state() == counted


@pytest.mark.parametrize("settings", [{"disarmed": "queue"}, {"queue_epochs": 1.0}])
def test_while_the_bank_is_a_queue_nothing_is_measured(settings: dict[str, Any]) -> None:
    game, method = begun(**settings)
    assert "excess" not in loss_of(method).outputs
    found = game.method.step(as_views(ring.views()), game.players, ring.prepared(game))
    assert not [name for name in found if name.startswith("opponent/")]
