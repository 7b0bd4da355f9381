"""Checkpoints that are damaged, not finite or exploded, as every command that reads one meets
them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparring import api
from sparring.errors import CheckpointError
from sparring.training.checkpoint import read_checkpoint, write_state
from tiny import Command, contents

READERS = ["evaluate", "embed", "export"]


def call(command: Command, name: str, run: Path, photos: Path, out: Path) -> tuple[int, str]:
    """Exit code and standard error of a command that reads the run's checkpoint."""
    further = {
        "evaluate": ["--protocol", "knn"],
        "embed": ["--data", photos, "--out", out],
        "export": ["--out", out],
        "resume": [],
    }
    found = command(name, run, *further[name])
    return found.code, found.err


def with_weights(run: Path, change: Callable[[Tensor], Tensor]) -> Path:
    """Run whose checkpoint has another first weight."""
    path = run / "checkpoint" / "last.pt"
    content = read_checkpoint(path)
    name = next(name for name in content["method"] if name.startswith("encoder.backbone"))
    content["method"][name] = change(content["method"][name])
    write_state(path, content)
    return run


@pytest.mark.parametrize("name", [*READERS, "resume"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_a_line_says_so(
    name: str, command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    last = run / "checkpoint" / "last.pt"
    shutil.copy(last, last.with_name("step-7.pt"))
    last.write_bytes(last.read_bytes()[:1000])
    code, shown = call(command, name, run, photos, tmp_path / "out")
    assert code == 0, shown
    line = "last.pt is damaged or holds more than tensors; step-7.pt, which was kept before it"
    assert " ".join(shown.split()).count(line) == 1


@pytest.mark.parametrize("name", [*READERS, "resume"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_encoder_that_is_not_finite_is_refused(
    name: str, value: float, command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    with_weights(run, lambda weight: torch.full_like(weight, value))
    before = contents(run)
    code, shown = call(command, name, run, photos, tmp_path / "out")
    assert code == 1
    assert "not finite" in shown.splitlines()[-1]
    assert "had diverged" in shown.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    assert contents(run) == before


@pytest.mark.parametrize("name", ["evaluate", "embed"])
def test_features_that_are_not_finite_are_refused(
    name: str, command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    with_weights(run, lambda weight: torch.full_like(weight, 3e38))
    code, shown = call(command, name, run, photos, tmp_path / "out")
    assert code == 1
    assert "64 images are not finite" in shown.splitlines()[-1] or name == "evaluate"
    assert "features of" in shown.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["embed", "resume"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step", -5),
        ("step", 2**70),
        ("step", "3"),
        ("config", 7),
        ("conditions", ["cpu"]),
        ("method", []),
        ("method", {3: torch.zeros(1)}),
        ("players", None),
    ],
)
def test_a_field_of_another_type_or_size_is_named(
    name: str, field: str, value: object, command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    path = run / "checkpoint" / "last.pt"
    write_state(path, {**read_checkpoint(path), field: value})
    code, shown = call(command, name, run, photos, tmp_path / "out")
    assert code == 1
    last = shown.splitlines()[-1]
    assert last == f"error: the checkpoint {path} holds no usable {field}; restore it from a copy"


def test_a_function_without_a_listener_warns(run: Path) -> None:
    last = run / "checkpoint" / "last.pt"
    last.rename(last.with_name("step-8.pt"))
    with pytest.warns(UserWarning, match=r"no checkpoint at .*; step-8\.pt, which was kept"):
        api.load(run)
    last.with_name("step-8.pt").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        api.load(run)
