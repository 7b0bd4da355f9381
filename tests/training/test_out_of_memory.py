"""Steps that do not fit into memory: one line, the largest batch that fits, the checkpoint kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import games
from sparring import distributed
from sparring.command.error_exit import exit_with_error
from sparring.errors import TrainingError
from sparring.machine_memory import is_out_of_memory
from sparring.models.view import View
from sparring.training import out_of_memory as module
from sparring.training.checkpoint import read_checkpoint
from sparring.training.loop import Training
from sparring.training.out_of_memory import too_large

BATCH, CONSTANT, PER_IMAGE = 32, 1000, 100
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
]


def training(folder: Path, **settings: Any) -> Training:
    """Six steps of 32 images."""
    return games.training("simclr", folder, count=64, training={"batch_size": BATCH, **settings})


def limit(
    run: Training, monkeypatch: pytest.MonkeyPatch, *, rows: int, error: Exception, first: int = 0
) -> None:
    """From a step on, let steps of more than so many images raise the error, and let memory be a
    known line of the batch."""
    step, seen = run.game.method.step, [0]

    def limited(views: Sequence[View], players: Any, context: Any) -> Mapping[str, Any]:
        seen[0] = len(views[0])
        if len(views[0]) > rows and run.step >= first:
            raise error
        return step(views, players, context)

    def peak(device: torch.device, act: Any) -> int:
        act()
        return CONSTANT + PER_IMAGE * seen[0]

    monkeypatch.setattr(run.game.method, "step", limited)
    monkeypatch.setattr(module, "_peak_of", peak)
    room = round(1.15 * (CONSTANT + PER_IMAGE * rows)) + 1
    monkeypatch.setattr(module, "_room", lambda device: room)


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
def test_the_first_step_names_the_largest_batch(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(tmp_path)
    limit(run, monkeypatch, rows=16, error=error)
    with pytest.raises(TrainingError) as caught:
        run.run()
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "out of memory with a batch of 32, and about 16 would fit" in message
    assert "set training.batch_size=16, training.checkpoint_activations=true" in message
    assert "no checkpoint yet" in message
    assert "\n" not in message


def test_a_later_step_keeps_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(tmp_path, checkpoint_minutes=0)
    limit(run, monkeypatch, rows=9, error=ERRORS[0], first=2)
    with pytest.raises(TrainingError, match=r"about 8 would fit.*the checkpoint of step 2 is kept"):
        run.run()
    assert read_checkpoint(run.folder.checkpoint)["step"] == 2


def test_where_small_steps_fail_too_half_the_batch_is_advised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(tmp_path, checkpoint_activations=False)
    limit(run, monkeypatch, rows=0, error=ERRORS[0])
    with pytest.raises(TrainingError, match=r"with a batch of 32; set training\.batch_size=16, "):
        run.run()


def test_with_several_processes_no_further_step_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(tmp_path)
    limit(run, monkeypatch, rows=16, error=ERRORS[0])
    (fed, *_) = run.feed.steps(0)
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    monkeypatch.setattr(module, "_peak_of", lambda *_: pytest.fail("made a step"))
    with pytest.raises(TrainingError, match=r"set training\.batch_size=16"):
        run._run_step(fed)


def test_other_errors_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(tmp_path)
    limit(run, monkeypatch, rows=0, error=RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        run.run()


def test_memory_that_ends_outside_a_step_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(tmp_path)

    def look(*_: object) -> None:
        raise ERRORS[0]

    monkeypatch.setattr(run.monitor, "look", look)
    with pytest.raises(TrainingError, match=r"simclr stopped at step .*: out of memory"):
        run.run()


def test_only_what_is_not_set_yet_is_advised() -> None:
    config = games.config("simclr", training={"checkpoint_activations": True})
    assert "checkpoint_activations" not in str(too_large(config, 4))
    config = games.config("simclr", training={"precision": "float32"}, data={"store": "disk"})
    message = str(too_large(config, 0))
    assert "no batch would fit; set training.checkpoint_activations=true" in message
    assert "training.precision=bfloat16" in message
    assert "data.store" not in message


def test_the_real_peaks_of_smaller_steps_give_a_batch(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.game.method.train()
    (fed, *_) = run.feed.steps(0)
    found = module._largest_batch(run.game, BATCH, fed, run._play)
    assert found is not None
    assert 0 < found < BATCH


def test_the_activations_of_the_failed_step_are_freed(tmp_path: Path) -> None:
    run = training(tmp_path)
    (fed, *_) = run.feed.steps(0)
    gone: list[bool] = []

    class Held(nn.Module):
        def __del__(self) -> None:
            gone.append(True)

    def play(fed: Any) -> Any:
        held = Held()
        if len(fed.indices) == BATCH:
            raise ERRORS[0]
        assert gone, "the first step's values are still there"
        assert held is not None
        return {}

    with pytest.raises(TrainingError, match="out of memory"):
        module.fitting_step(run.game, run.config, fed, play)
    assert gone


def test_the_command_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert is_out_of_memory(MemoryError())
    with pytest.raises(SystemExit) as caught:
        exit_with_error(ERRORS[0])
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: out of memory: CUDA out of memory.")
