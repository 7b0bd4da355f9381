"""Runs on streams on two processes that are killed and resumed."""

from pathlib import Path

import pytest
from shard_files import write_shards
from trained_processes import (
    ends,
    kill,
    pair,
    recorded_steps,
    states_of,
    train,
    wait_for_step,
    write_images,
)

from sparring.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow
STREAMED = ("--set", "data.streaming=true", "--set", "data.num_images=64", "--epochs", "4")
EVERY_STEP = ("--set", "training.checkpoint_minutes=0")
SHARED, DIVIDED = 3, 4


@pytest.mark.parametrize("shards", [SHARED, DIVIDED])
def test_a_killed_run_on_a_stream_goes_on_to_the_same_bits(shards: int, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    write_shards(tmp_path, sorted(write_images(tmp_path / "images").iterdir()), count=shards)
    pattern = Path(f"{tmp_path}/{{0..{shards - 1}}}.tar")
    whole, run = tmp_path / "whole", tmp_path / "run"
    for end in ends(pair(train(pattern, whole, *STREAMED))):
        assert end.code == 0, end.text
    processes = pair(train(pattern, run, *STREAMED, *EVERY_STEP))
    wait_for_step(run, 5)
    for process in processes:
        kill(process.pid)
    ends(processes)
    assert 5 <= read_checkpoint(run / "checkpoint" / "last.pt")["step"] < 16
    for end in ends(pair(["-m", "sparring", "resume", str(run)])):
        assert end.code == 0, end.text
    one, other = states_of(whole), states_of(run)
    assert one.keys() == other.keys()
    assert len(one) > 20
    assert all(one[name].equal(other[name]) for name in one)
    assert recorded_steps(run) == list(range(16))
