"""Twenty paired runs end equal to the bit, however many workers make them and whatever kills
them."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_study
from tiny_study import bits, tiny_orders

from sparring.api.study_runs import make_run
from sparring.studies.engines import run_orders
from sparring.studies.folder import StudyFolder
from tiny import write_photos

SEEDS = 10
INTERRUPTIONS = 10
PER_CLASS = 16


def progress(study: Path) -> int:
    """Records that have been written, and steps that have been made, lost ones too."""
    lines = 0
    for path in study.glob("runs/*/study-times.jsonl"):
        lines += path.read_bytes().count(b"\n")
    return lines + len(list(study.glob("records/*.json")))


def workers_of(command: int) -> list[int]:
    """Processes that make the runs of a command."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            line = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if int(parent) == command and b"multiprocessing.spawn" in line:
            found.append(int(path.name))
    return sorted(found)


class Interrupted:
    """A study whose command, or one of whose workers, is killed now and then."""

    def __init__(self, study: Path, photos: Path, *, seed: int) -> None:
        self.study, self.photos = study, photos
        self.draw = random.Random(seed)
        self.kills: list[str] = []
        self.command = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        arguments = [str(self.study), str(self.photos), str(SEEDS), "2"]
        return subprocess.Popen(
            [sys.executable, tiny_study.__file__, *arguments], start_new_session=True
        )

    def interrupt(self) -> None:
        """Kill after some progress, at any moment."""
        goal = progress(self.study) + self.draw.randint(3, 9)
        while progress(self.study) < goal:
            assert self.command.poll() is None, "the study has ended before ten interruptions"
            time.sleep(0.02)
        time.sleep(self.draw.uniform(0, 0.1))
        workers = workers_of(self.command.pid)
        if self.draw.random() < 0.5 and workers:
            os.kill(self.draw.choice(workers), signal.SIGKILL)
            self.kills.append("worker")
        else:
            os.killpg(self.command.pid, signal.SIGKILL)
            self.command.wait()
            self.kills.append("command")
            self.command = self.start()

    def finish(self) -> None:
        assert self.command.wait() == 0


@pytest.mark.slow
def test_twenty_runs_are_equal_by_one_worker_by_two_and_interrupted_ten_times(
    tmp_path: Path,
) -> None:
    photos = write_photos(tmp_path / "photos", per_class=PER_CLASS)
    found = {}
    for name, workers in (("one", 1), ("two", 2)):
        study = tmp_path / name
        orders = tiny_orders(study, photos, seeds=SEEDS)
        found[name] = bits(study, run_orders(orders, call=make_run, workers=workers))
    interrupted = Interrupted(tmp_path / "interrupted", photos, seed=0)
    try:
        for _ in range(INTERRUPTIONS):
            interrupted.interrupt()
        interrupted.finish()
    finally:
        if interrupted.command.poll() is None:
            os.killpg(interrupted.command.pid, signal.SIGKILL)
            interrupted.command.wait()
    records = StudyFolder(interrupted.study).read_records()
    found["interrupted"] = bits(interrupted.study, records)
    assert set(interrupted.kills) == {"worker", "command"}
    assert sum(len(one.attempts) - 1 for one in records) >= INTERRUPTIONS // 2
    assert all(one.attempts[-1].outcome == "finished" for one in records)
    assert len(found["one"]) == 20
    assert found["two"] == found["one"]
    assert found["interrupted"] == found["one"]
    weights = {one[1] for one in found["one"].values()}
    assert len(weights) == 20, "runs of different arms or seeds are the same run"
