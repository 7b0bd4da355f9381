"""Runs on tar shards on one process and on two that are stopped or killed, and resumed."""

from pathlib import Path

import pytest
from shard_files import write_shards
from trained_processes import (
    ends,
    kill,
    pair,
    recorded_steps,
    start,
    states_of,
    train,
    wait_for_step,
    write_images,
)

from sparring.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow
FILES = ("--set", "data.store=never")
EVERY_STEP = ("--set", "training.checkpoint_minutes=0")


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pattern of three shards of 64 images."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, sorted(write_images(folder / "images").iterdir()), count=3)
    return f"{folder}/[0-2].tar"


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(
    count: int, pattern: str, tmp_path: Path
) -> None:
    def started(arguments: list[str]) -> None:
        """Processes that end by themselves."""
        processes = pair(arguments) if count == 2 else [start(arguments)]
        for end in ends(processes):
            assert end.code == 0, end.text

    whole, run = tmp_path / "whole", tmp_path / "run"
    epochs = ("--epochs", "4", *FILES)
    started(train(Path(pattern), whole, *epochs))
    arguments = train(Path(pattern), run, *epochs, *EVERY_STEP)
    processes = pair(arguments) if count == 2 else [start(arguments)]
    wait_for_step(run, 5)
    for process in processes:
        kill(process.pid)
    ends(processes)
    killed_at = read_checkpoint(run / "checkpoint" / "last.pt")["step"]
    assert 5 <= killed_at < 16
    started(["-m", "sparring", "resume", str(run)])
    one, other = states_of(whole), states_of(run)
    assert one.keys() == other.keys()
    assert len(one) > 20
    assert all(one[name].equal(other[name]) for name in one)
    assert recorded_steps(run) == list(range(16))
