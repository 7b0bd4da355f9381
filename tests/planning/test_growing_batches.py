"""Batches grow as far as time and memory allow."""

from collections.abc import Callable
from typing import Any

import pytest
from example_measurements import MIB, measurement_with

from sparring.errors import ConfigError
from sparring.planning import growing_batches
from sparring.planning.growing_batches import STEPS, measure_growing
from sparring.planning.measurement import Measurement, MeasurementRequest
from sparring.planning.memory_readers import MemoryReader

GIB = 2**30


class FakeSteps:
    """Replaces clock and steps: a step takes `fixed` and `per_image` seconds."""

    def __init__(self, fixed: float, per_image: float) -> None:
        self.now, self.fixed, self.per_image = 1000.0, fixed, per_image
        self.requests: list[MeasurementRequest] = []

    def time(self) -> float:
        return self.now

    def __call__(
        self, request: MeasurementRequest, on_progress: Callable[..., None], memory: MemoryReader
    ) -> Measurement:
        self.requests.append(request)
        seconds = self.fixed + self.per_image * request.batch_size
        self.now += STEPS * seconds
        on_progress("steps", STEPS, STEPS)
        taken = (300 + 10 * request.batch_size) * MIB
        return measurement_with(
            batch_size=request.batch_size, seconds=[seconds], bytes_of_all=taken, free_bytes=None
        )


def grown(
    monkeypatch: pytest.MonkeyPatch, steps: FakeSteps, *, batch: int, room: int = 64 * GIB
) -> tuple[list[int], list[tuple[str, int, int]]]:
    """Batches measured in 20 seconds, and what was told."""
    monkeypatch.setattr(growing_batches, "run_trial_steps", steps)
    monkeypatch.setattr(growing_batches, "time", steps)
    monkeypatch.setattr(growing_batches, "available_bytes", lambda: room)
    request = MeasurementRequest(
        tree={},
        data="photos",
        backbone=None,
        batch_size=batch,
        steps=0,
        count="memory",
        folder="run",
        deadline=steps.now + 20,
        whole_images=1000,
    )
    told: list[tuple[str, int, int]] = []
    found = measure_growing(request, lambda *part: told.append(part), None)  # type: ignore[arg-type]
    return [part.batch_size for part in found], told


def test_fast_steps_reach_the_planned_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    batches, told = grown(monkeypatch, FakeSteps(0.001, 0.001), batch=200)
    assert batches == [2, 200]
    assert told[-1] == ("steps of 200 images", STEPS, STEPS)


def test_slow_steps_stop_before_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = FakeSteps(0.2, 0.1)
    start = steps.now
    batches, _ = grown(monkeypatch, steps, batch=256)
    assert 2 < batches[-1] < 256
    assert batches == sorted(set(batches))
    assert steps.now - start <= 20


def test_very_slow_steps_give_one_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    assert grown(monkeypatch, FakeSteps(30.0, 0.1), batch=256)[0] == [2]


def test_a_process_that_starts_late_still_has_some_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = FakeSteps(0.001, 0.001)
    steps.now -= 20  # the deadline is now
    monkeypatch.setattr(steps, "time", lambda: steps.now + 20)
    assert grown(monkeypatch, steps, batch=200)[0] == [2, 200]


def test_memory_stops_the_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    batches, _ = grown(monkeypatch, FakeSteps(0.001, 0.001), batch=256, room=1000 * MIB)
    assert batches[-1] < 256
    assert 300 + 10 * batches[-1] <= 1000


def test_a_method_that_needs_more_images_is_measured_from_the_least_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mining(FakeSteps):
        def __call__(self, request: MeasurementRequest, *told: Any) -> Measurement:
            if request.batch_size < self.least:
                raise ConfigError("choose a larger training.batch_size")
            return super().__call__(request, *told)

        least = 3

    steps = Mining(0.001, 0.001)
    assert grown(monkeypatch, steps, batch=64)[0] == [4, 64]
    steps.least = 65
    with pytest.raises(ConfigError, match="larger"):
        grown(monkeypatch, steps, batch=64)


def test_only_the_first_batch_times_the_opponents_pretraining(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = FakeSteps(0.001, 0.001)
    grown(monkeypatch, steps, batch=64)
    assert [request.pretraining_steps for request in steps.requests] == [1, 0]
    assert len({request.folder for request in steps.requests}) == 2
