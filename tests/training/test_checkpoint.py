"""Checkpoints: whole or not at all, harmless to read, and of this run or refused."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import games
from games import changed, play, state
from sparring.errors import CheckpointError
from sparring.training.build import Game
from sparring.training.checkpoint import (
    keeping_previous,
    load_checkpoint,
    newest_checkpoint,
    read_checkpoint,
    save_backbone,
    save_checkpoint,
)
from sparring.training.loop import Training


def small(method: str, **settings: Any) -> Game:
    """Game whose checkpoints take kilobytes."""
    return games.game(method, encoder={"backbone": "resnet18", "width": 0.0625}, **settings)


def saved(path: Path, method: str = "mocov2", *, steps: int = 2) -> Game:
    """Game after some steps, saved."""
    game = small(method)
    for number in range(steps):
        play(method, game, number)
    save_checkpoint(path, game, step=steps, config="seed = 0")
    return game


def test_a_checkpoint_brings_back_every_tensor_player_and_step(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    game, restored = saved(path, "adco", steps=4), small("adco", seed=1)
    assert changed(state(game.method), state(restored.method))
    assert load_checkpoint(path, restored) == 4
    assert not changed(state(game.method), state(restored.method))
    for name, player in game.players.items():
        ours, theirs = player.state_dict()["state"], restored.players[name].state_dict()["state"]
        assert ours
        assert all(
            torch.equal(ours[key]["momentum_buffer"], theirs[key]["momentum_buffer"])
            for key in ours
        )


def test_a_checkpoint_does_not_share_memory_with_the_game(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    game = saved(path)
    kept = state(game.method)
    play("mocov2", game, 2)
    restored = small("mocov2")
    load_checkpoint(path, restored)
    assert not changed(kept, state(restored.method))


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_kill_while_writing_leaves_the_old_checkpoint(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    game = saved(path)
    old = path.read_bytes()

    def kill(*_: object) -> None:
        raise Killed

    play("mocov2", game, 2)
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if moment == "fsync" else (Path, "replace")), kill)
        with pytest.raises(Killed):
            save_checkpoint(path, game, step=3, config="")
    assert path.read_bytes() == old
    assert read_checkpoint(path)["step"] == 2
    save_checkpoint(path, game, step=3, config="")  # what the kill left behind is no obstacle
    assert read_checkpoint(path)["step"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


class Trap:
    """Makes a file when a careless reader unpickles it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_reading_a_checkpoint_runs_nothing_that_it_contains(tmp_path: Path) -> None:
    path, mark = tmp_path / "last.pt", tmp_path / "trapped"
    torch.save(
        {"format": 1, "step": 0, "config": "", "method": {}, "players": {}, "more": Trap(mark)},
        path,
    )
    with pytest.raises(CheckpointError, match="damaged or holds more than tensors"):
        read_checkpoint(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the trap is live
    assert mark.exists()


def damaged(content: bytes, how: str) -> bytes:
    middle = len(content) // 2
    match how:
        case "empty":
            return b""
        case "cut short":
            return content[:middle]
        case "a flipped bit in a tensor":
            return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        case _:
            return b"not a checkpoint at all"


@pytest.mark.parametrize("how", ["empty", "cut short", "a flipped bit in a tensor", "text"])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(how: str, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    saved(path, steps=0)
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged"):
        read_checkpoint(path)


def test_a_missing_checkpoint_says_that_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize("content", [[1], {"weights": torch.zeros(2)}, {"format": 0, "step": 1}])
def test_other_files_of_tensors_are_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="is not one of this version"):
        read_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize(
    "settings",
    [
        {"projector": {"dim": 8}},
        {"queue": {"size": 41}},
        {"players": {"encoder": {"optimizer": "lars"}}},
        {"players": {"encoder": {"weight_decay": 0.5}}},
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    saved(tmp_path / "last.pt", steps=1)
    with pytest.raises(
        CheckpointError,
        match=r"does not fit this configuration: .*(size mismatch|players\.encoder)",
    ):
        load_checkpoint(tmp_path / "last.pt", small("mocov2", **settings))


def test_a_checkpoint_of_another_method_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "last.pt", steps=1)
    for method in ("simclr", "adco"):
        with pytest.raises(CheckpointError, match="does not fit this configuration"):
            load_checkpoint(tmp_path / "last.pt", small(method))


@pytest.mark.parametrize("missing", ["step", "method", "players"])
def test_a_checkpoint_that_lacks_a_part_is_refused(missing: str, tmp_path: Path) -> None:
    game = saved(tmp_path / "last.pt", steps=1)
    content = read_checkpoint(tmp_path / "last.pt")
    del content[missing]
    torch.save(content, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match=f"lacks {missing}; restore"):
        load_checkpoint(tmp_path / "part.pt", game)


def test_exported_weights_are_the_plain_networks(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    save_backbone(
        tmp_path / "backbone.safetensors",
        network.to(memory_format=torch.channels_last),
        metadata={"method": "adco"},
    )
    found: dict[str, Tensor] = safetensors.torch.load_file(tmp_path / "backbone.safetensors")
    assert found.keys() == network.state_dict().keys()
    assert not changed(found, dict(network.state_dict()))


def kept_run(folder: Path, *, keep: int = 2, steps: int = 4) -> Training:
    """Run that saves every step."""
    run = games.training(
        "mocov2",
        folder,
        training={"checkpoint_minutes": 0, "keep_checkpoints": keep, "max_steps": steps},
    )
    run.run()
    return run


def names(folder: Path) -> list[str]:
    """Files beside the last checkpoint, and itself."""
    return sorted(path.name for path in (folder / "checkpoint").iterdir())


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (1, ["last.pt"]),
        (2, ["last.pt", "step-3.pt"]),
        (3, ["last.pt", "step-2.pt", "step-3.pt"]),
    ],
)
def test_the_last_checkpoints_are_kept(keep: int, expected: list[str], tmp_path: Path) -> None:
    run = kept_run(tmp_path, keep=keep)
    assert names(tmp_path) == expected
    for path in run.folder.checkpoint.parent.iterdir():
        step = 4 if path.stem == "last" else int(path.stem.partition("-")[2])
        assert read_checkpoint(path)["step"] == step


def test_they_are_kept_where_files_cannot_be_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    kept_run(tmp_path)
    assert names(tmp_path) == ["last.pt", "step-3.pt"]
    assert read_checkpoint(tmp_path / "checkpoint" / "step-3.pt")["step"] == 3


@pytest.mark.parametrize("how", ["empty", "a flipped bit in a tensor", "missing"])
def test_a_last_checkpoint_that_is_damaged_gives_way_to_the_one_before(
    how: str, tmp_path: Path
) -> None:
    run = kept_run(tmp_path / "parts")
    last = run.folder.checkpoint
    if how == "missing":
        last.unlink()
    else:
        last.write_bytes(damaged(last.read_bytes(), how))
    told: list[str] = []
    path, content = newest_checkpoint(last, told.append)
    assert (path.name, content["step"]) == ("step-3.pt", 3)
    (line,) = told
    assert line.startswith(
        f"no checkpoint at {last}; step-3.pt" if how == "missing" else f"the checkpoint {last} is"
    )
    resumed = games.training("mocov2", tmp_path / "parts", training={"max_steps": 5})
    resumed.restore()
    assert resumed.step == 3
    resumed.run()
    whole = games.training("mocov2", tmp_path / "whole", training={"max_steps": 5})
    whole.run()
    assert not changed(state(resumed.game.method), state(whole.game.method))
    assert names(tmp_path / "parts") == ["last.pt", "step-3.pt"]  # not the damaged one
    assert read_checkpoint(last.with_name("step-3.pt"))["step"] == 3


def test_without_a_good_one_the_message_is_about_the_last(tmp_path: Path) -> None:
    run = kept_run(tmp_path)
    for path in run.folder.checkpoint.parent.iterdir():
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged"):
        newest_checkpoint(run.folder.checkpoint)


def test_a_save_that_is_killed_leaves_two_good_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kept_run(tmp_path)

    def kill(*_: object) -> None:
        raise Killed

    def save() -> None:
        with keeping_previous(run.folder.checkpoint, step=4, num_kept=2):
            save_checkpoint(run.folder.checkpoint, run.game, step=5, config="")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        with pytest.raises(Killed):
            save()
    assert read_checkpoint(run.folder.checkpoint)["step"] == 4
    assert read_checkpoint(run.folder.checkpoint.with_name("step-3.pt"))["step"] == 3
