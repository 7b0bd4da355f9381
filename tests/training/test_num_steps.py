"""Runs whose length is given in steps: schedules end there, and whole epochs are as before."""

from pathlib import Path
from typing import Any

import pytest
import torch

import games
from sparring.api.training import resume
from sparring.contract.toy import images
from sparring.optim.schedule import Position, warmup_and_fraction
from sparring.planning.prediction import num_steps
from sparring.reporting.summary import read_run
from sparring.training.loop import Training
from sparring.training.metrics import read_metrics
from sparring.training.settings import TrainingSettings

STEPS_PER_EPOCH = 4


def training(folder: Path, method: str = "mocov2", **length: Any) -> Training:
    """A run of 4 steps an epoch, a record at each."""
    return games.training(method, folder, training={"log_steps": 1, **length})


def trained(folder: Path, method: str = "mocov2", **length: Any) -> Training:
    """The same run at its end."""
    run = training(folder, method, **length)
    run.run()
    return run


def record(run: Training) -> list[dict[str, float]]:
    """Records without what tells the time."""
    timed = ("seconds", "images_per_second")
    return [
        {name: value for name, value in one.items() if name not in timed}
        for one in read_metrics(run.folder.metrics)
    ]


@pytest.mark.parametrize("method", ["mocov2", "adco"])
def test_as_many_steps_as_the_epochs_have_give_the_same_bits(method: str, tmp_path: Path) -> None:
    epochs = trained(tmp_path / "epochs", method, epochs=3)
    steps = trained(tmp_path / "steps", method, epochs=7, num_steps=3 * STEPS_PER_EPOCH)
    first, second = games.state(epochs.game.method), games.state(steps.game.method)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert record(epochs) == record(steps)


def test_a_run_ends_within_an_epoch_and_its_schedule_with_it(tmp_path: Path) -> None:
    run = trained(tmp_path, num_steps=10)
    assert run.step == run.num_steps == 10
    rates = [one["learning_rate"] for one in record(run)]
    whole = [one["learning_rate"] for one in record(trained(tmp_path / "w", epochs=3))]
    assert len(rates) == 10
    assert rates[-1] < whole[9]


def test_a_schedule_by_epochs_is_not_over_before_the_incomplete_last_epoch() -> None:
    position = Position(step=9, num_steps=10, steps_per_epoch=STEPS_PER_EPOCH)
    _, fraction = warmup_and_fraction(position, per_epoch=True, warmup_epochs=0.0)
    assert fraction == pytest.approx(2 / 3)


def test_a_run_stopped_within_its_last_epoch_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", num_steps=10)
    trained(tmp_path / "parts", num_steps=10, max_steps=9)
    resume(tmp_path / "parts", data=images(64), max_steps=None, progress=False)
    again = training(tmp_path / "parts", num_steps=10)
    again.restore()
    assert again.step == 10
    first, second = games.state(whole.game.method), games.state(again.game.method)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_looks_and_plans_follow_the_steps(tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=3, num_steps=410)
    assert settings.total_steps(STEPS_PER_EPOCH) == 410
    assert settings.total_epochs(STEPS_PER_EPOCH) == 103
    assert settings.look_epochs(STEPS_PER_EPOCH) == 10
    config = training(tmp_path, num_steps=410).config
    assert num_steps(config, STEPS_PER_EPOCH) == 410
    assert num_steps(config.changed(training={"max_steps": 5}), STEPS_PER_EPOCH) == 5


def test_a_report_shows_the_steps_as_the_plan(tmp_path: Path) -> None:
    run = trained(tmp_path, num_steps=10, max_steps=6)
    summary = read_run(run.folder.path)
    assert summary.planned_steps == 10
