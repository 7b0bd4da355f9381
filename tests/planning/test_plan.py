"""`sparring.plan` and its command: valid arguments, refused ones, and real measuring processes."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_measurements import MIB, measurement_with
from torch import nn

import sparring
from sparring.errors import ConfigError
from sparring.planning import method_planner
from sparring.planning import plan as planning
from sparring.planning.measurement import Measurement, MeasurementRequest
from sparring.planning.resource_plan import CONTEXT_BYTES
from tiny import ARGUMENTS, NUM_STEPS, Command, contents, tiny_images

SETTINGS = {
    "encoder": {"width": 0.0625},
    "projector": {"dim": 16},
    "training": {"monitor_images": 16},
}
SETS = [
    "--set",
    "encoder.width=0.0625",
    "--set",
    "projector.dim=16",
    "--set",
    "training.monitor_images=16",
]


class FakeLauncher:
    """Replaces the measuring process: memory and time grow with the batch."""

    def __init__(self, **changed: Any) -> None:
        self.requests: list[MeasurementRequest] = []
        self._changed = changed

    def __call__(
        self, request: MeasurementRequest, listener: object, *, title: str
    ) -> list[Measurement]:
        self.requests.append(request)
        taken = (300 + 10 * request.batch_size) * MIB
        found = {
            "seconds": [request.batch_size / 8],
            "bytes_of_steps": taken,
            "bytes_of_all": taken,
            "bytes_at_rest": 0,
            **self._changed,
        }
        return [measurement_with(batch_size=request.batch_size, **found)]


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> FakeLauncher:
    monkeypatch.setattr(planning, "available_bytes", lambda: 4096 * MIB)
    found = FakeLauncher()
    monkeypatch.setattr(method_planner, "measure_in_subprocess", found)
    return found


def test_a_plan_has_the_steps_of_the_run_and_predicts_its_batch(
    launcher: FakeLauncher, photos: Path
) -> None:
    plan = sparring.plan(photos, method="simclr", epochs=2, batch_size=16, exact=True)
    assert (plan.images, plan.steps_per_epoch, plan.num_steps) == (64, NUM_STEPS // 2, NUM_STEPS)
    assert [request.batch_size for request in launcher.requests] == [4, 16]
    (row,) = plan.rows
    assert row.peak_bytes == 460 * MIB
    assert row.largest_batch == plan.images
    assert row.duration is not None
    assert row.duration.step == 2.0
    assert (
        sparring.plan(photos, method="simclr", epochs=2, batch_size=16, max_steps=3).num_steps == 3
    )


def test_each_method_is_one_row_named_with_its_opponents(
    launcher: FakeLauncher, photos: Path
) -> None:
    plan = sparring.plan(
        photos, method=["simclr,simclr+perturbation", "clae", "byol", "simclr"], batch_size=16
    )
    assert [row.name for row in plan.rows] == [
        "simclr",
        "simclr+perturbation",
        "simclr+perturbation",
        "byol",
    ]
    plan = sparring.plan(photos, method="uel", opponent="perturbation", batch_size=16)
    assert [row.name for row in plan.rows] == ["uel+perturbation"]
    assert [row.name for row in sparring.plan(photos, recipe="byol-small", batch_size=16).rows] == [
        "byol"
    ]
    assert [row.name for row in sparring.plan(photos, batch_size=16).rows] == ["adco"]


def test_a_batch_that_may_not_fit_is_not_tried(
    launcher: FakeLauncher, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "available_bytes", lambda: 650 * MIB)
    plan = sparring.plan(photos, method="simclr", batch_size=64, exact=True)
    assert [request.batch_size for request in launcher.requests] == [16, 32]
    (row,) = plan.rows
    assert row.peak_bytes == 940 * MIB
    assert row.largest_batch == 26
    assert not plan.fits(row)
    assert row.duration is not None
    assert row.duration.step == 8.0, "of a step of 32 images, doubled"
    launcher.requests.clear()
    monkeypatch.setattr(planning, "available_bytes", lambda: 400 * MIB)
    sparring.plan(photos, method="simclr", batch_size=64, exact=True)
    assert [request.batch_size for request in launcher.requests] == [16, 8]


def test_a_present_device_reports_its_free_memory(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method_planner, "measure_in_subprocess", FakeLauncher(free_bytes=700 * MIB))
    plan = sparring.plan(photos, method="simclr", batch_size=16, exact=True)
    assert (plan.room_bytes, plan.rows[0].largest_batch) == (700 * MIB, 30)


def test_an_absent_device_is_estimated_from_small_batches(
    launcher: FakeLauncher, photos: Path
) -> None:
    plan = sparring.plan(photos, method="simclr", batch_size=64, gpu_memory=1.5)
    assert plan.is_estimate
    assert [(request.batch_size, request.count) for request in launcher.requests] == [
        (8, "tensors"),
        (16, "tensors"),
    ]
    assert launcher.requests[0].tree["training"]["precision"] == plan.precision == "bfloat16"
    (row,) = plan.rows
    assert row.duration is None
    assert row.peak_bytes == 940 * MIB + CONTEXT_BYTES
    assert row.largest_batch == 43
    kept = sparring.plan(
        photos, method="simclr", batch_size=64, gpu_memory=2, device="cuda:7", precision="float32"
    )
    assert kept.precision == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "simclr,adoc"), "unknown method 'adoc'; did you mean 'adco'?"),
        (
            ("--method", "simclr+pertubation"),
            "unknown opponent 'pertubation'; did you mean 'perturbation'?",
        ),
        (("--method", ""), "unknown method ''"),
        (("--recipe", "adco-smal"), "unknown recipe 'adco-smal'; did you mean 'adco-small'?"),
        (("--set", "bank.siz=3"), "unknown setting 'bank.siz'; did you mean 'bank.size'?"),
        (("--batch-size", "65"), "batch_size 65 is larger than the data set of 64 images"),
        (("--device", "banana"), "training.device=banana cannot be used here"),
        (
            ("--gpu-memory", "-3"),
            "gpu_memory must be positive, got -3; give the device's memory in GiB, for example 24",
        ),
        (("--gpu-memory", "nan"), "gpu_memory must be positive, got nan"),
        (("--timed-steps", "0"), "Invalid value for '--timed-steps'"),
        (("--out", "run"), "No such option: --out"),
    ],
)
def test_wrong_argument_is_one_line(
    command: Command, photos: Path, arguments: tuple[str, str], message: str
) -> None:
    done = command("plan", "--data", photos, *arguments)
    assert done.code == 2
    assert message in done.error
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_missing_data_is_one_line(command: Command, tmp_path: Path) -> None:
    assert "no such file or folder" in command("plan", "--data", tmp_path / "nowhere").error


def test_several_processes_are_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        sparring.plan(photos)


def test_network_that_cannot_be_pickled_is_refused(photos: Path) -> None:
    class Local(nn.Module):
        """Defined inside this function, so it cannot be pickled."""

    with pytest.raises(
        ConfigError, match=r"cannot be handed to another process: .*; define it in a module"
    ):
        sparring.plan(photos, method="simclr", batch_size=16, backbone=Local(), image_size=16)


@pytest.mark.slow
def test_command_measures_a_tiny_run_and_leaves_nothing_behind(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(photos)
    for name in ("work", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    done = command(
        "plan",
        "--data",
        photos,
        "--method",
        "simclr",
        *ARGUMENTS,
        *SETS,
        "--exact",
        "--timed-steps",
        "2",
        "--json",
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["num_steps"] == NUM_STEPS
    (row,) = found["rows"]
    assert row["fits"]
    assert row["measured_batches"] == [4, 16]
    # A process with PyTorch loaded, and little more.
    assert 100 * MIB < row["peak_bytes"] < 2000 * MIB
    assert row["duration"]["whole"] > NUM_STEPS * row["duration"]["step"] > 0
    assert contents(photos) == before
    assert not list((tmp_path / "work").iterdir())
    assert not list((tmp_path / "temporary").iterdir())
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"stores"}


@pytest.mark.slow
def test_command_is_rough_unless_asked_and_keeps_no_store(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    done = command("plan", "--data", photos, "--method", "mocov2", *ARGUMENTS, *SETS[:4], "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["is_rough"]
    assert (found["images"], found["num_steps"]) == (64, NUM_STEPS)
    (row,) = found["rows"]
    assert row["measured_batches"][0] == 2
    low, high = row["step_range"]
    assert 0 < low <= row["duration"]["step"] <= high
    assert 100 * MIB < row["peak_bytes"] < 2000 * MIB
    assert not (tmp_path / "cache").exists()


def test_a_plan_without_a_batch_size_takes_one_that_the_images_fill(
    launcher: FakeLauncher, photos: Path
) -> None:
    assert sparring.plan(photos, method="simclr", exact=True).batch_size == 64


@pytest.mark.slow
def test_images_in_memory_are_counted_for_an_absent_device() -> None:
    images, _ = tiny_images(32)
    plan = sparring.plan(
        np.asarray(images),
        method="simclr",
        settings=SETTINGS,
        batch_size=8,
        image_size=16,
        gpu_memory=1,
    )
    (row,) = plan.rows
    assert row.peak_bytes > CONTEXT_BYTES + row.weight_bytes + row.optimizer_bytes
    assert plan.cache


@pytest.mark.slow
def test_command_reports_the_error_of_the_measuring_process(command: Command, photos: Path) -> None:
    wrong = ("--set", "players.encoder.learning_rate=1e30", "--timed-steps", "4")
    done = command("plan", "--data", photos, "--method", "simclr", *ARGUMENTS, *SETS, *wrong)
    assert done.code == 1
    assert "simclr stopped at step" in done.error
    assert done.out == ""
