"""Steps of growing batches until the time is up: the rough plan's measurements, in one process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from sparring.errors import ConfigError
from sparring.machine_memory import available_bytes
from sparring.planning.extrapolation import step_range
from sparring.planning.measurement import Measurement, MeasurementRequest
from sparring.planning.memory_readers import MemoryReader
from sparring.planning.prediction import upper_bound_bytes
from sparring.planning.trial_steps import run_trial_steps

FIRST_BATCH = 2
STEPS = 3
"""Steps of each batch: one that is not timed, a timed one, and one that ends with the monitor."""
FAST_STEPS = 12
"""Steps of a batch whose steps are so fast that these take an eighth of the time left: on a device
a single step says little."""
LEAST_SECONDS = 10.0
"""Seconds to measure in, however late the process has started on a busy machine."""
CAUTION = 1.3
"""Factor on the time that a larger batch is expected to take."""


def measure_growing(
    request: MeasurementRequest, on_progress: Callable[[str, int, int], None], memory: MemoryReader
) -> list[Measurement]:
    """Measurements of batches that grow up to the requested one, or until the deadline.

    Args:
        request: the steps to run; its deadline is in seconds of `time.time`. The first batch is
            measured however long it takes.
        on_progress: called with what is counted, the number done and the total.
        memory: reader of the memory to measure.
    """
    assert request.deadline is not None
    deadline = max(request.deadline, time.time() + LEAST_SECONDS)
    found: list[Measurement] = []
    batch, steps = min(FIRST_BATCH, request.batch_size), STEPS
    while batch:
        start = time.time()
        part = replace(
            request,
            batch_size=batch,
            steps=steps,
            folder=f"{request.folder}-{batch}",
            monitor_images=max(8, batch),
            pretraining_steps=0 if found else 1,
        )
        try:
            found.append(run_trial_steps(part, partial(_forward, on_progress, batch), memory))
        except ConfigError:
            if batch == request.batch_size:
                raise
            batch = min(2 * batch, request.batch_size)  # some methods need more images to mine in
            continue
        around = max(0.0, time.time() - start - steps * median(found[-1].seconds))
        left = (deadline - time.time()) / CAUTION - around
        batch = _next_batch(found, request.batch_size, seconds=left / STEPS)
        is_fast = batch and 8 * FAST_STEPS * step_range(found, batch)[1] <= left
        steps = FAST_STEPS if is_fast else STEPS
    return found


def _next_batch(found: Sequence[Measurement], planned: int, *, seconds: float) -> int:
    """The largest batch, a power of two times the last or the planned one, that memory and this
    time of a step allow; 0 if none is larger than the last."""
    last = found[-1]
    room = last.free_bytes if last.free_bytes is not None else available_bytes()
    powers: list[int] = [last.batch_size << power for power in range(1, 12)]
    for batch in sorted({planned, *(size for size in powers if size < planned)}, reverse=True):
        low, high = step_range(found, batch)
        is_affordable = (low * high) ** 0.5 <= seconds and upper_bound_bytes(last, batch) <= room
        if batch > last.batch_size and is_affordable:
            return batch
    return 0


def _forward(
    on_progress: Callable[[str, int, int], None], batch: int, what: str, done: int, total: int
) -> None:
    on_progress(f"{what} of {batch} images" if what == "steps" else what, done, total)
