"""Runs on images that are read in order: resumed to the bit, scored, planned, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import sparring
from hub_sets import write_parquet, write_tars
from sparring.errors import ConfigError, DataError, RunError, UsageError
from sparring.opponents.perturbation import Perturbation
from sparring.training.metrics import read_metrics
from sparring.training.run_folder import RunFolder
from told import Told

SETTINGS: dict[str, Any] = {
    "encoder": {"width": 0.0625},
    "projector": {"dim": 8, "hidden": 8},
    "training": {"monitor_images": 8, "log_steps": 1},
}


def train(data: Any, out: Path, listener: Told | None = None, **given: Any) -> list[str]:
    """Train on 24 streamed images, and give the lines told."""
    told = listener or Told()
    streamed = {"streaming": True, "num_images": 24, "shuffle_buffer": 8}
    settings = {**SETTINGS, "data": {**streamed, **given.pop("data_settings", {})}}
    arguments = {"method": "simclr", "epochs": 2, "batch_size": 8, "image_size": 16}
    sparring.train(data, out=out, listener=told, settings=settings, **{**arguments, **given})
    return told.lines


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(RunFolder(folder).backbone)


@pytest.fixture
def pattern(tmp_path: Path) -> str:
    return write_tars(tmp_path / "tars", (10, 14))


def test_a_run_stopped_in_mid_epoch_goes_on_to_the_bit(pattern: str, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    train(pattern, whole)
    train(pattern, parted, max_steps=4)
    told = Told()
    sparring.resume(parted, listener=told, max_steps=6)
    assert any("the first 8 images of epoch 1 are read again" in line for line in told.lines)
    one, other = weights(whole), weights(parted)
    assert all(one[name].equal(other[name]) for name in one)
    losses = [
        [each["loss"] for each in read_metrics(RunFolder(f).metrics)] for f in (whole, parted)
    ]
    assert losses[0] == losses[1]


def test_what_was_found_about_a_stream_is_stored_with_the_run(
    tmp_path: Path, hub_cache: Path
) -> None:
    folder = write_parquet(tmp_path / "set", {"train": (10, 14), "test": (2,)})
    train(f"hf:{folder}", tmp_path / "run")
    config = RunFolder(tmp_path / "run").read_config()
    assert config.data.path == f"hf:{folder}"
    assert (config.data.streaming, config.data.num_images) == (True, 24)
    with pytest.raises(RunError, match=r"data\.shuffle_buffer 8 before and 9 now"):
        train(
            f"hf:{folder}",
            tmp_path / "run",
            resume_if_exists=True,
            data_settings={"shuffle_buffer": 9},
        )


def test_other_shards_are_other_images(pattern: str, tmp_path: Path) -> None:
    train(pattern, tmp_path / "run", max_steps=2)
    write_tars(tmp_path / "tars", (14, 10))
    with pytest.raises(RunError, match="images 24 before and 24 others now"):
        sparring.resume(tmp_path / "run", progress=False)


def test_shards_that_have_moved_go_on(pattern: str, tmp_path: Path) -> None:
    train(pattern, tmp_path / "run", max_steps=2)
    (tmp_path / "tars").rename(tmp_path / "moved")
    moved = pattern.replace("/tars/", "/moved/")
    sparring.resume(tmp_path / "run", data=moved, progress=False)


def test_the_monitor_knows_the_first_images(pattern: str, tmp_path: Path) -> None:
    train(pattern, tmp_path / "run")
    last = read_metrics(RunFolder(tmp_path / "run").metrics)[-1]
    assert {"effective_rank", "knn_accuracy"} <= last.keys()


def test_unreadable_images_are_listed(tmp_path: Path) -> None:
    train(write_tars(tmp_path / "tars", (24,), damaged=(3, 7)), tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert read_metrics(folder.metrics)[-1]["unreadable_images"] == 2
    assert "000.tar/000003" in (folder.path / "quarantine.txt").read_text()


@pytest.mark.slow
def test_scores_use_the_first_images_or_images_with_random_access(
    pattern: str, tmp_path: Path
) -> None:
    train(pattern, tmp_path / "run")
    with pytest.raises(DataError, match="give a set with random access by --train-data PATH, or"):
        sparring.evaluate(tmp_path / "run", protocols="geometry", progress=False)
    found = sparring.evaluate(tmp_path / "run", protocols="knn", limit=20, progress=False)
    assert found["trained"]["knn"]["train_images"] == 16
    page = sparring.report(tmp_path / "run", out=tmp_path / "page.html", progress=False)
    assert page.stat().st_size > 10_000


def test_a_command_is_not_started_by_a_run_folder(pattern: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    command = f"pipe:touch {ran}; cat {pattern}"
    train(command, tmp_path / "run", max_steps=4)
    ran.unlink()
    refused = "a run folder starts none: give it again"
    for call in (
        lambda: sparring.resume(tmp_path / "run", progress=False),
        lambda: sparring.evaluate(tmp_path / "run", limit=20, progress=False),
    ):
        with pytest.raises(DataError, match=refused):
            call()
    sparring.report(tmp_path / "run", out=tmp_path / "page.html", progress=False)
    assert not ran.exists()
    sparring.resume(tmp_path / "run", data=command, progress=False)
    assert ran.exists()


def test_a_recipe_starts_no_command(tmp_path: Path, pattern: str) -> None:
    ran, recipe = tmp_path / "ran", tmp_path / "recipe.toml"
    recipe.write_text(f'[data]\npath = "pipe:touch {ran}"\nstreaming = true\nnum_images = 24\n')
    train(pattern, tmp_path / "run", recipe=recipe)
    assert not ran.exists()


def test_methods_that_know_images_by_number_train_on_a_stream(pattern: str, tmp_path: Path) -> None:
    train(pattern, tmp_path / "run", method="acssl", batch_size=8)
    last = read_metrics(RunFolder(tmp_path / "run").metrics)[-1]
    assert not any(name.endswith("/false_negatives") for name in last)


def test_opponents_that_need_the_set_are_refused_before_the_start(
    pattern: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="needs images by their number; give a set with random"):
        train(pattern, tmp_path / "run", opponent="generator-pair", batch_size=8)
    assert not (tmp_path / "run" / "config.toml").exists()
    train(pattern, tmp_path / "run", opponent="perturbation", max_steps=1)


def test_opponents_that_need_whole_images_get_squares(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Perturbation, "needs_images", True)
    given: dict[str, Any] = {"opponent": "perturbation", "max_steps": 1}
    with pytest.raises(ConfigError, match=r"set data\.stored_size=16, of which views"):
        train(pattern, tmp_path / "crops", data_settings={"store": "never"}, **given)
    squares = {"store": "never", "stored_size": 16}
    train(pattern, tmp_path / "squares", data_settings=squares, **given)


@pytest.mark.slow
def test_a_stream_is_planned_and_looked_at(pattern: str, tmp_path: Path) -> None:
    settings = {**SETTINGS, "data": {"streaming": True, "num_images": 1000}}
    found = sparring.plan(
        pattern,
        method="simclr",
        settings=settings,
        batch_size=8,
        image_size=16,
        epochs=3,
    )
    assert (found.images, found.num_steps) == (1000, 375)
    looked_at = sparring.inspect_data(
        pattern, settings={"streaming": True}, limit=10, progress=False
    )
    assert any("10 images" in json.dumps(vars(each), default=str) for each in looked_at)


def test_a_length_must_be_known(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--set data\.num_images=N, or use the first ones"):
        train(pattern, tmp_path / "run", data_settings={"num_images": None})
    lines = train(pattern, tmp_path / "run", data_settings={"num_images": None, "limit": 16})
    assert any("16 images an epoch, in 1 shard" in line for line in lines)
