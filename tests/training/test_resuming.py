"""Resuming: the same images and settings or one line, and a line where bits may differ."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import games
import sparring
import tiny
from sparring.contract import toy
from sparring.errors import CheckpointError, ConfigError, DataError, RunError, UsageError
from sparring.training.checkpoint import read_checkpoint, write_state
from sparring.training.encoders import load_encoders
from sparring.training.metrics import read_metrics
from sparring.training.resuming import require_same
from sparring.training.run_folder import RunFolder
from told import Told

FEW: dict[str, Any] = {
    "encoder": {"width": 0.0625},
    "projector": {"dim": 8, "hidden": 8},
    "training": {"monitor_images": 8, "log_steps": 1},
}


@dataclass(frozen=True)
class Stopped:
    """A run stopped after two of six steps, and its images."""

    folder: RunFolder
    images: Path

    def resume(self, **more: Any) -> list[str]:
        """Resume to the end; the lines of which the first words are not those of every run."""
        told = Told()
        sparring.resume(self.folder.path, listener=told, **more)
        return [line for line in told.lines if "images of 16 x 16 px" not in line]

    def edit(self, old: str, new: str) -> None:
        text = self.folder.config.read_text()
        assert text.count(old) == 1, text
        self.folder.config.write_text(text.replace(old, new))

    def weights(self) -> dict[str, torch.Tensor]:
        return safetensors.torch.load_file(self.folder.backbone)


def train(data: Any, out: Path, **more: Any) -> None:
    given = {"method": "simclr", "epochs": 3, "batch_size": 16, "image_size": 16, "settings": FEW}
    sparring.train(data, out=out, progress=False, **{**given, **more})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a run that was stopped, and one that never was."""
    folder = tmp_path_factory.mktemp("template")
    images = tiny.write_photos(folder / "images", per_class=16)
    train(images, folder / "run", max_steps=2)
    train(images, folder / "whole")
    return folder


@pytest.fixture
def stopped(template: Path, tmp_path: Path) -> Stopped:
    """A copy of the stopped run, whose images lie beside it."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    run = Stopped(RunFolder(tmp_path / "run"), tmp_path / "images")
    run.edit(str(template / "images"), str(run.images))
    return run


def whole(stopped: Stopped) -> dict[str, torch.Tensor]:
    """Weights of the run that was never stopped."""
    path = stopped.images.with_name("whole") / "backbone.safetensors"
    return safetensors.torch.load_file(path)


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def add(images: Path) -> None:
    for number in range(16):
        noise = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(images / "red" / f"new{number}.png")


def remove(images: Path) -> None:
    (images / "red" / "000.png").unlink(missing_ok=True)
    next((images / "red").iterdir()).unlink()


def replace_one(images: Path) -> None:
    Image.new("RGB", (16, 16), "green").save(next((images / "blue").iterdir()))


def rename(images: Path) -> None:
    path = next((images / "blue").iterdir())
    path.rename(path.with_name(f"zz{path.name}"))


def test_the_same_images_copied_elsewhere_are_resumed_without_a_word(stopped: Stopped) -> None:
    for path in stopped.images.rglob("*.png"):
        os.utime(path, (1, 1))
    assert stopped.resume() == []
    assert equal(stopped.weights(), whole(stopped))


@pytest.mark.parametrize("store", ["memory", "device", "always"])
def test_decoded_images_may_lie_elsewhere_when_a_run_goes_on(
    stopped: Stopped, store: str, tmp_path: Path
) -> None:
    out, settings = tmp_path / "other", {**FEW, "data": {"store": "disk"}}
    train(stopped.images, out, max_steps=2, settings=settings)
    other = Stopped(RunFolder(out), stopped.images)
    other.edit('store = "disk"', f'store = "{store}"')
    assert other.resume() == []
    assert equal(other.weights(), whole(stopped))


def test_images_decoded_at_every_use_are_another_experiment(stopped: Stopped) -> None:
    stopped.edit('store = "auto"', 'store = "never"')
    with pytest.raises(RunError, match=r"data\.store auto before and never now"):
        stopped.resume()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add, "images 32 before and 48 now"),
        (remove, "images 32 before and 31 now"),
        (replace_one, "images 32 before and 32 others now"),
        (rename, "images 32 before and 32 others now"),
    ],
)
def test_other_images_are_refused_in_one_line_and_nothing_is_changed(
    stopped: Stopped, change: Callable[[Path], None], words: str
) -> None:
    before = tiny.contents(stopped.folder.path)
    change(stopped.images)
    with pytest.raises(RunError, match=f"{words}.*--changed-on-purpose images") as caught:
        stopped.resume()
    assert "\n" not in str(caught.value)
    assert tiny.contents(stopped.folder.path) == before


def test_images_changed_on_purpose_are_told_recorded_and_followed(stopped: Stopped) -> None:
    add(stopped.images)
    lines = stopped.resume(changed_on_purpose="images", max_steps=4)
    assert lines == ["changed on purpose at step 2: images 32 before and 48 now"]
    saved = json.loads(stopped.folder.environment.read_text())
    assert saved["images"] == 48
    assert saved["changes"] == ["step 2: images 32 before and 48 now"]
    assert stopped.resume() == []  # the checkpoint knows them by now
    records = read_metrics(stopped.folder.metrics)
    assert [record["step"] for record in records] == list(range(9))  # three epochs of 48 images
    assert [record["epoch"] for record in records[2:]] == pytest.approx(
        [(step + 1) / 3 for step in range(2, 9)], abs=1e-3
    )
    assert json.loads(stopped.folder.environment.read_text())["changes"] == saved["changes"]


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("batch_size = 16", "batch_size = 8", "training.batch_size 16 before and 8 now"),
        ("seed = 0", "seed = 1", "seed 0 before and 1 now"),
        ("epochs = 3", "epochs = 5", "training.epochs 3 before and 5 now"),
        ("learning_rate = 0.06", "learning_rate = 0.6", "players.encoder.learning_rate 0.06"),
        ("temperature = 0.2", "temperature = 0.1", "temperature 0.2 before and 0.1 now"),
    ],
)
def test_settings_of_the_experiment_are_refused_until_they_are_meant(
    stopped: Stopped, old: str, new: str, name: str
) -> None:
    stopped.edit(old, new)
    option = name.split()[0]
    with pytest.raises(RunError, match=f"{name}.*--changed-on-purpose {option}"):
        stopped.resume()
    (line,) = stopped.resume(changed_on_purpose=[option])
    assert line.startswith(f"changed on purpose at step 2: {name}")
    assert not equal(stopped.weights(), whole(stopped))


def test_several_changes_are_named_in_one_line(stopped: Stopped) -> None:
    stopped.edit("batch_size = 16", "batch_size = 8")
    add(stopped.images)
    with pytest.raises(RunError, match=r"--changed-on-purpose training\.batch_size,images"):
        stopped.resume()
    with pytest.raises(RunError, match="--changed-on-purpose images"):
        stopped.resume(changed_on_purpose=["training.batch_size"])
    assert len(stopped.resume(changed_on_purpose="training.batch_size, images")) == 1


def test_what_is_no_part_of_the_experiment_is_free(stopped: Stopped) -> None:
    stopped.edit("log_steps = 1", "log_steps = 2")
    stopped.edit("checkpoint_minutes = 5.0", "checkpoint_minutes = 0.0")
    stopped.edit("monitor_images = 8", "monitor_images = 16")
    stopped.edit("workers = 0", "workers = 1")
    stopped.edit('device = "auto"', 'device = "cpu"')
    assert stopped.resume() == []
    assert equal(stopped.weights(), whole(stopped))


def test_a_setting_that_the_checkpoint_cannot_take_over_is_refused_also_on_purpose(
    stopped: Stopped,
) -> None:
    stopped.edit("mean = [0.485", "mean = [0.5")
    for on_purpose in ("", "encoder.mean"):
        with pytest.raises(CheckpointError, match=r"encoder\.mean was .* put it back"):
            stopped.resume(changed_on_purpose=on_purpose)


def test_optimiser_settings_changed_on_purpose_hold_and_keep_its_momentum(
    stopped: Stopped,
) -> None:
    stopped.edit("weight_decay = 0.0005", "weight_decay = 0.5")
    stopped.resume(changed_on_purpose="players.encoder.weight_decay", max_steps=3)
    state = read_checkpoint(stopped.folder.checkpoint)["players"]["encoder"]
    assert {group["weight_decay"] for group in state["param_groups"]} == {0.5}
    assert state["state"]


def test_untrained_stays_the_start_when_the_seed_is_changed_on_purpose(stopped: Stopped) -> None:
    def untrained() -> dict[str, torch.Tensor]:
        return games.state(load_encoders(stopped.folder)[1].backbone)

    before = untrained()
    stopped.edit("seed = 0", "seed = 1")
    stopped.resume(changed_on_purpose="seed")
    assert stopped.folder.read_config().seed == 1
    assert not games.changed(before, untrained())


def test_an_unknown_name_is_answered_with_the_nearest(stopped: Stopped) -> None:
    with pytest.raises(ConfigError, match=r"'batchsize'; did you mean 'training\.batch_size'"):
        stopped.resume(changed_on_purpose="batchsize")
    assert stopped.resume(changed_on_purpose="training.batch_size") == []  # known, and as it was


def test_images_that_have_moved_are_found_with_data(stopped: Stopped) -> None:
    moved = stopped.images.with_name("moved")
    stopped.images.rename(moved)
    with pytest.raises(DataError, match=r"are not at .*images any more; .*--data PATH"):
        stopped.resume()
    assert stopped.resume(data=moved, max_steps=3) == []
    assert stopped.folder.read_config().data.path == str(moved)
    assert stopped.resume() == []
    assert equal(stopped.weights(), whole(stopped))


def test_other_images_at_another_place_are_refused(stopped: Stopped) -> None:
    other = tiny.write_photos(stopped.images.with_name("other"), per_class=8)
    before = tiny.contents(stopped.folder.path)
    with pytest.raises(RunError, match="images 32 before and 16 now"):
        stopped.resume(data=other)
    assert tiny.contents(stopped.folder.path) == before


def test_images_in_memory_are_compared_too(tmp_path: Path) -> None:
    images = toy.images()
    train(images, tmp_path / "run", max_steps=1)
    with pytest.raises(UsageError, match="images 64 before and 64 others now"):
        sparring.resume(tmp_path / "run", data=toy.images(seed=1), progress=False)
    sparring.resume(tmp_path / "run", data=images.copy(), max_steps=2, progress=False)


@pytest.mark.parametrize("name", ["threads", "processor", "torch", "device", "processes"])
def test_another_machine_is_told_in_one_line(stopped: Stopped, name: str) -> None:
    content = read_checkpoint(stopped.folder.checkpoint)
    now = content["conditions"][name]
    conditions = {**content["conditions"], name: "another"}
    write_state(stopped.folder.checkpoint, {**content, "conditions": conditions})
    (line,) = stopped.resume()
    assert line.startswith("this run goes on, but not to the bit as if it had never stopped: ")
    assert line.endswith(f"{name} another before and {now} now")


def test_settings_that_change_rounding_are_told(stopped: Stopped) -> None:
    stopped.edit("channels_last = true", "channels_last = false")
    (line,) = stopped.resume()
    assert "not to the bit" in line
    assert "training.channels_last True before and False now" in line


def test_a_run_from_before_says_what_was_not_checked(stopped: Stopped) -> None:
    content = read_checkpoint(stopped.folder.checkpoint)
    del content["conditions"]
    write_state(stopped.folder.checkpoint, content)
    saved = json.loads(stopped.folder.environment.read_text())
    for name in ("images", "content", "processor"):
        del saved[name]
    stopped.folder.environment.write_text(json.dumps(saved))
    (line,) = stopped.resume()
    assert line.endswith(
        "does not say with which images, processor it was trained, so whether they are the same "
        "was not checked"
    )
    assert equal(stopped.weights(), whole(stopped))


@pytest.mark.slow
def test_the_command_takes_moved_images_and_changes(
    command: tiny.Command, stopped: Stopped
) -> None:
    moved = stopped.images.with_name("moved")
    stopped.images.rename(moved)
    done = command("resume", stopped.folder.path)
    assert done.code == 2
    assert "any more; say where they are: --data PATH" in done.error
    add(moved)
    done = command("resume", stopped.folder.path, "--data", moved)
    assert done.code == 2
    assert "--changed-on-purpose images" in done.error
    arguments = ["--data", moved, "--changed-on-purpose", "images,seed", "--max-steps", "3"]
    done = command("resume", stopped.folder.path, *arguments)
    assert done.code == 0, done.err
    assert "changed on purpose at step 2: images 32 before and 48 now" in done.err


@pytest.mark.parametrize(
    ("device", "is_asked", "is_told"),
    [("Some GPU", False, True), ("Some GPU", True, False), ("cpu", False, False)],
)
def test_a_run_that_goes_on_within_rounding_only_says_so(
    device: str, is_asked: bool, is_told: bool, stopped: Stopped
) -> None:
    config = stopped.folder.read_config().changed(training={"deterministic": is_asked})
    stored = read_checkpoint(stopped.folder.checkpoint)["conditions"]
    lines: list[str] = []
    require_same(
        stopped.folder, config, {**stored, "device": device}, on_purpose=(), report=lines.append
    )
    assert any(f"on {device} this run goes on within rounding" in line for line in lines) == is_told
