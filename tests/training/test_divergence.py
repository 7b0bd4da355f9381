"""Divergence: a run stops before it saves what is not finite, and names the player that went
first."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from sparring.errors import DivergedError, TrainingError
from sparring.training.checkpoint import read_checkpoint
from sparring.training.divergence import Divergence, non_finite
from sparring.training.loop import Training

GAMES = [
    ("simclr", ()),
    ("adco", ()),
    ("caco", ()),
    ("acssl", ()),
    ("simclr", ("perturbation",)),
    ("simclr", ("generator-pair",)),
]
"""Games that diverge at a rate of 1e9: one player, a bank, a shared bank, mining, attacked views,
generators."""


def diverging(
    folder: Path, method: str, opponents: tuple[str, ...] = (), *players: str, **training: Any
) -> Training:
    """Run that saves every step and in which the given players, or all, have a rate of 1e9."""
    run = games.training(
        method, folder, opponent=opponents, training={"checkpoint_minutes": 0, **training}
    )
    for name, player in run.game.players.items():
        if not players or name in players:
            player.settings = player.settings.model_copy(
                update={"learning_rate": 1e9, "clip_norm": None}
            )
    return run


def is_finite(value: object) -> bool:
    """Whether all numbers in nested values are finite."""
    if isinstance(value, dict):
        return all(is_finite(part) for part in value.values())
    return not isinstance(value, Tensor) or bool(value.isfinite().all())


@pytest.mark.parametrize(("method", "opponents"), GAMES)
@pytest.mark.parametrize("max_steps", [None, 1, 2])
def test_a_diverging_game_keeps_a_finite_checkpoint_or_none(
    method: str, opponents: tuple[str, ...], max_steps: int | None, tmp_path: Path
) -> None:
    run = diverging(tmp_path, method, opponents, max_steps=max_steps)
    with pytest.raises(TrainingError) as caught:
        run.run()
    message = str(caught.value)
    assert message.startswith(f"{method} stopped at step {run.step}: player '")
    assert not run.folder.backbone.exists()
    if not run.folder.checkpoint.exists():
        assert "there is no checkpoint yet" in message
        return
    kept = read_checkpoint(run.folder.checkpoint)
    assert is_finite(kept["method"])
    assert is_finite(kept["players"])
    assert f"the checkpoint of step {kept['step']} is kept" in message


@pytest.mark.parametrize(
    ("method", "opponents", "player"),
    [
        ("adco", (), "encoder"),
        ("adco", (), "bank"),
        ("caco", (), "encoder"),
        ("simclr", ("generator-pair",), "encoder"),
        ("simclr", ("generator-pair",), "generator"),
    ],
)
def test_the_player_whose_rate_is_too_high_is_named(
    method: str, opponents: tuple[str, ...], player: str, tmp_path: Path
) -> None:
    run = diverging(tmp_path, method, opponents, player)
    section = "generator_pair.players" if player == "generator" else "players"
    with pytest.raises(
        TrainingError, match=rf"'{player}': .*try a lower {section}\.{player}\.learning_rate"
    ):
        run.run()


@pytest.mark.parametrize("player", ["encoder", "generator", "discriminator"])
def test_a_parameter_that_is_lost_names_its_player_though_another_ones_loss_shows_it(
    player: str, tmp_path: Path
) -> None:
    run = games.training("simclr", tmp_path, opponent=("generator-pair",))
    with torch.no_grad():
        next(run.game.players[player].parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=f"player '{player}': its parameters are not finite"):
        run.run()


def test_a_finite_checkpoint_of_parameters_that_had_exploded_is_said_to_be_so(
    tmp_path: Path,
) -> None:
    with pytest.raises(TrainingError, match=r"step 1 is kept, but the parameters of encoder had"):
        diverging(tmp_path / "late", "simclr").run()
    run = diverging(tmp_path / "sudden", "simclr", (), "nobody")
    run._save()
    next(run.game.players["encoder"].parameters()).detach().fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"\(the checkpoint of step 0 is kept\)"):
        run.run()


def test_a_step_whose_decomposition_fails_names_the_player_that_exploded(tmp_path: Path) -> None:
    run = games.training("adco", tmp_path)

    def fail(*_: object) -> None:
        with torch.no_grad():
            for parameter in run.game.players["bank"].parameters():
                parameter.mul_(1e6)
        torch.linalg.cholesky(-torch.eye(2))

    run.game.method.step = fail  # type: ignore[method-assign,assignment]
    with pytest.raises(TrainingError, match="player 'bank': its parameters have grown 1e"):
        run.run()


@pytest.mark.parametrize(
    ("method", "name", "player"),
    [
        ("mocov2", "teacher.", "encoder"),
        ("mocov2", "queue.", "encoder"),
        ("adco", "bank.", "bank"),
        ("byol", "predictor.", "encoder"),
    ],
)
def test_no_part_of_a_method_that_is_not_finite_is_saved(
    method: str, name: str, player: str, tmp_path: Path
) -> None:
    run = games.training(method, tmp_path, training={"max_steps": 4})
    run.run()
    before = run.folder.checkpoint.read_bytes()
    state = {**dict(run.game.method.named_parameters()), **dict(run.game.method.named_buffers())}
    lost = [value for key, value in state.items() if key.startswith(name)]
    with torch.no_grad():
        next(value for value in lost if value.is_floating_point()).fill_(torch.inf)
    run.step += 1
    with pytest.raises(TrainingError, match=rf"step 5: player '{player}': .*not finite.*{name}?"):
        run._save()
    assert run.folder.checkpoint.read_bytes() == before


def test_the_state_of_an_optimiser_counts(tmp_path: Path) -> None:
    run = games.training("adco", tmp_path, training={"max_steps": 6})
    run.run()
    for state in run.game.players["bank"].state_dict()["state"].values():
        state["momentum_buffer"].fill_(torch.nan)
    with pytest.raises(DivergedError, match="player 'bank': the state of its optimiser"):
        run._divergence.require_finite()


def test_infinity_that_was_there_from_the_start_may_stay() -> None:
    game = games.game("simclr")
    game.method.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    divergence = Divergence(game)
    divergence.require_finite()
    game.method.register_buffer("other", torch.tensor([0.0, -torch.inf]))
    with pytest.raises(DivergedError, match="values are not finite: other; "):
        divergence.require_finite()


def test_values_that_are_not_finite_are_found_whatever_stands_beside_them() -> None:
    values = {
        "count": torch.tensor(3),
        "empty": torch.empty(0),
        "extra": {"a": 1},
        "fine": torch.ones(2, dtype=torch.bfloat16),
        "inf": torch.tensor([1.0, torch.inf]),
        "nested": {3: {"nan": torch.tensor([[torch.nan]])}},
    }
    assert non_finite(values) == ["inf", "nested.3.nan"]
    assert non_finite({}) == []


def test_values_on_two_devices_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of AdamW on a device: it counts its steps on the CPU unless it is fused."""
    places = []

    def stack(verdicts: list[Tensor]) -> Tensor:
        """Stand-in for `torch.stack`, which refuses two devices; the other one holds no values."""
        places.append({verdict.device.type for verdict in verdicts})
        return torch.ones(len(verdicts), dtype=torch.bool)

    monkeypatch.setattr(torch, "stack", stack)
    state = {"step": torch.ones(()), "moment": torch.ones(2, device="meta")}
    assert non_finite({"optimiser": {0: state}}) == []
    assert places == [{"meta"}]
