"""`train --resume-if-exists`, which a restarted or requeued job calls: the same command each time,
whatever its folder holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import sparring
from sparring.errors import RunError
from sparring.training.checkpoint import read_checkpoint
from sparring.training.run_folder import RunFolder
from tiny import Command, contents, tiny_images, train_arguments

NUM_STEPS = 4
SETTINGS: Mapping[str, Any] = {
    "encoder": {"backbone": "resnet18", "width": 0.0625},
    "queue": {"size": 32},
    "training": {"monitor_images": 16, "log_steps": 1},
}


class Lines(list[str]):
    """Listener that keeps the reported lines."""

    def report(self, line: str) -> None:
        self.append(line)

    def observe(self, *_: Any) -> None:
        """Records are not kept."""

    def count(self, *_: Any) -> None:
        """Nor is progress."""


def train(out: Path, *, seed: int = 0, max_steps: int | None = None, again: bool = True) -> Lines:
    """The command in question; what it reports."""
    lines = Lines()
    images, _ = tiny_images(16)
    sparring.train(
        images,
        out=out,
        method="mocov2",
        settings=SETTINGS,
        resume_if_exists=again,
        listener=lines,
        epochs=2,
        batch_size=16,
        image_size=16,
        seed=seed,
        max_steps=max_steps,
    )
    return lines


def state(out: Path) -> dict[str, Any]:
    found = read_checkpoint(RunFolder(out).checkpoint)
    assert found["step"] == NUM_STEPS
    method: dict[str, Any] = found["method"]
    return method


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    lines = train(out, again=False)
    assert not [line for line in lines if "the run in" in line]
    return out


def test_without_a_folder_it_begins(tmp_path: Path, whole: Path) -> None:
    lines = train(tmp_path / "run")
    assert not [line for line in lines if "the run in" in line]
    assert same(state(tmp_path / "run"), state(whole))


def test_it_continues_the_run_of_the_same_configuration_to_the_same_bits(
    tmp_path: Path, whole: Path
) -> None:
    train(tmp_path / "run", max_steps=3)
    lines = train(tmp_path / "run")
    assert f"the run in {tmp_path / 'run'} goes on" in lines
    assert not [line for line in lines if "to the bit" in line]
    assert same(state(tmp_path / "run"), state(whole))


def test_it_leaves_a_finished_run_as_it_is(whole: Path) -> None:
    before = contents(whole / "checkpoint")
    lines = train(whole)
    assert any("has made all its 4 steps; there is nothing left to train" in line for line in lines)
    assert contents(whole / "checkpoint") == before


def test_it_refuses_the_run_of_another_configuration(whole: Path) -> None:
    before = contents(whole)
    with pytest.raises(RunError, match="another configuration: seed 0 before and 1 now") as caught:
        train(whole, seed=1)
    assert caught.value.exit_code == 2
    assert contents(whole) == before


def test_it_begins_anew_what_has_no_checkpoint(tmp_path: Path, whole: Path) -> None:
    train(tmp_path / "run", max_steps=2)
    for path in (tmp_path / "run" / "checkpoint").iterdir():
        path.unlink()
    with pytest.raises(RunError, match="no checkpoint; begin it anew with --resume-if-exists"):
        train(tmp_path / "run", again=False)
    with pytest.raises(RunError, match="another configuration"):
        train(tmp_path / "run", seed=1)
    lines = train(tmp_path / "run")
    assert f"the run in {tmp_path / 'run'} has no checkpoint and begins anew" in lines
    assert same(state(tmp_path / "run"), state(whole))
    records = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(records) == NUM_STEPS


def test_anything_else_in_the_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not an empty folder"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_finished_run_is_not_scored_again(
    command: Command, photos: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("sparring.api.score_after_training")
    done = command(*train_arguments(photos, run, "--resume-if-exists"))
    assert done.code == 0, done.err
    assert "there is nothing left to train" in done.err
    assert "linear probe" in done.out
