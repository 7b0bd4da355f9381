"""Pretraining inside an evaluation: as `train` does it, made once, continued where it stopped,
refused where it does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import state_digest

import games
from sparring import api, distributed
from sparring.config import merged
from sparring.contract import toy
from sparring.data.dataset import Dataset
from sparring.data.sources.dataset_subset import dataset_subset
from sparring.errors import CheckpointError, ConfigError, RunError
from sparring.evaluation.data import EvaluationData
from sparring.evaluation.pretraining_again.pretraining import (
    pretrained,
    require_batches,
    run_config,
)
from sparring.models.backbones import make_backbone
from sparring.training.feed import FedStep
from sparring.training.given_network import keep_start
from sparring.training.loop import Training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig
from told import Told

PLACE = "domains/without-photo"
METHOD = {key: toy.BASE[key] for key in ("projector", "encoder", "players")}


def evaluation_data(
    folder: Path | None, *, recorder: Told | None = None, **settings: Any
) -> EvaluationData:
    config = games.config("simclr", training={"epochs": 2}, **settings)
    return EvaluationData(
        None, image_size=toy.SIZE, config=config, folder=folder, listener=recorder
    )


def images(count: int = 48) -> Dataset:
    return dataset_subset(toy.dataset(), np.arange(count))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every step that is made."""
    made: list[int] = []
    step = Training._run_step

    def counted(self: Training, fed: FedStep) -> Any:
        made.append(self.step)
        return step(self, fed)

    monkeypatch.setattr(Training, "_run_step", counted)
    return made


def test_the_encoder_is_the_one_that_train_gives(tmp_path: Path) -> None:
    work = evaluation_data(tmp_path / "run")
    found = pretrained(images(), PLACE, config=run_config(work), data=work)
    run = api.train(
        toy.images()[:48],
        out=tmp_path / "other",
        method="simclr",
        settings=METHOD,
        epochs=2,
        batch_size=16,
        image_size=16,
        monitor_images=32,
        device="cpu",
    )
    assert state_digest(found.trained.backbone) == state_digest(run.encoder.backbone)
    assert state_digest(found.trained.backbone) == state_digest(
        api.load(tmp_path / "run" / PLACE).backbone
    )
    assert state_digest(found.untrained) != state_digest(found.trained)
    assert not found.trained.training
    assert not any(parameter.requires_grad for parameter in found.trained.parameters())


def test_a_finished_pretraining_is_taken_over(tmp_path: Path, steps: list[int]) -> None:
    work = evaluation_data(tmp_path)
    first = pretrained(images(), PLACE, config=run_config(work), data=work)
    assert steps == list(range(6))
    again = pretrained(images(), PLACE, config=run_config(work), data=work)
    assert steps == list(range(6))
    assert state_digest(first.trained) == state_digest(again.trained)
    assert state_digest(first.untrained) == state_digest(again.untrained)


def test_a_pretraining_that_another_evaluation_finished_meanwhile_is_not_made_again(
    tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, lock = evaluation_data(tmp_path), RunFolder._lock

    def lock_late(folder: RunFolder) -> int:
        monkeypatch.setattr(RunFolder, "_lock", lock)
        pretrained(images(), PLACE, config=run_config(work), data=work)
        return lock(folder)

    monkeypatch.setattr(RunFolder, "_lock", lock_late)
    pretrained(images(), PLACE, config=run_config(work), data=work)
    assert steps == list(range(6))


def test_an_interrupted_pretraining_goes_on_to_the_same_bits(
    tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = evaluation_data(tmp_path / "whole")
    whole = pretrained(images(), PLACE, config=run_config(work), data=work)
    steps.clear()
    work = evaluation_data(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        counted = Training._run_step

        def stopping(self: Training, fed: FedStep) -> Any:
            if self.step == 3:
                self._save()  # as the signal's handler lets the loop do after the step before
                raise KeyboardInterrupt
            return counted(self, fed)

        patch.setattr(Training, "_run_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            pretrained(images(), PLACE, config=run_config(work), data=work)
    assert steps == [0, 1, 2]
    found = pretrained(images(), PLACE, config=run_config(work), data=work)
    assert steps == [0, 1, 2, 3, 4, 5]
    assert state_digest(found.trained) == state_digest(whole.trained)


def test_a_pretraining_that_was_killed_before_its_first_checkpoint_begins_again(
    tmp_path: Path, steps: list[int]
) -> None:
    work = evaluation_data(tmp_path)
    pretrained(images(), PLACE, config=run_config(work), data=work)
    (tmp_path / PLACE / "checkpoint" / "last.pt").unlink()
    pretrained(images(), PLACE, config=run_config(work), data=work)
    assert steps == [*range(6), *range(6)]


def test_another_configuration_is_refused_by_its_first_difference(
    tmp_path: Path, steps: list[int]
) -> None:
    work = evaluation_data(tmp_path)
    pretrained(images(), PLACE, config=run_config(work), data=work)
    with pytest.raises(
        RunError,
        match=r"without-photo holds a pretraining with training.epochs=2, and now 3 is asked for",
    ) as caught:
        pretrained(images(), PLACE, config=run_config(work, epochs=3), data=work)
    assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match="with seed=0, and now 1"):
        pretrained(images(), PLACE, config=run_config(work, seed=1), data=work)
    other = RunConfig.from_tree(merged(run_config(work).tree(), {"temperature": 0.5}))
    with pytest.raises(RunError, match="temperature"):
        pretrained(images(), PLACE, config=other, data=work)
    assert len(steps) == 6


def test_other_images_are_refused(tmp_path: Path) -> None:
    work = evaluation_data(tmp_path)
    pretrained(images(48), PLACE, config=run_config(work), data=work)
    with pytest.raises(RunError, match="without-photo holds a pretraining on other images"):
        pretrained(
            dataset_subset(toy.dataset(), np.arange(16, 64)),
            PLACE,
            config=run_config(work),
            data=work,
        )


def test_where_the_images_were_and_how_many_were_read_does_not_matter(
    tmp_path: Path, steps: list[int]
) -> None:
    for data in ({"path": "/some/where", "limit": 100}, {"path": "", "limit": None}):
        work = evaluation_data(tmp_path, data=data)
        pretrained(images(), PLACE, config=run_config(work), data=work)
    assert len(steps) == 6


def test_the_games_of_opponents_are_played_too(tmp_path: Path) -> None:
    work = evaluation_data(tmp_path, opponent=["perturbation"])
    assert run_config(work).opponent == ("perturbation",)
    found = pretrained(images(), PLACE, config=run_config(work), data=work)
    plain = evaluation_data(tmp_path / "plain")
    assert state_digest(found.untrained.backbone) == state_digest(
        pretrained(images(), PLACE, config=run_config(plain), data=plain).untrained.backbone
    )
    assert torch.isfinite(found.trained.features(torch.rand(2, 3, 16, 16))).all()


def test_who_listens_is_told_where_it_is(tmp_path: Path) -> None:
    recorder = Told()
    work = evaluation_data(tmp_path, recorder=recorder)
    pretrained(images(), PLACE, config=run_config(work), data=work)
    assert recorder.lines[0] == "domains/without-photo: pretraining on 48 images, 6 steps"
    assert recorder.counts[-1] == ("domains/without-photo: pretraining", 6, 6)
    told = len(recorder.lines)
    pretrained(images(), PLACE, config=run_config(work), data=work)
    assert len(recorder.lines) == told


def test_without_a_folder_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    work = evaluation_data(None)
    pretrained(images(), PLACE, config=run_config(work), data=work)
    assert len(steps) == 6
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_pretrained_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = evaluation_data(tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"photo held out: 15 images are fewer than the run's batch of 16; leave it out",
    ):
        require_batches(15, run_config(work), "photo held out")
    require_batches(16, run_config(work), "photo held out")
    with pytest.raises(ConfigError, match="give it a run"):
        run_config(EvaluationData(None, image_size=16))
    own = evaluation_data(tmp_path, encoder={"backbone": "custom:Mine", "width": 1.0})
    with pytest.raises(
        ConfigError,
        match=(
            "custom:Mine: evaluations that pretrain again need a backbone that can be made by name"
        ),
    ):
        pretrained(images(), PLACE, config=run_config(own), data=own)
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    with pytest.raises(ConfigError, match="take a single process, got 2; start without torchrun"):
        pretrained(images(), PLACE, config=run_config(work), data=work)
    assert not list(tmp_path.iterdir())


def test_a_pretraining_again_starts_from_the_weights_of_the_run(tmp_path: Path) -> None:
    """The file of weights may be gone by then."""
    data = evaluation_data(tmp_path)
    config = run_config(data)
    size, channels = toy.SIZE, config.data.channels
    network = make_backbone(config.encoder, image_size=size, channels=channels)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    keep_start(network, RunFolder(tmp_path), name=config.encoder.backbone)
    config = config.changed(encoder={"weights": "/gone.pth", "weights_sha256": "abc"})
    found = pretrained(images(), PLACE, config=config, data=data)
    expected = network.network.state_dict()
    for name, tensor in found.untrained.backbone.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    RunFolder(tmp_path).initial.unlink()
    with pytest.raises(CheckpointError, match="does not keep the weights from which it started"):
        pretrained(images(), "domains/other", config=config, data=data)
