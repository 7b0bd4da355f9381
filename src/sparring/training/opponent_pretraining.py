"""What is learned from the images before the first step, such as a generator: resumable, and kept
for later runs on these images."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from sparring import distributed
from sparring.config import Settings
from sparring.data.dataset import Dataset
from sparring.methods.stage import Learner
from sparring.training.checkpoint import DamagedError, read_state, write_state
from sparring.training.interrupt import StopRequest, stop_on_signal

VERSION = 1
"""Raised when what was learned before can no longer be used."""
TIMED = 3
"""Moves from which the time of all is estimated, after a first one that is slower."""
SAVE_SECONDS = 120.0


class Teller(Protocol):
    """The part of a listener that is used here."""

    def report(self, line: str) -> None: ...
    def count(self, what: str, done: int, total: int) -> None: ...


class Rehearsal:
    """A `Stage`: the images of a run, its device, and a cache of what was learned from such images
    before.

    Args:
        dataset: images.
        device: where to compute.
        cache: folder of everything that is kept.
        listener: is told the expected time before it passes.
    """

    def __init__(
        self, dataset: Dataset, device: torch.device, *, cache: Path, listener: Teller | None = None
    ) -> None:
        self.dataset, self.device = dataset, device
        self._cache, self._listener = cache, listener

    def learn(self, learner: Learner, *, name: str, settings: Mapping[str, Settings]) -> None:
        """As told by `Stage`.

        Raises:
            KeyboardInterrupt: after Ctrl-C or SIGTERM, when what was learned so far is saved; the
                same run continues it.
        """
        path, was_there = (
            self._path(name, settings),
            self.recall(learner, name=name, settings=settings),
        )
        if learner.done >= learner.total:
            if was_there:
                self._report(
                    f"{name}: learned from these images before, in {learner.total:,} moves ({path})"
                )
            return
        with stop_on_signal() as request:
            self._play(learner, name, path, request)
        if request.is_set:
            self._report(
                f"{name}: stopped after {learner.done:,} of {learner.total:,} moves; the same "
                "run goes on from there"
            )
            raise KeyboardInterrupt

    def recall(self, learner: Learner, *, name: str, settings: Mapping[str, Settings]) -> bool:
        """Put a learner where an earlier one of these settings on these images was left; whether
        there was one."""
        path = self._path(name, settings)
        state = distributed.share(_read(path) if distributed.is_main() else None)
        if state is not None:
            learner.restore(state)
        return state is not None

    def _play(self, learner: Learner, name: str, path: Path, request: StopRequest) -> None:
        start, saved = learner.done, time.monotonic()
        clock = saved
        while learner.done < learner.total and not request.is_set:
            learner.play(self.dataset)
            if learner.done - start == 1:
                clock = time.monotonic()
            if learner.done - start == 1 + TIMED:
                self._report(_estimate(name, learner, seconds=(time.monotonic() - clock) / TIMED))
            if time.monotonic() - saved >= SAVE_SECONDS:
                _write(path, learner)
                saved = time.monotonic()
            if self._listener is not None:
                self._listener.count(f"{name} learns the images", learner.done, learner.total)
        _write(path, learner)

    def _path(self, name: str, settings: Mapping[str, Settings]) -> Path:
        return self._cache / "learned" / f"{name}-{self._key(settings)}.pt"

    def _key(self, settings: Mapping[str, Settings]) -> str:
        chosen = {name: part.model_dump(mode="json") for name, part in settings.items()}
        text = json.dumps(
            [VERSION, self.dataset.fingerprint, self.dataset.size, chosen], sort_keys=True
        )
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def _report(self, line: str) -> None:
        if self._listener is not None and distributed.is_main():
            self._listener.report(line)


def lasting(seconds: float) -> str:
    """A time as a person says it.

    Example:
        >>> [lasting(seconds) for seconds in (12.3, 600, 86_400)]
        ['12 seconds', '10 minutes', '24 hours']
    """
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _estimate(name: str, learner: Learner, *, seconds: float) -> str:
    time_left = lasting(seconds * (learner.total - learner.done))
    done = f" from move {learner.done - TIMED - 1:,}" if learner.done > TIMED + 1 else ""
    return (
        f"{name}: learns the images first{done}, {learner.total:,} moves, about {time_left} here; "
        "kept for later runs on these images"
    )


def _write(path: Path, learner: Learner) -> None:
    if distributed.is_main():
        write_state(path, learner.state())


def _read(path: Path) -> dict[str, Any] | None:
    """What was learned before; None if there is nothing, or it is damaged: then it is learned
    anew."""
    try:
        state = read_state(path)
    except (FileNotFoundError, DamagedError):
        return None
    return state if isinstance(state, dict) else None
