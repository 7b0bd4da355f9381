"""Runs that train nothing, and orders for them: calls that a worker's process imports by name."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from sparring.errors import ConfigError
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.plan import ScoredSet
from sparring.studies.records import RunName, RunRecord

TEST = ScoredSet(name="test", data="test-photos")


def toy_order(study: Path, number: int = 0, *, arm: str = "game", **train: Any) -> RunOrder:
    """Order of a run with a key of its own."""
    return RunOrder(
        name=RunName(arm=arm, seed=number),
        key=f"key-{arm}-{number}-{sorted(train.items())}",
        study=str(study),
        data="photos",
        train={"device": "cpu", **train},
        tests=(TEST,),
    )


def tries_so_far(order: RunOrder) -> int:
    """Counts the calls of an order, this one included, in a file of the study."""
    path = Path(order.study) / "tries" / StudyFolder(order.study).place(order.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(path.read_text().splitlines())


def pids(order: RunOrder) -> list[int]:
    """Processes in which an order was called, in order."""
    path = Path(order.study) / "tries" / StudyFolder(order.study).place(order.name)
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def toy_record(order: RunOrder) -> RunRecord:
    return RunRecord(
        name=order.name,
        key=order.key,
        status="finished",
        scores={"test": {"knn": 0.5 + order.name.seed / 100}},
    )


def succeeds(order: RunOrder) -> RunRecord:
    """Ends at once."""
    tries_so_far(order)
    return toy_record(order)


def fails_once(order: RunOrder) -> RunRecord:
    """Fails the first time if its seed is 1."""
    if tries_so_far(order) == 1 and order.name.seed == 1:
        raise RuntimeError("the disk\nhiccuped")
    return toy_record(order)


def always_fails(order: RunOrder) -> RunRecord:
    """Fails every time if its seed is 1."""
    tries_so_far(order)
    if order.name.seed == 1:
        raise RuntimeError("no luck")
    return toy_record(order)


def is_wrong(order: RunOrder) -> RunRecord:
    """Says that its configuration is wrong if its seed is 1."""
    tries_so_far(order)
    if order.name.seed == 1:
        raise ConfigError("batch size -1 is not positive")
    return toy_record(order)


def dies_once(order: RunOrder) -> RunRecord:
    """Kills its process the first time if its seed is odd."""
    if tries_so_far(order) == 1 and order.name.seed % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return toy_record(order)


def always_dies(order: RunOrder) -> RunRecord:
    """Kills its process every time if its seed is 1."""
    tries_so_far(order)
    if order.name.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return toy_record(order)


def lasts(order: RunOrder) -> RunRecord:
    """Works for `order.train["seconds"]`, and says in a file that it has begun."""
    tries_so_far(order)
    end = time.monotonic() + float(order.train["seconds"])
    while time.monotonic() < end:
        time.sleep(0.02)
    return toy_record(order)


def needs_several_limits(order: RunOrder) -> RunRecord:
    """Works for a second longer than a job may, each time from where it stopped, as a training
    does."""
    tries_so_far(order)
    done = Path(order.study) / "done"
    while (steps := int(done.read_text()) if done.exists() else 0) < int(order.train["steps"]):
        time.sleep(0.1)
        done.write_text(str(steps + 1))
    return toy_record(order)


def saves_when_asked(order: RunOrder) -> RunRecord:
    """Makes steps as a training does: a signal ends it after its step, which is saved."""
    from sparring.training.interrupt import stop_on_signal

    tries_so_far(order)
    done = Path(order.study) / "done"
    steps = int(done.read_text()) if done.exists() else 0
    with stop_on_signal() as request:
        while steps < int(order.train["steps"]) and not request.is_set:
            time.sleep(0.1)
            steps += 1
        done.write_text(str(steps))
        if request.is_set:
            raise KeyboardInterrupt
    return toy_record(order)
