"""Deferred checks: a divergence that the host reads late leaves the state, the step and the message
of one that is refused at once."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from sparring.contract.toy import FILLED, extra_state
from sparring.errors import TrainingError
from sparring.methods import registry
from sparring.optim.finite_check import deferred_checks
from sparring.training.build import Game
from sparring.training.checkpoint import read_checkpoint
from sparring.training.loop import Training
from sparring.training.metrics import read_metrics

GAMES: list[tuple[str, tuple[str, ...]]] = [
    *((method, ()) for method in games.METHODS),
    *(("simclr", (opponent,)) for opponent in registry.shipped("opponent")),
]
QUICK = ("adco",)
"""Methods whose cases run in the fast suite; `contract.standstill` holds every method to this."""
CASES = [
    pytest.param(*(method, opponents, player), marks=[] if method in QUICK else [pytest.mark.slow])
    for method, opponents in GAMES
    for player in games.game(method, opponent=opponents).players
]
AT = FILLED + 1
"""Step that diverges: banks are full."""
LAST = 8
"""Steps of a run: two epochs."""


def run_of(
    folder: Path, method: str, *opponents: str, is_deferred: bool = True, **settings: Any
) -> Training:
    """Training whose host looks at the end only, unless the settings say otherwise."""
    training = {"log_steps": 100, "monitor_epochs": 100, "checkpoint_minutes": 1e6, "epochs": 2}
    training |= settings.pop("training", {})
    with deferred_checks() if is_deferred else nullcontext():
        return games.training(method, folder, opponent=opponents, training=training, **settings)


def poison(run: Training, player: str, what: str, *, at: int = AT) -> list[str]:
    """Let the loss or a gradient of a player be NaN in the step `at`; the list gains the players
    that move before it in that step."""
    check, require, earlier = run.game.check, run.game.check.require, []

    def poisoned(name: str, loss: Tensor, gradients: list[Tensor], *, section: str) -> None:
        """Check of poisoned values."""
        if check.step == at:
            if name == player:
                (loss if what == "loss" else gradients[-1]).fill_(torch.nan)
                check.require = require  # type: ignore[method-assign]
            else:
                earlier.append(name)
        require(name, loss, gradients, section=section)

    check.require = poisoned  # type: ignore[method-assign, assignment]
    return earlier


def whole_state(game: Game) -> dict[str, Any]:
    """Copies of all that a game remembers."""
    optimisers = {
        f"optimiser of {name}: {number}.{key}": value.clone()
        for name, player in game.players.items()
        for number, state in player.state_dict()["state"].items()
        for key, value in state.items()
    }
    return {**games.state(game.method), **optimisers, **extra_state(game.method)}


def remembered(run: Training) -> list[dict[str, Any]]:
    """List that gains the state before every step."""
    states: list[dict[str, Any]] = []
    begin = run._divergence.begin

    def remembering(step: int) -> None:
        """Begin a step, and remember what it begins with."""
        begin(step)
        states.append(whole_state(run.game))

    run._divergence.begin = remembering  # type: ignore[method-assign]
    return states


def differing(left: dict[str, Any], right: dict[str, Any]) -> set[str]:
    """Names of what two states do not share to the bit."""
    assert left.keys() == right.keys()
    return {
        name
        for name, value in left.items()
        if not (
            torch.equal(value, right[name]) if isinstance(value, Tensor) else value == right[name]
        )
    }


def flat(game: Game) -> Tensor:
    """All parameters of a game in one row."""
    return torch.cat([value.detach().flatten() for value in game.method.parameters()])


def stopped(run: Training) -> str:
    """Message with which a run stops, without a finite loss: fused optimisers round otherwise."""
    with pytest.raises(TrainingError) as caught:
        run.run()
    return re.sub(r"\(loss [-\d.e]+\)", "(loss)", str(caught.value))


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize(("method", "opponents", "player"), CASES)
def test_nothing_changes_after_a_divergence_until_the_host_reads_it(
    method: str, opponents: tuple[str, ...], player: str, what: str, tmp_path: Path
) -> None:
    run = run_of(tmp_path, method, *opponents)
    earlier, states = poison(run, player, what), remembered(run)
    message = stopped(run)
    assert f"stopped at step {AT}: player '{player}': its {what} is not finite" in message
    assert run.step == AT
    assert len(states) == LAST, "it did not go on to its end"
    before, after = states[AT], whole_state(run.game)
    # Players that moved before this one in the same step stay moved, as where it is refused.
    own = {id(v) for name in earlier for v in run.game.players[name].parameters()}
    free = {name for name, value in run.game.method.named_parameters() if id(value) in own}
    free |= {name for name in before for one in earlier if name.startswith(f"optimiser of {one}:")}
    assert differing(before, after) <= free
    assert not differing(tensors(states[AT + 2]), tensors(after))


def tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Part of a state that lies on the device; counters go on until the host reads the flag."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize(("method", "opponents", "player"), CASES)
def test_a_late_message_is_that_of_a_refused_update(
    method: str, opponents: tuple[str, ...], player: str, tmp_path: Path
) -> None:
    messages = []
    for is_deferred in (True, False):
        run = run_of(tmp_path / f"{is_deferred}", method, *opponents, is_deferred=is_deferred)
        poison(run, player, "gradient")
        messages.append(stopped(run))
        assert run.step == AT
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "optimizer",
    ["adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "lars"))],
)
def test_a_healthy_run_is_the_same_up_to_the_rounding_of_fused_optimisers(
    optimizer: str, tmp_path: Path
) -> None:
    # AdamW divides by the root of squares, and so by rounding where gradients are tiny; eight
    # steps amplify it.
    encoder = {"optimizer": optimizer, "learning_rate": 1e-3, "clip_norm": 1.0}
    runs = [
        run_of(
            tmp_path / f"{is_deferred}",
            "adco",
            is_deferred=is_deferred,
            training={"log_steps": 1},
            players={"encoder": encoder},
        )
        for is_deferred in (True, False)
    ]
    losses = []
    for run in runs:
        run.run()
        losses.append([record["loss"] for record in read_metrics(run.folder.metrics)])
    torch.testing.assert_close(losses[0], losses[1], rtol=2e-3, atol=0.0)
    deferred, direct = (flat(run.game) for run in runs)
    assert (deferred - direct).norm() < 1e-2 * direct.norm()


def test_a_run_ends_at_the_next_record_and_records_and_saves_nothing_after_the_divergence(
    tmp_path: Path,
) -> None:
    run = run_of(tmp_path, "adco", training={"log_steps": 2, "max_steps": AT})
    run.run()
    kept = run.folder.checkpoint.read_bytes()
    run = run_of(tmp_path, "adco", training={"log_steps": 2, "epochs": 3})
    run.restore()
    poison(run, "bank", "loss", at=AT + 1)
    seen = remembered(run)
    message = stopped(run)
    assert f"adco stopped at step {AT + 1}: player 'bank': its loss is not finite" in message
    assert f"the checkpoint of step {AT} is kept" in message
    assert len(seen) == 3
    assert [record["step"] for record in read_metrics(run.folder.metrics)] == [
        0,
        2,
        3,
        4,
    ]  # 3: the last one of the trial
    assert run.folder.checkpoint.read_bytes() == kept


def test_a_save_that_comes_before_the_next_record_reads_the_flag(tmp_path: Path) -> None:
    run = run_of(tmp_path, "byol", training={"checkpoint_minutes": 0})
    poison(run, "encoder", "gradient")
    assert f"(the checkpoint of step {AT} is kept)" in stopped(run)
    assert read_checkpoint(run.folder.checkpoint)["step"] == AT


@pytest.mark.slow
def test_a_run_that_diverged_is_resumed_from_the_checkpoint_before(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"training": {"checkpoint_minutes": 0, "log_steps": 1}}
    whole = run_of(tmp_path / "whole", "caco", **settings)
    whole.run()
    first = run_of(tmp_path / "parts", "caco", **settings)
    poison(first, "bank", "gradient")
    stopped(first)
    second = run_of(tmp_path / "parts", "caco", **settings)
    second.restore()
    assert second.step == AT
    second.run()
    assert not differing(whole_state(whole.game), whole_state(second.game))


def test_an_error_that_a_divergence_causes_later_does_not_hide_it(tmp_path: Path) -> None:
    run = run_of(tmp_path, "simclr")
    poison(run, "encoder", "loss")
    step = run.game.method.step

    def fail(*given: Any) -> Any:
        """Step whose decomposition fails after the divergence."""
        if run.step == AT + 2:
            torch.linalg.cholesky(-torch.eye(2))
        return step(*given)

    run.game.method.step = fail  # type: ignore[method-assign]
    assert f"stopped at step {AT}: player 'encoder': its loss is not finite" in stopped(run)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_checkpoint_goes_on_under_the_other_kind_of_check(
    optimizer: str, is_first: bool, tmp_path: Path
) -> None:
    encoder = {"encoder": {"optimizer": optimizer, "learning_rate": 1e-3}}
    states = []
    for is_second in (is_first, not is_first):
        folder = tmp_path / f"{is_second}"
        first, second = (
            run_of(
                folder,
                "simclr",
                is_deferred=is_deferred,
                players=encoder,
                training={"max_steps": num_steps},
            )
            for is_deferred, num_steps in ((is_first, 2), (is_second, 4))
        )
        first.run()
        second.restore()
        second.run()
        states.append(flat(second.game))
    assert (states[0] - states[1]).norm() < 1e-2 * states[0].norm()
