"""ACSSL-style: the excess loss of mined negatives, and a miner that a strength holds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import ring
import torch
from torch import Tensor

import games
from sparring.errors import ConfigError
from sparring.methods.acssl import ACSSL
from sparring.methods.method import MethodLoss
from sparring.models.view import as_views
from sparring.negatives import mining
from sparring.objectives.similarity import cosine
from sparring.training.build import Game

NCE = {"form": "topk_nce", "predictor": {"kind": "plain", "hidden": 32}}
RANDOM: dict[str, Any] = {"disarmed": "random"}


def played(steps: int = 0, **settings: Any) -> tuple[Game, ACSSL]:
    """Game in float64 after some steps, so that teacher and encoder differ."""
    rate = {"players": {"encoder": {"learning_rate": 0.1}}}
    game = ring.game("acssl", **{**NCE, **rate, **settings})
    assert isinstance(game.method, ACSSL)
    for number in range(steps):
        play(game, number)
    return game, game.method


def play(game: Game, number: int) -> dict[str, Any]:
    """One step; its metrics."""
    views, now = as_views(ring.views(number)), ring.prepared(game, number)
    return dict(game.method.step(views, game.players, now))


@torch.no_grad()
def loss_of(method: ACSSL, number: int) -> MethodLoss:
    return method.loss(as_views(ring.views(number)), games.context(number))


def turned(method: ACSSL, share: float) -> None:
    """Put the dial at a share."""
    method.dial.log_share.copy_(torch.tensor(share).log())


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every random choice made since, in order."""
    found: list[Tensor] = []
    draw = mining.at_random

    def noted(*arguments: Any, **named: Any) -> Tensor:
        found.append(draw(*arguments, **named))
        return found[-1]

    monkeypatch.setattr(mining, "at_random", noted)
    return found


@torch.no_grad()
def by_hand(method: ACSSL, number: int, columns: Sequence[Tensor]) -> Tensor:
    """Loss of both directions against these columns, query by query: -log of the positive's share
    of the sum of exponentials."""
    first, second = ring.views(number)
    terms = []
    for (asking, answering), chosen in zip(
        ((first, second), (second, first)), columns, strict=True
    ):
        query = method.predictor(method.encoder(asking))
        similarity = (cosine(query, method.teacher(answering)) / 0.2).exp()
        for own, row, places in zip(similarity.diagonal(), similarity, chosen, strict=True):
            terms.append(-(own / (own + sum(row[place] for place in places.tolist()))).log())
    return torch.stack(terms).mean()


@torch.no_grad()
def mined_columns(method: ACSSL, number: int) -> Iterator[Tensor]:
    """Ranks 2 to 10 of each direction."""
    first, second = ring.views(number)
    for asking, answering in ((first, second), (second, first)):
        similarity = cosine(method.predictor(method.encoder(asking)), method.teacher(answering))
        yield similarity.fill_diagonal_(-2.0).argsort(dim=1, descending=True)[:, 1:10]


def test_the_excess_is_the_loss_on_mined_less_that_on_as_many_random_negatives(
    choices: list[Tensor],
) -> None:
    _, method = played(3)
    choices.clear()
    found = loss_of(method, 4)
    mined = by_hand(method, 4, list(mined_columns(method, 4)))
    torch.testing.assert_close(found.loss, mined, rtol=1e-12, atol=0)
    expected = mined - by_hand(method, 4, choices)
    torch.testing.assert_close(found.outputs["excess"], expected, rtol=1e-9, atol=1e-14)
    assert expected > 0
    assert len(choices) == 2
    assert not torch.equal(*choices)


def test_a_held_miners_excess_is_that_of_its_mixture(choices: list[Tensor]) -> None:
    _, method = played(3, strength=0.1)
    excesses = []
    for share in (1 / 256, 0.5, 1.0):
        turned(method, share)
        choices.clear()
        found = loss_of(method, 5)
        excesses.append(float(found.outputs["excess"]))
        expected = float(found.loss - by_hand(method, 5, choices))
        assert excesses[-1] == pytest.approx(expected, rel=1e-9, abs=1e-14)
    assert 0 <= excesses[0] < excesses[1] < excesses[2]


def test_a_strength_of_0_is_to_the_bit_the_twin_with_random_negatives() -> None:
    (held, ours), (twin, theirs) = played(strength=0.0), played(**RANDOM)
    for number in range(5):
        ours_now, theirs_now = play(held, number), play(twin, number)
        assert ours_now["loss"] == theirs_now["loss"]
        assert torch.equal(ours_now["mining/pairs"], theirs_now["mining/pairs"])
        assert ours_now["opponent/excess_loss"] == 0
    assert not games.changed(own_state(ours), own_state(theirs))


def test_a_strength_of_0_is_to_the_bit_the_twin_while_all_are_chosen_too() -> None:
    warm_up = {"mining": {"warmup_epochs": 0.3}}  # epochs of 10 steps
    (held, ours), (twin, theirs) = played(strength=0.0, **warm_up), played(**RANDOM, **warm_up)
    for number in range(5):
        ours_now, theirs_now = play(held, number), play(twin, number)
        assert torch.equal(ours_now["mining/pairs"], theirs_now["mining/pairs"])
        assert ours_now["loss"] == theirs_now["loss"]
    assert not games.changed(own_state(ours), own_state(theirs))


def test_a_share_of_1_is_to_the_bit_the_released_game() -> None:
    (held, ours), (released, theirs) = played(strength=5.0), played()
    for number in range(5):
        turned(ours, 1.0)  # 5 nats are more than mining adds, so it stays there
        assert play(held, number)["loss"] == play(released, number)["loss"]
    assert float(ours.dial.share(games.context(5).position)) == 1.0
    assert not games.changed(own_state(ours), own_state(theirs))


def own_state(method: ACSSL) -> dict[str, Tensor]:
    """Copies of all tensors but the dial's."""
    return {name: value for name, value in games.state(method).items() if "dial." not in name}


def test_a_released_game_draws_as_one_that_measures_nothing() -> None:
    (measured, ours), (unmeasured, theirs) = played(), played()
    theirs.dial.every = 10**9
    for number in range(1, 6):
        play(measured, number), play(unmeasured, number)
    assert ours.dial.num_measured == 1
    assert theirs.dial.num_measured == 0
    assert not games.changed(own_state(ours), own_state(theirs))
    now = games.context(4)
    before = now.generator.get_state()
    ours.loss(as_views(ring.views(4)), now)
    assert torch.equal(now.generator.get_state(), before)


def test_a_released_miner_is_measured_on_every_fourth_step() -> None:
    game, method = played()
    counts = []
    for number in range(6):
        play(game, number)
        counts.append(method.dial.num_measured)
    assert counts == [1, 1, 1, 1, 2, 2]


def test_a_held_strength_moves_the_share_towards_its_target() -> None:
    for strength, is_rising in ((5.0, True), (1e-6, False)):
        game, method = played(strength=strength)
        turned(method, 0.25)
        for number in range(4):
            found = play(game, number)
        assert (float(found["opponent/share"]) > 0.25) == is_rising
        assert found["opponent/target"] == strength


def test_the_hardness_of_a_mixture_lies_between_that_of_its_parts() -> None:
    hardness = []
    for settings in (RANDOM, {"strength": 0.1}, {}):
        _, method = played(**settings)
        turned(method, 0.5)
        hardness.append(float(loss_of(method, 1).metrics["mining/hardness"]))
    assert hardness[0] < hardness[1] < hardness[2]


def test_until_the_warm_up_ends_nothing_is_measured_and_the_dial_rests() -> None:
    game, method = played(strength=5.0, mining={"warmup_epochs": 0.3})  # epochs of 10 steps
    everything, _ = played(disarmed="all")
    for number in range(3):
        found = play(game, number)
        assert found["loss"] == play(everything, number)["loss"]
        assert not [name for name in found if name.startswith("opponent/")]
    assert method.dial.num_measured == 0
    assert "opponent/share" in play(game, 3)
    assert method.dial.num_measured == 1


@pytest.mark.parametrize("settings", [RANDOM, {"disarmed": "easiest"}, {"disarmed": "all"}])
def test_a_strength_changes_nothing_in_a_twin(settings: dict[str, Any]) -> None:
    (held, ours), (plain, theirs) = played(strength=0.1, **settings), played(**settings)
    for number in range(3):
        found = play(held, number)
        assert found["loss"] == play(plain, number)["loss"]
        assert not [name for name in found if name.startswith("opponent/")]
    assert not games.changed(own_state(ours), own_state(theirs))


@pytest.mark.parametrize("form", ["linear", "hinge", "soft", "byol_plus", "hcl"])
def test_a_form_without_a_dial_measures_nothing(form: str) -> None:
    game, method = played(form=form)
    assert not [name for name in play(game, 0) if name.startswith("opponent/")]
    assert method.dial.num_measured == 0


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        *((form, "its loss is not in nats") for form in ("linear", "hinge", "soft", "byol_plus")),
        ("hcl", "it meets all negatives"),
    ],
)
@pytest.mark.parametrize("strength", [0.0, 0.2, {"nats": 0.2, "schedule": "rising"}])
def test_a_form_without_a_dial_refuses_a_strength(form: str, reason: str, strength: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"form={form} has no dial, since {reason}; choose form=topk_nce"
    ):
        games.config("acssl", form=form, strength=strength)


@pytest.mark.parametrize(
    ("form", "nats"),
    [("topk_nce", 1.0), ("hcl", 1.0), *((f, None) for f in ("linear", "hinge", "soft"))],
)
def test_only_negative_log_likelihoods_are_in_nats(form: str, nats: float | None) -> None:
    assert games.game("acssl", form=form).method.nats == nats


@pytest.mark.parametrize(
    ("settings", "choice"),
    [({}, "hardest"), ({"strength": 0.1}, "hardest"), ({"strength": 0.0}, "random")],
)
def test_a_miner_without_strength_declares_random_negatives(
    settings: dict[str, Any], choice: str
) -> None:
    _, method = played(**settings)
    declared = method.negatives(games.context(1).position)
    assert declared is not None
    assert (declared.choice, declared.is_played) == (choice, choice == "hardest")


def test_each_process_mixes_its_rows_of_the_game_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from sparring import distributed

    _, method = played(2, strength=0.1)
    turned(method, 0.5)
    gathered: list[Tensor] = []
    gather = distributed.gather

    def recorded(tensor: Tensor) -> Tensor:
        gathered.append(gather(tensor))
        return gathered[-1]

    monkeypatch.setattr(distributed, "gather", recorded)
    whole = loss_of(method, 2)
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    parts = []
    for rank in range(2):
        replayed = iter(gathered)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "gather", lambda _, replayed=replayed: next(replayed))
        own = slice(8 * rank, 8 * rank + 8)
        now = replace(games.context(2), indices=torch.arange(16)[own])
        parts.append(method.loss(as_views([view[own] for view in ring.views(2)]), now))
    for found, expected in (
        ([part.loss for part in parts], whole.loss),
        ([part.outputs["excess"] for part in parts], whole.outputs["excess"]),
    ):
        torch.testing.assert_close(torch.stack(found).mean(), expected, rtol=1e-12, atol=1e-14)
