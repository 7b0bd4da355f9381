"""Profile of a run's steps: where their time goes, as a table and as a trace."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from torch.profiler import ProfilerActivity, profile, record_function, schedule

from sparring import distributed
from sparring.errors import ConfigError
from sparring.files import not_written
from sparring.step_parts import PREFIX, named_parts
from sparring.training.loop import Training
from sparring.training.step_profile import StepProfile

_Batch = TypeVar("_Batch")

WARM_UP = 10
"""Steps before the profiled ones: compilation, caches and the profiler's own start."""
MOST_STEPS = 100
"""Limit of the profiled steps; a step adds up to 400 kB to the trace."""


@contextmanager
def profiled(
    training: Training, steps: int | None, *, report: Callable[[str], None]
) -> Iterator[None]:
    """Profile steps of the training that runs inside this context; the run goes on as without.

    Args:
        training: training before its run.
        steps: number of steps after `WARM_UP`, or None, which profiles nothing.
        report: receives the table, line by line, after the last of these steps.

    Raises:
        ConfigError: if the run has fewer steps, or the number is out of range.
    """
    if steps is None:
        yield
        return
    left = training.last_step - training.step
    if not 1 <= steps <= MOST_STEPS:
        raise ConfigError(f"profile must be from 1 to {MOST_STEPS} steps, got {steps}")
    if steps + WARM_UP > left:
        raise ConfigError(
            f"profile={steps} needs {steps + WARM_UP} steps, {WARM_UP} of them to warm up, and "
            f"this run makes {left}; choose fewer, or a longer run"
        )
    if not distributed.is_main():
        yield
        return
    profiler = _Profiler(training, steps, report)
    training.follow = profiler.follow
    try:
        yield
    finally:
        profiler.stop()


class _Profiler:
    """Records a trace of some steps while they are made."""

    def __init__(self, training: Training, steps: int, report: Callable[[str], None]) -> None:
        self._training, self._steps, self._report = training, steps, report
        self._first = training.step + WARM_UP
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes to standard error otherwise
        has_cuda = training.game.device.type == "cuda"
        self._profile = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if has_cuda else [])],
            schedule=schedule(wait=WARM_UP - 1, warmup=1, active=steps, repeat=1),
            on_trace_ready=self._show,
            acc_events=True,
        )
        self._names = named_parts()
        self._is_running, self._has_step = False, False

    def follow(self, batches: Iterator[_Batch]) -> Iterator[_Batch]:
        """Pass the batches on; a step lasts from the moment at which it asks for its batch to the
        next."""
        try:
            while True:
                self._next_step()
                waiting = record_function(PREFIX + "waiting") if self._is_running else nullcontext()
                with waiting:
                    batch = next(batches, None)
                if batch is None:
                    return
                self._has_step = True
                yield batch
        except GeneratorExit:
            self.stop()  # the run has ended
            raise

    def stop(self) -> None:
        """End the recording, if it still runs."""
        if self._is_running:
            self._is_running = False
            self._profile.stop()
            self._names.__exit__(None, None, None)

    def _next_step(self) -> None:
        if self._has_step:
            self._has_step = False
            if self._is_running:
                self._profile.step()
            if self._training.step >= self._first + self._steps:
                self.stop()
        elif self._training.step < self._first and not self._is_running:
            self._is_running = True
            self._names.__enter__()
            self._profile.start()

    def _show(self, recorded: Any) -> None:
        """Write trace and table, and report the table."""
        folder = self._training.folder
        try:
            recorded.export_chrome_trace(str(folder.trace))
        except (OSError, RuntimeError) as error:
            reason = error if isinstance(error, OSError) else OSError(str(error))
            raise not_written(folder.trace, reason) from None
        found = StepProfile.from_trace(json.loads(gzip.decompress(folder.trace.read_bytes())))
        lines = found.lines(batch=self._training.config.training.batch_size)
        for line in lines:
            self._report(line)
        rates = "their records have lower images_per_second; nothing else of the run differs"
        self._report(f"{rates}; trace for ui.perfetto.dev or chrome://tracing: {folder.trace}")
