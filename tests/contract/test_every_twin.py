"""The disarmed twins: what every control that switches an opponent off must do, for every method
that has one."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from arena import changed, config, contest, play, state, step, training, views
from torch import Tensor

from sparring.errors import ConfigError
from sparring.methods.registry import METHODS, OPPONENTS, section, twins

STEPS = 6
"""By then the smallest bank (40 vectors, 16 keys a step) has been full for three steps."""


every_twin = pytest.mark.parametrize(
    ("name", "twin"),
    [(name, twin) for name in (*sorted(METHODS), *OPPONENTS) for twin in twins(name)],
)


def game_of(name: str, twin: str | None) -> tuple[str, dict[str, Any]]:
    """A method with its twin's setting; of an opponent, SimCLR with it around."""
    if name in OPPONENTS:
        return "simclr", {"opponent": [name], section(name): {"disarmed": twin}}
    return name, {"disarmed": twin}


def after(method: str, **settings: Any) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of some steps, and the state they lead to."""
    game = contest(method, **settings)
    losses = []
    for number in range(STEPS):
        now = step(number)
        for player in game.players.values():
            player.prepare(now.progress)
        losses.append(
            float(game.method.step(views(method, step=number), game.players, now)["loss"])
        )
    return losses, state(game.method)


def test_every_game_has_twins() -> None:
    assert set(twins("adco")) == {"frozen", "queue"}
    assert set(twins("caco")) == {
        "frozen",
        "positives-only",
        "negatives-only",
        "own-choice",
        "instance-key",
    }
    assert set(twins("acssl")) == {"all", "random", "easiest"}
    assert set(twins("perturbation")) == {"random-signs"}
    assert set(twins("generator-pair")) == {"static", "single", "latent-noise", "real-views"}
    assert not any(twins(control) for control in ("simclr", "mocov2", "mocov3", "byol", "simsiam"))


@every_twin
def test_a_twin_plays_another_game_from_the_same_start(name: str, twin: str) -> None:
    games = [game_of(name, setting) for setting in (None, twin)]
    assert not changed(*(state(contest(method, **settings).method) for method, settings in games))
    armed, disarmed = (after(method, **settings) for method, settings in games)
    assert changed(armed[1], disarmed[1])
    assert armed[0] != disarmed[0]


@every_twin
def test_a_twin_repeats_every_bit_when_resumed(name: str, twin: str, tmp_path: Path) -> None:
    runs = []
    method, settings = game_of(name, twin)
    for folder, stops in (("whole", [9]), ("parts", [5, 9])):
        for number, stop in enumerate(stops):
            run = training(method, tmp_path / folder, training={"max_steps": stop}, **settings)
            if number:
                run.restore()
            run.play()
        runs.append(state(run.contest.method))
    assert not changed(*runs)


@pytest.mark.parametrize(
    ("method", "twin"), [("adco", "frozen"), ("caco", "frozen"), ("adco", "queue")]
)
def test_a_disarmed_bank_has_no_optimiser_state(method: str, twin: str) -> None:
    for disarmed, moves in ((None, True), (twin, False)):
        game = contest(method, disarmed=disarmed)
        for number in range(STEPS):
            play(method, game, number)
        assert bool(game.players["bank"].state_dict()["state"]) is moves


def test_a_frozen_bank_is_that_of_the_last_step_before_it_would_have_learned() -> None:
    game = contest(
        "adco", disarmed="frozen", queue_epochs=0.4
    )  # ten steps per epoch: learning would begin at step 4
    banks = []
    for number in range(STEPS + 1):
        play("adco", game, number)
        banks.append(game.method.get_parameter("bank.vectors").detach().clone())
    assert [bool(torch.equal(left, right)) for left, right in pairwise(banks)] == [False] * 3 + [
        True
    ] * 3


@pytest.mark.parametrize("method", sorted(name for name in METHODS if twins(name)))
def test_an_unknown_twin_is_refused_with_those_there_are(method: str) -> None:
    with pytest.raises(ConfigError, match=f"disarmed: .*'{twins(method)[0]}'"):
        config(method, disarmed="harmless")
