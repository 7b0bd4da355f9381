"""Runs on tar shards: resumed in mid-epoch to the bit, from anywhere, and equal to other forms."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from shard_files import write_shard

import sparring
import tiny
from sparring.errors import DataError, RunError
from sparring.training.metrics import read_metrics
from told import Told

SETTINGS: dict[str, Any] = {
    "encoder": {"width": 0.0625},
    "projector": {"dim": 8, "hidden": 8},
    "training": {"monitor_images": 8, "log_steps": 1},
}


def write(folder: Path, photos: Path, *, shards: int = 3) -> Path:
    """Shards of a folder of classes, in its order."""
    paths = sorted(photos.rglob("*.png"))
    classes = sorted({path.parent.name for path in paths})
    for shard in range(shards):
        samples = [
            (
                f"{path.parent.name}/{path.stem}",
                {"cls": b"%d" % classes.index(path.parent.name), "png": path.read_bytes()},
            )
            for path in paths[shard * len(paths) // shards : (shard + 1) * len(paths) // shards]
        ]
        write_shard(folder / f"{shard}.tar", samples)
    return folder


def train(data: Path | str, out: Path, **more: Any) -> Path:
    given = {"method": "simclr", "epochs": 2, "batch_size": 16, "image_size": 16}
    sparring.train(data, out=out, progress=False, settings=SETTINGS, **{**given, **more})
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "backbone.safetensors")


def equal(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    return write(folder / "shards", tiny.write_photos(folder / "photos", per_class=32))


@pytest.mark.parametrize("store", ["never", "disk"])
def test_a_run_on_a_pattern_is_resumed_in_mid_epoch_to_the_bit(
    store: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shards)
    monkeypatch.setitem(SETTINGS, "data", {"store": store})
    whole = train("*.tar", tmp_path / "whole")
    part = train("*.tar", tmp_path / "part", max_steps=3)
    monkeypatch.chdir(tmp_path)
    sparring.resume(part, progress=False)
    assert equal(whole, part)
    records = read_metrics(part / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(8))
    assert "knn_accuracy" in records[-1]


def test_the_same_images_as_files_and_as_shards_train_to_the_same_bits(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "data", {"store": "never"})
    by_files = train(shards.parent / "photos", tmp_path / "files")
    by_shards = train(f"{shards}/0.tar::{shards}/[12].tar", tmp_path / "shards")
    assert equal(by_files, by_shards)


def test_moved_shards_are_the_same_run_and_changed_ones_are_not(
    shards: Path, tmp_path: Path
) -> None:
    photos = shards.parent / "photos"
    here = write(tmp_path / "here", photos)
    run = train(f"{here}/*.tar", tmp_path / "run", max_steps=2)
    here.rename(tmp_path / "there")
    with pytest.raises(DataError, match="no file fits"):
        sparring.resume(run, progress=False)
    told = Told()
    sparring.resume(run, data=tmp_path / "there", max_steps=3, listener=told)
    assert not any("changed" in line for line in told.lines)
    write(tmp_path / "there", photos, shards=2)
    (tmp_path / "there" / "2.tar").unlink()
    with pytest.raises(RunError, match="would go on as another experiment: images"):
        sparring.resume(run, data=tmp_path / "there", progress=False)


def test_scores_match_classes_by_the_numbers_of_shards(shards: Path, tmp_path: Path) -> None:
    run = train(shards, tmp_path / "run")
    found = sparring.evaluate(run, protocols=("knn",), progress=False)
    assert found["trained"]["knn"]["accuracy"] > 0.5
