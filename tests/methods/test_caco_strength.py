"""The dial of CaCo: excess loss and the positives' gain against loops by hand, both ends of the
share, and what is kept."""

import math
from copy import deepcopy
from typing import Any

import pytest
import ring
import torch
from torch import Tensor

from sparring.methods.caco import CaCo
from sparring.models.view import as_views
from sparring.objectives.bank_games import shared_bank_loss
from sparring.objectives.contrastive import info_nce
from sparring.objectives.similarity import unit_rows
from sparring.studies.arms import arms_of
from sparring.training.build import Game

TEMPERATURE = 0.2
SIZE = 40


def begun(**settings: Any) -> tuple[Game, CaCo]:
    """Game in float64 whose teacher differs from the encoder, with a full bank near the images and
    a queue of other vectors beside it."""
    given = {
        "bank": {"size": SIZE, "temperature": TEMPERATURE},
        "queue_epochs": 0.0,
        "scale_bank_rate": False,
        "players": {"encoder": {"learning_rate": 0.5}, "bank": {"learning_rate": 1.0}},
    }
    game = ring.game("caco", **{**given, **settings})
    method = game.method
    assert isinstance(method, CaCo)
    with torch.no_grad():
        for parameter in method.teacher.network.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7))
            parameter.add_(0.3 * parameter.abs().mean() * noise.double())
    images = torch.cat([ring.views(number)[0] for number in (20, 21, 22)])
    near = unit_rows(method.encoder(images).detach())[:SIZE]
    method.bank.fill(near + 0.5 * unit_rows(ring.spread(SIZE)))
    method.bank.remember(near + 0.9 * unit_rows(ring.spread(SIZE, seed=6)))
    return game, method


def played(game: Game, number: int) -> dict[str, float]:
    metrics = game.method.step(
        as_views(ring.views(number)), game.players, ring.prepared(game, number)
    )
    return {name: float(value) for name, value in metrics.items()}


def choices(method: CaCo, views: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Unit queries of each view, their keys, and the entries that these choose."""
    found = []
    bank = unit_rows(method.bank.vectors.detach())
    for asking, choosing in (views, views[::-1]):
        query = unit_rows(method.encoder(asking).detach())
        key = unit_rows(method.teacher(choosing))
        found.append((query, key, (key @ bank.T).argmax(dim=1)))
    return found


def nats(query: Tensor, positive: Tensor, others: Tensor) -> float:
    """Loss of one query, from the formula."""
    own = math.exp(float(query @ positive) / TEMPERATURE)
    rest = sum(math.exp(float(query @ each) / TEMPERATURE) for each in others)
    return -math.log(own / (own + rest))


def by_hand(method: CaCo, views: list[Tensor]) -> tuple[float, float]:
    """Excess loss and gain of the positives: a loop over views and queries."""
    bank, past = unit_rows(method.bank.vectors.detach()), unit_rows(method.bank.past)
    excess, gain = [], []
    for queries, keys, chosen in choices(method, views):
        for query, key, place in zip(queries, keys, chosen.tolist(), strict=True):
            others = [torch.cat([rows[:place], rows[place + 1 :]]) for rows in (bank, past)]
            loss = nats(query, bank[place], others[0])
            excess.append(loss - nats(query, bank[place], others[1]))
            gain.append(nats(query, key, others[0]) - loss)
    return sum(excess) / len(excess), sum(gain) / len(gain)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_excess_and_gain_are_nats_per_query_whatever_the_reduction(reduction: str) -> None:
    game, method = begun(reduction=reduction)
    views = ring.views()
    excess, gain = by_hand(method, views)
    found = method.loss(as_views(views), ring.prepared(game))
    assert abs(excess) > 0.01
    assert float(found.outputs["excess"]) == pytest.approx(excess, rel=1e-9)
    assert float(found.metrics["opponent/positive_gain"]) == pytest.approx(gain, rel=1e-9)


def test_a_step_of_a_released_game_logs_the_excess_loss_and_holds_nothing() -> None:
    game, method = begun()
    excess, _ = by_hand(method, ring.views())
    metrics = played(game, 0)
    # The dial keeps its numbers in the precision of the game.
    assert metrics["opponent/excess_loss"] == pytest.approx(excess, rel=1e-9)
    assert "opponent/share" not in metrics


@pytest.mark.parametrize(("nearness", "sign"), [(1.0, 1), (0.0, -1)])
def test_the_gain_is_positive_where_the_chosen_entries_are_nearer_than_the_keys(
    nearness: float, sign: int
) -> None:
    game, method = begun()
    # Entries between query and key choose well; those of the other entries' directions do not.
    between = torch.cat([query + key for query, key, _ in choices(method, ring.views())])
    with torch.no_grad():
        method.bank.vectors.copy_(ring.spread(SIZE))
        method.bank.vectors[: len(between)].lerp_(between, nearness)
    found = method.loss(as_views(ring.views()), ring.prepared(game))
    assert sign * float(found.metrics["opponent/positive_gain"]) > 0.01


def test_where_bank_and_queue_are_equal_no_weight_of_crops_leaves_an_excess() -> None:
    game, method = begun()
    first, second = ring.views()
    small = [ring.views(number)[0][..., :8, :8] for number in (0, 1, 2)]
    found = method.loss(as_views([first, second, *small]), ring.prepared(game))
    assert abs(float(found.outputs["excess"])) > 1e-3
    with torch.no_grad():
        method.bank.vectors.copy_(method.bank.past)
    found = method.loss(as_views([first, second, *small]), ring.prepared(game))
    assert abs(float(found.outputs["excess"])) < 1e-12


# Both ends of the share


def test_at_strength_zero_the_encoder_is_to_the_bit_that_of_a_queue_of_negatives() -> None:
    game, method = begun(strength=0.0)
    other, released = begun()
    momentum = released.settings.teacher_momentum
    for number in range(3):
        played(game, number)
        views, now = as_views(ring.views(number)), ring.prepared(other, number)
        found = released.loss(views, now)
        losses = [
            shared_bank_loss(
                now.forward(view, released.encoder),
                released.bank.vectors.detach()[chosen][None],
                chosen[None],
                released.bank.past,
                temperature=TEMPERATURE,
            )
            for view, chosen in zip(views, found.outputs["chosen"].flip(0), strict=True)
        ]
        assert not torch.isclose(torch.stack(losses).sum(), found.loss, rtol=1e-3)
        other.players["encoder"].update(torch.stack(losses).sum())
        released.teacher.ema_update(released.encoder, momentum=momentum)
        released.bank.remember(found.outputs["keys"])
        degrees = method.settings.bank.turn_degrees
        other.players["bank"].turn(found.outputs["bank_loss"], degrees=degrees)
        assert ring.equal(*(ring.parameters(each.encoder) for each in (method, released)))
        assert torch.equal(method.bank.vectors, released.bank.vectors)


def test_with_all_of_the_bank_the_encoder_has_the_loss_and_gradient_of_the_released_game() -> None:
    found, gradients = [], []
    for strength in ("released", 0.5):
        game, method = begun(strength=strength)
        method.dial.log_share.zero_()
        found.append(method.loss(as_views(ring.views()), ring.prepared(game)))
        parameters = list(method.encoder.parameters())
        gradients.append(torch.autograd.grad(found[-1].loss, parameters))
    # float64: the closed form sums in another order.
    torch.testing.assert_close(found[0].loss, found[1].loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found[0].outputs["excess"], found[1].outputs["excess"])


def test_the_excess_of_a_mixture_lies_between_those_of_its_ends() -> None:
    excess = []
    for share in (0.0, 0.5, 1.0):
        game, method = begun(strength=0.5)
        method.dial.log_share.fill_(math.log(share) if share else -math.inf)
        found = method.loss(as_views(ring.views()), ring.prepared(game))
        excess.append(abs(float(found.outputs["excess"])))
    assert excess[0] == 0
    assert 0.2 * excess[2] < excess[1] < 0.8 * excess[2]


def test_a_held_bank_turns_by_the_angle_that_is_set() -> None:
    bank = {"size": SIZE, "temperature": TEMPERATURE, "turn_degrees": 2.0}
    game, method = begun(strength=0.1, bank=bank)
    assert played(game, 0)["bank/angle_degrees"] == pytest.approx(2.0, rel=1e-3)
    torch.testing.assert_close(
        method.bank.vectors.norm(dim=1), torch.ones(SIZE, dtype=torch.float64)
    )
    game, _ = begun(bank=bank)
    assert abs(played(game, 0)["bank/angle_degrees"] - 2.0) > 0.1


# What is kept


@pytest.mark.parametrize(("key_views", "stored"), [("one", [1]), ("all", [1, 0])])
def test_the_queue_beside_the_bank_takes_in_what_the_bank_would_as_a_queue(
    key_views: str, stored: list[int]
) -> None:
    bank = {"size": 64, "temperature": TEMPERATURE, "key_views": key_views}
    game, method = begun(bank=bank, strength=0.1)
    method.bank.fill(ring.spread(64))
    first = method.bank.num_past % 64
    expected = torch.cat([unit_rows(method.teacher(ring.views()[each])) for each in stored])
    played(game, 0)
    rows = (first + torch.arange(len(expected))) % 64
    torch.testing.assert_close(method.bank.past[rows], expected, rtol=1e-12, atol=0)


def test_a_resumed_game_goes_on_with_the_dial_and_the_queue_to_the_bit() -> None:
    game, method = begun(strength=0.2)
    shares = [played(game, number)["opponent/share"] for number in range(2)]
    assert len(set(shares)) == 2
    resumed, other = begun(strength=0.2)
    other.load_state_dict(method.state_dict())
    for name, player in resumed.players.items():
        player.load_state_dict(deepcopy(game.players[name].state_dict()))
    for number in (2, 3):
        assert played(resumed, number) == played(game, number)
    assert torch.equal(other.bank.past, method.bank.past)
    assert ring.equal(ring.parameters(other), ring.parameters(method))


# Twins


@pytest.mark.parametrize("twin", ["frozen", "positives-only", "own-choice", "instance-key"])
def test_strength_has_no_effect_on_a_disarmed_twin_which_measures_all_the_same(twin: str) -> None:
    plain, _ = begun(disarmed=twin)
    dialled, _ = begun(disarmed=twin, strength=0.2)
    for number in range(2):
        metrics = played(plain, number)
        assert played(dialled, number) == metrics
        assert "opponent/excess_loss" in metrics
    assert ring.equal(*(ring.parameters(game.method) for game in (plain, dialled)))


def test_the_excess_of_instance_key_is_the_banks_above_the_queues_with_the_key_to_find() -> None:
    game, method = begun(disarmed="instance-key")
    first, second = ring.views()

    def loss(negatives: Tensor) -> Tensor:
        pairs = [(first, second), (second, first)]
        return torch.stack(
            [
                info_nce(
                    method.encoder(query), method.teacher(key), negatives, temperature=TEMPERATURE
                )
                for query, key in pairs
            ]
        ).mean()

    expected = loss(method.bank.vectors.detach()) - loss(method.bank.past)
    found = method.loss(as_views([first, second]), ring.prepared(game))
    torch.testing.assert_close(found.outputs["excess"], expected.detach(), rtol=1e-9, atol=0)


def test_the_twin_with_negatives_from_the_queue_is_the_game_at_strength_zero() -> None:
    (arm,) = arms_of("caco/queue-negatives")
    assert arm.settings["strength"] == 0.0
    assert "disarmed" not in arm.settings


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_factor_to_nats_per_query_follows_the_phase(reduction: str) -> None:
    game = ring.game("caco", bank={"size": SIZE}, queue_epochs=0.0, reduction=reduction)
    method, views = game.method, ring.views()
    assert isinstance(method, CaCo)
    query, key = method.encoder(views[0]), method.teacher(views[1])
    expected = info_nce(query, key, method.bank.vectors, temperature=0.2)
    loss = method.loss(as_views(views), ring.prepared(game)).loss
    torch.testing.assert_close(method.nats * loss, expected, rtol=1e-9, atol=0)
    _, full = begun(reduction=reduction)
    assert full.nats == {"sum": 0.5, "mean": 1.0}[reduction]
