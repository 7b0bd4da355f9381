"""Two processes of one run that are stopped, killed, or at odds: how each of them ends."""

import signal
import time
from pathlib import Path

import pytest
import torch
from trained_processes import (
    by_torchrun,
    ends,
    kill,
    recorded_steps,
    start,
    two_processes,
    wait_for_step,
    worker,
    write_images,
)

from sparring.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow
LONG = ("--epochs", "500")
EVERY_STEP = ("--set", "training.checkpoint_minutes=0")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "photos")


def checkpoint(run: Path) -> Path:
    return run / "checkpoint" / "last.pt"


@pytest.mark.parametrize(
    "signals",
    [[(1, signal.SIGUSR1)], [(1, signal.SIGTERM), (0, signal.SIGHUP)]],
    ids=["to one alone", "to both at other times"],
)
def test_a_signal_stops_both_after_the_same_step_with_a_checkpoint(
    photos: Path, tmp_path: Path, signals: list[tuple[int, signal.Signals]]
) -> None:
    run = tmp_path / "run"
    processes = two_processes(photos, run, *LONG)
    wait_for_step(run, 5)
    for rank, number in signals:
        processes[rank].send_signal(number)
        time.sleep(0.1)
    first, second = ends(processes)
    assert (first.code, second.code) == (1, 1), first.text + second.text
    assert first.errors == [f"error: stopped; continue with `sparring resume {run}`"]
    assert second.errors == []
    steps = recorded_steps(run)
    assert steps == list(range(len(steps)))
    assert read_checkpoint(checkpoint(run))["step"] == len(steps)


def test_a_process_that_is_killed_gives_one_line_on_the_other(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = two_processes(photos, run, *LONG, *EVERY_STEP)
    wait_for_step(run, 5)
    processes[1].kill()
    killed_at = time.monotonic()
    first, _ = ends(processes)
    assert time.monotonic() - killed_at < 30
    assert first.code == 1
    saved = read_checkpoint(checkpoint(run))["step"]
    assert first.errors == [
        f"error: process 1 of 2 has ended; the checkpoint of step {saved} is kept: continue with "
        f"`sparring resume {run}`"
    ]
    assert "unexpected" not in first.text


def test_an_error_of_both_is_printed_once_and_one_of_the_main_process_ends_both(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    first, second = ends(two_processes(photos, tmp_path, *LONG))
    assert (first.code, second.code) == (2, 2)
    assert len(first.errors) == 1
    assert "is not an empty folder" in first.errors[0]
    assert second.errors == []


def test_a_killed_process_restarts_the_group_which_ends_with_the_same_bits(
    photos: Path, tmp_path: Path
) -> None:
    short = ("--epochs", "6", "--resume-if-exists", *EVERY_STEP)
    options = ("--max-restarts", "3")
    disturbed = start(by_torchrun(photos, tmp_path / "a", *short, options=options))
    wait_for_step(tmp_path / "a", 5)
    kill(worker(tmp_path / "a", 1))
    (end,) = ends([disturbed])
    assert end.code == 0, end.text
    assert end.text.count(f"the run in {tmp_path / 'a'} goes on") == 1
    assert end.errors[0].startswith("error: process 1 of 2 has ended; the checkpoint of step ")
    assert [whole.code for whole in ends(two_processes(photos, tmp_path / "b", *short))] == [0, 0]
    assert recorded_steps(tmp_path / "a") == recorded_steps(tmp_path / "b") == list(range(24))
    one, other = (read_checkpoint(checkpoint(tmp_path / name)) for name in "ab")
    assert one["step"] == 24
    for name, value in one["method"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other["method"][name]), name
