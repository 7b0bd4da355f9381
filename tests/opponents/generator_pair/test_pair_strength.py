"""Strength of a generator pair: what it adds above its static twin, and what holds it there."""

import math
from typing import Any
from unittest.mock import patch

import pytest
import ring
import torch
from torch import Tensor, nn

import games
from sparring.contract.device_reads import steps_read_nothing
from sparring.contract.method_checks import resumes_to_the_bit
from sparring.contract.opponent_checks import plays, two_processes_play_as_one
from sparring.contract.standstill import stands_still
from sparring.contract.toy import Subject
from sparring.errors import ConfigError
from sparring.models.view import as_views
from sparring.objectives.similarity import unit_rows
from sparring.opponents.generator_pair.fixed import moving_rows
from sparring.opponents.generator_pair.opponent import GeneratorPair
from sparring.optim.schedule import Position
from sparring.strength.dial import Dial
from sparring.training.build import Game

ROWS = ring.BATCH // 2
"""Latents per step."""
APART = {"init_noise": 0.5}
"""A pair whose second generator is far from the fixed one from the start."""


def paired(
    method: str = "simclr", *, network: type[nn.Module] = ring.Plain, **pair: Any
) -> tuple[Game, GeneratorPair]:
    """A game in double precision with a pair around the method, and the pair."""
    game = ring.game(method, network, opponent=["generator-pair"], generator_pair=pair)
    assert isinstance(game.method, GeneratorPair)
    return game, game.method


def stepped(game: Game, number: int) -> dict[str, Any]:
    """A whole round on the views of that step."""
    now = ring.prepared(game, number)
    return dict(game.method.step(as_views(ring.views(number)), game.players, now))


def after(game: Game, *, steps: int = 4) -> dict[str, Tensor]:
    """Tensors of the encoder's side of the game after some steps."""
    for number in range(steps):
        stepped(game, number)
    assert isinstance(game.method, GeneratorPair)
    return games.state(game.method.method)  # type: ignore[arg-type]


def multi_positive(rows: Tensor, images: Tensor, anchors: range, *, temperature: float) -> Tensor:
    """Mean over anchors of their loss among all rows, by a loop; positives show one image."""
    found = []
    for anchor in anchors:
        others = [place for place in range(len(rows)) if place != anchor]
        logits = torch.stack([rows[anchor] @ rows[place] / temperature for place in others])
        positives = [n for n, place in enumerate(others) if images[place] == images[anchor]]
        found.append((torch.logsumexp(logits, dim=0) - logits[positives]).mean())
    return torch.stack(found).mean()


def test_the_excess_loss_is_that_of_the_generated_queries_above_the_fixed_generators() -> None:
    game, pair = paired(**APART)
    now, views = ring.prepared(game), ring.views()
    images = torch.cat([torch.arange(ring.BATCH).repeat(2), 100 + torch.arange(ROWS).repeat(4)])
    losses = []
    for made in (pair._supply.views(now), pair._supply.fixed_views(now)):
        shown = [*views, *(view.double() for view in made)]
        rows = unit_rows(torch.cat([game.encoder(view) for view in shown]))
        anchors = range(2 * ring.BATCH, len(rows))
        losses.append(multi_positive(rows, images, anchors, temperature=0.2).detach())
    found = pair._excess(as_views(views), now)
    torch.testing.assert_close(found, losses[0] - losses[1])
    assert abs(float(found)) > 1e-4


def test_a_method_that_sees_generated_views_in_pairs_is_measured_on_these_pairs() -> None:
    game, pair = paired("adco", **APART)
    now, views = ring.prepared(game), as_views(ring.views())
    found = pair._excess(views, now)
    losses = [
        pair._loss_on_pairs(pair._as_views(made, views), ring.prepared(game)).detach()
        for made in (pair._supply.views(now), pair._supply.fixed_views(now))
    ]
    torch.testing.assert_close(found, losses[0] - losses[1])


def test_a_pair_that_equals_the_fixed_generator_adds_nothing() -> None:
    game, pair = paired(init_noise=0.0)
    assert float(pair._excess(as_views(ring.views()), ring.prepared(game))) == 0


def test_the_excess_loss_of_a_share_is_in_proportion() -> None:
    game, pair = paired(**APART, strength=0.3)
    now, views = ring.prepared(game), as_views(ring.views())
    whole = paired(**APART)[1]._excess(views, now)
    torch.testing.assert_close(pair._excess(views, now), whole / 16)


@pytest.mark.parametrize("method", ["simclr", "adco"])
def test_strength_zero_is_the_static_twin_to_the_bit(method: str) -> None:
    held, twin, released = (
        paired(method, network=ring.Normed, **settings)
        for settings in ({"strength": 0.0}, {"disarmed": "static"}, {})
    )
    before = ring.parameters(held[1].pair)
    expected = after(twin[0])
    assert not games.changed(after(held[0]), expected)
    assert not ring.equal(before, ring.parameters(held[1].pair))
    assert games.changed(after(released[0]), expected)


@pytest.mark.parametrize("method", ["simclr", "adco"])
def test_a_share_of_one_is_the_released_game_to_the_bit(method: str) -> None:
    released, held, weak = (
        paired(method, network=ring.Normed, **APART, **settings)
        for settings in ({}, {"strength": 9.0}, {"strength": 9.0})
    )
    expected = after(released[0])
    held[1].dial.log_share.zero_()  # a target out of reach keeps it there
    assert not games.changed(after(held[0]), expected)
    assert games.changed(after(weak[0]), expected)


def test_latents_without_the_pair_show_two_images_of_the_fixed_generator() -> None:
    game, pair = paired(**APART, strength=0.3)
    now, half = ring.prepared(game), torch.tensor(0.5, dtype=torch.float64)
    mixed, is_moving = pair._supply.mixed_views(now, half, has_others=True)
    assert 0 < int(is_moving.sum()) < ROWS
    moving, one = pair._supply.views(now), pair._supply.fixed_views(now)
    for number, view in enumerate(mixed):
        assert torch.equal(view[is_moving], moving[number][is_moving])
        is_one = torch.equal(view[~is_moving], one[number][~is_moving])
        assert is_one is (number < 2)
    alone, _ = pair._supply.mixed_views(now, half, has_others=False)
    assert all(
        torch.equal(view[~is_moving], still[~is_moving])
        for view, still in zip(alone, one, strict=True)
    )


def test_two_images_of_one_latent_are_no_positives_where_the_pair_does_not_play() -> None:
    game, pair = paired(**APART, strength=0.3)
    pair.dial.log_share.fill_(math.log(0.5))
    now, views = ring.prepared(game), ring.views()
    made, is_moving = pair._supply.mixed_views(now, pair.dial.share(now.position), has_others=True)
    rows = unit_rows(
        torch.cat([game.encoder(view) for view in (*views, *(view.double() for view in made))])
    )
    left = 100 + torch.arange(ROWS)
    right = torch.where(is_moving, left, 200 + left)
    parts = [torch.arange(ring.BATCH).repeat(2), left.repeat(2), right.repeat(2)]
    expected = multi_positive(rows, torch.cat(parts), range(len(rows)), temperature=0.2)
    found = pair.method.loss([*as_views(views), *pair._made_views(as_views(views), now)], now)
    torch.testing.assert_close(found.loss, expected)


def test_the_share_of_latents_is_kept_over_steps_however_few_there_are() -> None:
    share = torch.tensor(0.1)
    counts = [int(moving_rows(share, 4, step=step).sum()) for step in range(100)]
    assert set(counts) == {0, 1}
    assert abs(sum(counts) - 40) <= 1
    assert not moving_rows(torch.tensor(0.0), 4, step=7).any()
    assert all(moving_rows(torch.tensor(1.0), 64, step=step).all() for step in range(1000))


@pytest.mark.parametrize(("epoch", "due"), [(1000, [0, 16, 32]), (10, [0, 10, 20, 30]), (16, [0])])
def test_it_is_measured_every_16_steps_or_once_an_epoch(epoch: int, due: list[int]) -> None:
    _, pair = paired()
    last = due[-1] + 1
    places = [Position(step=n, num_steps=2000, steps_per_epoch=epoch) for n in range(last)]
    assert [place.step for place in places if pair._is_measured(place)] == due


@pytest.mark.parametrize("twin", ["static", "single", "latent-noise", "real-views"])
def test_a_twin_measures_and_holds_nothing(twin: str) -> None:
    game, plain = (paired(disarmed=twin, **held) for held in ({"strength": 0.3}, {}))
    assert not games.changed(after(game[0]), after(plain[0]))
    assert not [name for name in stepped(game[0], 10) if name.startswith("opponent/")]


def test_measuring_changes_nothing_else() -> None:
    games_of = [paired(network=ring.Normed)[0] for _ in range(2)]
    expected = after(games_of[0])
    with patch.object(GeneratorPair, "_is_measured", lambda pair, position: False):
        assert not games.changed(after(games_of[1]), expected)
    assert "opponent/excess_loss" in stepped(games_of[0], 4)
    assert "opponent/excess_loss" not in stepped(games_of[1], 4)


def test_feedback_raises_the_share_while_the_pair_adds_less_than_it_should() -> None:
    game, _ = paired(init_noise=0.0, strength=0.3)
    share = float(stepped(game, 0)["opponent/share"])
    assert share > 1 / 16
    assert float(stepped(game, 1)["opponent/share"]) == share
    assert float(stepped(game, 10)["opponent/share"]) > share


def test_a_dial_of_twice_the_pace_moves_twice_as_far() -> None:
    place, moves = Position(step=0, num_steps=10, steps_per_epoch=10), []
    for pace in (1.0, 2.0):
        dial = Dial(0.3, pace=pace)
        before = dial.log_share.clone()
        dial.turn(torch.tensor(0.1), place)
        moves.append(float(dial.log_share - before))
    assert moves[1] == pytest.approx(2 * moves[0])


@pytest.mark.parametrize(("method", "settings"), [("simsiam", {}), ("simclr", {"loss": "align"})])
def test_a_strength_without_a_unit_is_refused(method: str, settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"generator_pair.strength=0.2: .* no negative log-lik"):
        paired(method, strength=0.2, **settings)
    with pytest.raises(ConfigError, match=r"generator_pair.strength.nats=0.2: "):
        paired(method, strength={"nats": 0.2, "schedule": "rising"}, **settings)
    paired(method, strength=0.2, disarmed="static", **settings)
    released = paired(method, **settings)[0]
    assert not [name for name in stepped(released, 0) if name.startswith("opponent/")]


def test_a_wrapped_opponents_strength_is_told_apart() -> None:
    game, _ = paired("adco")
    found: dict[str, Any] = {}
    for number in range(4):
        found = stepped(game, number)
    assert {"opponent/excess_loss", "opponent/inner/excess_loss"} <= found.keys()


def test_a_state_of_earlier_versions_takes_the_pairs_first_generator_for_the_fixed_one() -> None:
    game, pair = paired()
    after(game)
    old = {
        name: value
        for name, value in pair.state_dict().items()
        if not name.startswith(("fixed.", "dial."))
    }
    _, later = paired()
    later.load_state_dict(old)
    assert ring.equal(ring.parameters(later.fixed), ring.parameters(pair.pair.first))
    assert not ring.equal(ring.parameters(later.fixed), ring.parameters(pair.fixed))
    assert float(later.dial.log_share) == pytest.approx(math.log(1 / 16))
    later.load_state_dict(pair.state_dict())
    assert ring.equal(ring.parameters(later.fixed), ring.parameters(pair.fixed))


def test_the_fixed_generator_belongs_to_no_player_and_stays() -> None:
    game, pair = paired(network=ring.Normed)
    before = games.state(pair.fixed)  # type: ignore[arg-type]
    own = {id(each) for player in game.players.values() for each in player.parameters()}
    assert not own & {id(each) for each in pair.fixed.parameters()}
    game.method.train()
    after(game)
    assert not games.changed(before, games.state(pair.fixed))  # type: ignore[arg-type]
    assert not pair.fixed.generator.training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "strength"), [("simclr", 0.3), ("adco", {"nats": 0.3, "schedule": "rising"})]
)
def test_a_held_pair_keeps_the_contract(method: str, strength: Any) -> None:
    subject = Subject(method, ("generator-pair",), {"generator_pair": {"strength": strength}})
    plays(subject)
    steps_read_nothing(subject)
    stands_still(subject)
    resumes_to_the_bit(subject)


@pytest.mark.slow
def test_two_processes_play_a_held_pair_as_one() -> None:
    held = {"generator_pair": {**APART, "strength": 0.3}}
    two_processes_play_as_one(
        [Subject(name, ("generator-pair",), held) for name in ("simclr", "adco")]
    )
