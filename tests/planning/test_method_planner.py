"""The images of a run count where they lie: on the device, in memory, or mapped from a file."""

from typing import Any

import pytest
import torch
from example_measurements import MIB, measurement_with

import games
from sparring.planning import method_planner as module
from sparring.planning.measurement import Measurement, MeasurementRequest
from sparring.planning.method_planner import MethodPlanner
from sparring.planning.planned_images import PlannedImages

SAMPLE, WHOLE, FREE = 1 * MIB, 100 * MIB, 410 * MIB


def bytes_of_images(store: str, *, is_mapped: bool = True, **measured: Any) -> tuple[int, int]:
    """What a planner adds for the images to its measurements of a sample."""
    images = PlannedImages(
        count=100,
        data=None,
        sampled=1,
        kept_bytes=SAMPLE,
        store_bytes=WHOLE,
        is_mapped=is_mapped,
    )
    planner = MethodPlanner(games.config("simclr", data={"store": store}), images, None, 0, None)
    return planner._bytes_of_images(measurement_with(**measured))


def test_a_process_maps_its_images_or_holds_them() -> None:
    assert bytes_of_images("auto") == (-SAMPLE, WHOLE)
    assert bytes_of_images("memory", is_mapped=False) == (WHOLE - SAMPLE, 0)


@pytest.mark.parametrize("store", ["auto", "device"])
def test_a_device_holds_the_images_that_the_run_moves_there(store: str) -> None:
    found = bytes_of_images(store, free_bytes=FREE, resident_bytes=SAMPLE)
    assert found == (WHOLE - SAMPLE, 0)


def test_images_that_stream_take_nothing_of_a_device() -> None:
    assert bytes_of_images("disk", free_bytes=FREE) == (0, 0)
    # Of the sample a quarter of the memory is enough, of all images it is not.
    large = {"free_bytes": FREE - 4 * MIB, "resident_bytes": SAMPLE}
    assert bytes_of_images("auto", **large) == (-SAMPLE, 0)


def test_a_plan_knows_whether_its_run_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    images = PlannedImages(count=5000, data=None, sampled=1)

    def planner(**training: Any) -> MethodPlanner:
        config = games.config("simclr", training={"batch_size": 8, **training})
        return MethodPlanner(config, images, None, 0, None)

    assert planner().compiled == "off"  # on a CPU
    assert planner(compile="reduce-overhead").compiled == "reduce-overhead"
    monkeypatch.setattr(module, "choose_device", lambda name: torch.device("cuda"))
    assert planner(epochs=100).compiled == "on"
    assert planner(epochs=1).compiled == "off"


def test_rough_steps_run_uncompiled_and_exact_ones_as_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def measure(request: MeasurementRequest, *_: Any, **__: Any) -> list[Measurement]:
        asked.append(request.tree["training"]["compile"])
        return [measurement_with(batch_size=request.batch_size)]

    monkeypatch.setattr(module, "measure_in_subprocess", measure)
    config = games.config("simclr", training={"compile": "on"})
    images = PlannedImages(count=64, data=None, sampled=64)
    planner = MethodPlanner(config, images, None, 2**40, None)
    planner.rough(0.0)
    planner.predicted(1)
    assert asked == ["off", "on", "on"]
