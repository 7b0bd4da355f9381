"""The loop: how it ends, what it leaves behind, and what it tells."""

import copy
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import games
from sparring.data.dataset import Dataset
from sparring.data.store import Quarantine
from sparring.errors import ConfigError, TrainingError
from sparring.methods.method import Context, MethodLoss
from sparring.models.view import View
from sparring.optim.schedule import Position
from sparring.training.build import build
from sparring.training.checkpoint import read_checkpoint
from sparring.training.interrupt import SIGNALS, StoppedAtOnce
from sparring.training.loop import Training
from sparring.training.metrics import read_metrics

Told = list[tuple[int, Mapping[str, float], str | None]]


def training(folder: Path, method: str = "mocov2", *, count: int = 64, **settings: Any) -> Training:
    """Four steps per epoch, three epochs, of a network that takes milliseconds."""
    return games.training(
        method,
        folder,
        count=count,
        **{"encoder": {"backbone": "resnet18", "width": 0.0625}, **settings},
    )


def listen(run: Training) -> Told:
    """What an observer is told."""
    told: Told = []

    def observe(position: Position, record: Mapping[str, float], warning: str | None) -> None:
        told.append((position.step, record, warning))

    run.observe = observe
    return told


def replace_quarantine(dataset: Dataset, quarantine: Quarantine) -> Dataset:
    """The data set, with images that are said to be left out."""
    found = copy.copy(dataset)
    found._quarantine = quarantine  # type: ignore[attr-defined]
    return found


def weights(run: Training) -> dict[str, Tensor]:
    return games.state(run.game.method)


def steps(run: Training) -> list[float]:
    return [record["step"] for record in read_metrics(run.folder.metrics)]


def test_a_run_makes_every_step_of_its_plan_and_leaves_its_files(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.run()
    assert run.step == run.num_steps == 12
    assert steps(run) == list(range(12))
    assert read_checkpoint(run.folder.checkpoint)["step"] == 12
    assert {run.folder.backbone.name, run.folder.quarantine.name} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_records_count_the_images_that_cannot_be_read(tmp_path: Path) -> None:
    run = training(tmp_path, training={"max_steps": 1})
    run.dataset = replace_quarantine(run.dataset, (("a.png", "empty file"),))
    run.run()
    assert read_metrics(run.folder.metrics)[0]["unreadable_images"] == 1


def test_a_trial_stops_early_with_the_schedules_of_the_whole_run(tmp_path: Path) -> None:
    whole, trial = (
        training(tmp_path / "whole"),
        training(tmp_path / "trial", training={"max_steps": 5}),
    )
    whole.run()
    trial.run()
    assert steps(trial) == list(range(5))
    rates = [
        [record["learning_rate"] for record in read_metrics(run.folder.metrics)]
        for run in (whole, trial)
    ]
    assert rates[1] == rates[0][:5]
    assert len(set(rates[1])) == 5


def test_records_are_made_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    run = training(tmp_path, training={"log_steps": 5, "monitor_epochs": 2})
    run.run()
    # Every fifth step from 0; the looks after two epochs of four steps and at the end.
    assert steps(run) == [0, 5, 7, 10, 11]
    assert [
        record["step"] for record in read_metrics(run.folder.metrics) if "alignment" in record
    ] == [7, 11]


def test_images_that_do_not_fill_a_batch_shorten_the_epoch(tmp_path: Path) -> None:
    assert training(tmp_path, count=70).num_steps == 12


def test_looking_at_the_encoder_does_not_change_the_training(tmp_path: Path) -> None:
    often, seldom = (
        training(tmp_path / "a", training={"monitor_epochs": 1}),
        training(tmp_path / "b", training={"monitor_epochs": 3}),
    )
    often.run()
    seldom.run()
    assert not games.changed(weights(often), weights(seldom))


def with_dropout(folder: Path, *, rate: float = 0.5) -> Training:
    """Training of a network that draws from PyTorch's global generator in every forward pass."""
    run = training(folder)
    torch.manual_seed(0)
    network = nn.Sequential(games.Plain(), nn.Dropout(rate))
    return Training(
        config=run.config,
        game=build(run.config, network),
        dataset=run.dataset,
        folder=run.folder,
    )


def test_the_global_generator_does_not_change_the_training(tmp_path: Path) -> None:
    first, second, without = (
        with_dropout(tmp_path / name, rate=rate)
        for name, rate in (("a", 0.5), ("b", 0.5), ("c", 0.0))
    )
    torch.manual_seed(1)
    first.run()
    torch.manual_seed(2)
    second.run()
    without.run()
    assert not games.changed(weights(first), weights(second))
    assert games.changed(weights(first), weights(without))  # there is something to draw


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_lets_the_step_end_and_saves_it(number: signal.Signals, tmp_path: Path) -> None:
    run = training(tmp_path / "parts")

    def interrupt(position: Position, record: Mapping[str, float], warning: str | None) -> None:
        if position.step == 4:
            signal.raise_signal(number)

    run.observe = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.step == 5
    assert read_checkpoint(run.folder.checkpoint)["step"] == 5
    assert not run.folder.backbone.exists()  # a finished run has one
    resumed, whole = training(tmp_path / "parts"), training(tmp_path / "whole")
    resumed.restore()
    assert resumed.step == 5
    resumed.run()
    whole.run()
    assert not games.changed(weights(resumed), weights(whole))
    assert steps(resumed) == list(range(12))


def poisoned(run: Training, *, at: int, what: str) -> None:
    """Make a loss of the method infinite at a step."""
    healthy = run.game.method.loss

    def poison(views: Sequence[View], context: Context) -> MethodLoss:
        found = healthy(views, context)
        if context.position.step != at:
            return found
        if what == "loss":
            return replace(found, loss=found.loss * torch.inf)
        return replace(found, outputs={**found.outputs, what: found.outputs[what] * torch.nan})

    run.game.method.loss = poison  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("method", "what", "player"), [("mocov2", "loss", "encoder"), ("adco", "bank_loss", "bank")]
)
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    method: str, what: str, player: str, tmp_path: Path
) -> None:
    run = training(tmp_path, method, training={"checkpoint_minutes": 0})
    poisoned(run, at=5, what=what)
    sentence = (
        f"{method} stopped at step 5: player '{player}': its loss is not finite.*the checkpoint "
        "of step 5 is kept"
    )
    with pytest.raises(TrainingError, match=sentence):
        run.run()
    assert steps(run) == [0, 1, 2, 3, 4]
    restored, healthy = (
        training(tmp_path, method),
        training(tmp_path / "healthy", method, training={"max_steps": 5}),
    )
    restored.restore()
    healthy.run()
    assert restored.step == 5
    assert not games.changed(weights(restored), weights(healthy))


def test_without_a_checkpoint_the_message_says_so(tmp_path: Path) -> None:
    run = training(tmp_path)
    poisoned(run, at=0, what="loss")
    with pytest.raises(TrainingError, match=r"stopped at step 0: .*there is no checkpoint yet"):
        run.run()
    assert not run.folder.checkpoint.exists()


def test_checkpoints_come_after_their_time_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(tmp_path, training={"checkpoint_minutes": 5})
    saved: list[int] = []
    monkeypatch.setattr(
        "sparring.training.loop.time", SimpleNamespace(monotonic=lambda: 60.0 * run.step)
    )  # a step takes a minute
    monkeypatch.setattr(
        "sparring.training.loop.save_checkpoint",
        lambda path, game, *, step, **_: saved.append(step),
    )
    run.run()
    assert saved == [5, 10, 12]


def test_the_observer_hears_every_record_and_of_a_collapse(tmp_path: Path) -> None:
    run = training(tmp_path, "simclr", players={"encoder": {"learning_rate": 1e-12}})
    with torch.no_grad():
        run.game.encoder.projector.get_parameter("3.weight").zero_()
        run.game.encoder.projector.get_parameter("3.bias").fill_(1.0)
    told = listen(run)
    run.run()
    assert [step for step, _, _ in told] == list(range(12))
    warnings = [
        step
        for step, record, warning in told
        if warning is not None and "collapsed" in warning and "embedding_std" in record
    ]
    assert warnings == [3, 7, 11]  # a look after every epoch
    assert all("loss" in record for _, record, _ in told)


def test_a_preset_with_too_many_views_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"views\.preset=multi-crop-adco gives 6 views; mocov2 needs 2"
    ):
        training(tmp_path, views={"preset": "multi-crop-adco"})


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.run()
    before, again = weights(run), training(tmp_path)
    again.restore()
    again.run()
    assert not games.changed(before, weights(again))
    assert steps(again) == list(range(12))


@pytest.mark.parametrize(("minutes", "num_lost"), [(5.0, 4), (0.0, 0)])
def test_a_second_signal_stops_at_once_and_counts_the_steps_that_are_lost(
    minutes: float, num_lost: int, tmp_path: Path
) -> None:
    run = training(tmp_path, training={"checkpoint_minutes": minutes})

    def interrupt(position: Position, record: Mapping[str, float], warning: str | None) -> None:
        if position.step == 4:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGUSR1)

    run.observe = interrupt
    with pytest.raises(StoppedAtOnce) as caught:
        run.run()
    assert caught.value.num_lost == num_lost
    assert run.folder.checkpoint.exists() == (num_lost == 0)
