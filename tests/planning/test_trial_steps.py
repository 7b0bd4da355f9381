"""A few real steps of tiny runs, run in this process."""

from pathlib import Path
from typing import Any, Literal

import pytest

from sparring.config import merged
from sparring.negatives.bank import Bank
from sparring.planning.live_tensors import LiveTensorBytes
from sparring.planning.measurement import Measurement, MeasurementRequest
from sparring.planning.memory_readers import TensorMemory
from sparring.planning.trial_steps import run_trial_steps, step_window
from sparring.training.configure import configure
from tiny import PIXELS

SETTINGS = {
    "encoder": {"width": 0.0625},
    "training": {"image_size": PIXELS, "batch_size": 8, "epochs": 3, "monitor_images": 16},
}


class FakeMemory:
    """Memory reader whose peak grows with every read."""

    def __init__(self) -> None:
        self.reads = 0

    def now(self) -> int:
        return 0

    def peak(self) -> int:
        self.reads += 1
        return self.reads

    def restart(self) -> None: ...


def request_for(
    photos: Path,
    folder: Path,
    method: str = "simclr",
    *,
    count: Literal["memory", "tensors"] = "memory",
    **changed: Any,
) -> MeasurementRequest:
    tree = configure(str(photos), method=method, settings=merged(SETTINGS, changed)).tree()
    return MeasurementRequest(
        tree=tree,
        data=str(photos),
        backbone=None,
        batch_size=8,
        steps=5,
        count=count,
        folder=str(folder / "run"),
    )


def run_steps(
    request: MeasurementRequest, memory: Any = None
) -> tuple[Measurement, list[tuple[str, int, int]]]:
    told: list[tuple[str, int, int]] = []
    return run_trial_steps(request, lambda *part: told.append(part), memory or FakeMemory()), told


def test_window_is_early_in_the_last_epoch_or_as_late_as_it_can_be() -> None:
    assert step_window(100, 50, 8) == (50, 58)
    assert step_window(60, 50, 20) == (40, 60)
    assert step_window(3, 50, 8) == (0, 3)
    assert step_window(20, 2, 8) == (12, 20)


def test_steps_are_timed_without_the_warm_up_and_reported(photos: Path, tmp_path: Path) -> None:
    found, told = run_steps(request_for(photos, tmp_path))
    assert len(found.seconds) == len(found.cpu_seconds) == 5 - 2 - 1
    assert [part for part in told if part[0] == "steps"] == [
        ("steps", number, 5) for number in range(1, 6)
    ]
    assert found.bytes_of_steps == 5, "read before the last step, which has a monitor pass"
    assert found.bytes_of_all == 7
    assert found.gradient_bytes == found.optimizer_bytes < found.weight_bytes


def test_a_run_of_one_step_is_measured_by_it(photos: Path, tmp_path: Path) -> None:
    found, told = run_steps(
        request_for(photos, tmp_path, training={"batch_size": 64, "epochs": 1, "max_steps": 1})
    )
    assert len(found.seconds) == 1
    assert told == [("steps", 1, 1)]


@pytest.mark.parametrize("queue_epochs", [0.0, 5.0])
def test_bank_is_as_full_as_it_would_be_and_learns_when_the_run_lets_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue_epochs: float
) -> None:
    fullness: list[bool] = []
    watched = Bank.dynamics

    def dynamics(bank: Bank, before: Any) -> Any:
        fullness.append(bank.is_full)
        return watched(bank, before)

    monkeypatch.setattr(Bank, "dynamics", dynamics)
    run_steps(
        request_for(photos, tmp_path, "adco", bank={"size": 100}, queue_epochs=queue_epochs)
    )  # full after 13 of 24 steps
    assert fullness == ([True] * 5 if not queue_epochs else [])


def test_tensors_of_a_step_hold_weights_state_and_more(photos: Path, tmp_path: Path) -> None:
    request, live = request_for(photos, tmp_path, count="tensors"), LiveTensorBytes()
    with live:
        found, _ = run_steps(request, TensorMemory(live))
    standing = found.weight_bytes + found.optimizer_bytes + found.gradient_bytes
    assert found.bytes_of_steps > standing
    assert found.bytes_at_rest >= found.weight_bytes + found.optimizer_bytes
    again = LiveTensorBytes()
    with again:
        same, _ = run_steps(
            request_for(photos, tmp_path / "again", count="tensors"), TensorMemory(again)
        )
    assert same.bytes_of_steps == found.bytes_of_steps


def test_opponent_pretraining_is_timed_by_a_few_steps_and_not_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    steps: list[int] = []
    from sparring.opponents.generator_pair.pretraining import Pretraining

    original = Pretraining.train_step

    def noted_step(pretraining: Pretraining, images: Any) -> None:
        steps.append(pretraining.done)
        original(pretraining, images)

    monkeypatch.setattr(Pretraining, "train_step", noted_step)
    small = {
        "generator": {"latent": 4, "width": 4},
        "pretraining": {"steps": 1000, "batch_size": 4, "discriminator_steps": 1},
    }
    tree = configure(
        str(photos),
        method="simclr",
        opponent="generator-pair",
        settings=merged(SETTINGS, {"generator_pair": small}),
    ).tree()
    found, _ = run_steps(
        MeasurementRequest(
            tree=tree,
            data=str(photos),
            backbone=None,
            batch_size=8,
            steps=2,
            count="memory",
            folder=str(tmp_path / "run"),
        )
    )
    assert steps == [0, 1, 2, 3]
    assert found.opponent_pretraining_seconds > 0
    assert not (tmp_path / "cache" / "learned").exists()
