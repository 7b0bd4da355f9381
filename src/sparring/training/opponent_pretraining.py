"""Pretraining of opponents, such as a generator, before the first step: resumable, and cached for
later runs on the same images."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparring import distributed
from sparring.config import Settings
from sparring.data.dataset import Dataset
from sparring.errors import TrainingError
from sparring.methods.learning import Pretrainable
from sparring.training.checkpoint import DamagedError, read_state, write_state
from sparring.training.divergence import non_finite
from sparring.training.interrupt import StopRequest, stop_on_signal
from sparring.training.listener import Listener

VERSION = 1
"""Format version of the cache; increased when older results can no longer be used."""
TIMED = 3
"""Number of steps from which the total time is estimated, after a first one that is slower."""
SAVE_SECONDS = 120.0


class PretrainingCache:
    """`OpponentCache` of a run: trains opponents on the images and stores the results.

    Args:
        dataset: images to train on.
        cache: folder of the stored results.
        listener: receives the expected time in advance.
        seed: the run's.
    """

    def __init__(
        self, dataset: Dataset, *, cache: Path, listener: Listener | None = None, seed: int = 0
    ) -> None:
        self.dataset, self.seed = dataset, seed
        self._cache, self._listener = cache, listener

    def train(
        self,
        pretraining: Pretrainable,
        *,
        name: str,
        settings: Mapping[str, Settings],
        seed: int = 0,
    ) -> None:
        """Train to the end, continuing an earlier training with the same settings and seed if there
        is one.

        Raises:
            KeyboardInterrupt: after a signal of `interrupt.SIGNALS`, once the current state is
                saved; the same run continues from it.
            TrainingError: if a loss or a value to be stored is not finite; what was stored before
                is kept.
        """
        path = self._path(name, settings, seed)
        was_there = self.recall(pretraining, name=name, settings=settings, seed=seed)
        if pretraining.done >= pretraining.total:
            if was_there:
                self._report(
                    f"{name}: learned from these images before, in {pretraining.total:,} "
                    f"steps ({path})"
                )
            return
        with stop_on_signal() as request:
            self._train(pretraining, name, path, request)
        if request.is_set:
            self._report(
                f"{name}: stopped after {pretraining.done:,} of {pretraining.total:,} steps; the "
                "same run goes on from there"
            )
            raise KeyboardInterrupt

    def recall(
        self,
        pretraining: Pretrainable,
        *,
        name: str,
        settings: Mapping[str, Settings],
        seed: int = 0,
    ) -> bool:
        """Restore the state of an earlier training with these settings and this seed on these
        images; returns whether there was one."""
        path = self._path(name, settings, seed)
        state = distributed.share(_read(path) if distributed.is_main() else None)
        if state is not None:
            pretraining.restore(state)
        return state is not None

    def _train(
        self, pretraining: Pretrainable, name: str, path: Path, request: StopRequest
    ) -> None:
        start, saved = pretraining.done, time.monotonic()
        clock = saved
        while pretraining.done < pretraining.total and not request.is_set:
            try:
                pretraining.train_step(self.dataset)
            except TrainingError as error:
                raise _stopped(name, pretraining, str(error)) from None
            if pretraining.done - start == 1:
                clock = time.monotonic()
            if pretraining.done - start == 1 + TIMED:
                self._report(
                    _estimate(name, pretraining, seconds=(time.monotonic() - clock) / TIMED)
                )
            if time.monotonic() - saved >= SAVE_SECONDS:
                _write(path, name, pretraining)
                saved = time.monotonic()
            if self._listener is not None:
                self._listener.count(
                    f"{name} learns the images", pretraining.done, pretraining.total
                )
        _write(path, name, pretraining)

    def _path(self, name: str, settings: Mapping[str, Settings], seed: int) -> Path:
        return self._cache / "learned" / f"{name}-{self._key(settings, seed)}.pt"

    def _key(self, settings: Mapping[str, Settings], seed: int) -> str:
        chosen = {name: part.model_dump(mode="json") for name, part in settings.items()}
        # What was learned before seeds had a part in the key was learned with seed 0.
        seeds = [seed] if seed else []
        text = json.dumps(
            [VERSION, self.dataset.content_fingerprint, self.dataset.size, chosen, *seeds],
            sort_keys=True,
        )
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def _report(self, line: str) -> None:
        if self._listener is not None and distributed.is_main():
            self._listener.report(line)


def lasting(seconds: float) -> str:
    """Duration in words, with a suitable unit.

    Example:
        >>> [lasting(seconds) for seconds in (12.3, 600, 86_400)]
        ['12 seconds', '10 minutes', '24 hours']
    """
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _estimate(name: str, pretraining: Pretrainable, *, seconds: float) -> str:
    time_left = lasting(seconds * (pretraining.total - pretraining.done))
    done = f" from move {pretraining.done - TIMED - 1:,}" if pretraining.done > TIMED + 1 else ""
    return (
        f"{name}: learns the images first{done}, {pretraining.total:,} steps, about {time_left} "
        "here; kept for later runs on these images"
    )


def _write(path: Path, name: str, pretraining: Pretrainable) -> None:
    state = pretraining.state()
    if lost := non_finite(state):
        raise _stopped(name, pretraining, f"{lost[0]} is not finite; lower its learning rate")
    if distributed.is_main():
        write_state(path, state)


def _stopped(name: str, pretraining: Pretrainable, why: str) -> TrainingError:
    return TrainingError(
        f"{name}: learning the images stopped at step {pretraining.done:,}: {why} (of "
        "this step nothing is stored)"
    )


def _read(path: Path) -> dict[str, Any] | None:
    """Stored state; None if there is none, or it is damaged or not finite: training then starts
    again."""
    try:
        state = read_state(path)
    except (FileNotFoundError, DamagedError):
        return None
    return state if isinstance(state, dict) and not non_finite(state) else None
