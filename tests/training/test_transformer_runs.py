"""Runs with vision transformers: what they store, smaller crops, older runs, and large images."""

from pathlib import Path
from typing import Any

import pytest
import torch

import games
import sparring
from sparring.config import Tree, merged
from sparring.training.encoders import load_encoders
from sparring.training.metrics import read_metrics
from sparring.training.run_folder import RunFolder

SMALL: Tree = {
    "encoder": {"backbone": "vit_tiny_patch16_224", "width": 0.125, "depth": 1},
    "projector": {"kind": "simsiam", "dim": 8, "hidden": 8},
    "predictor": {"kind": "normed-output", "hidden": 8},
    "training": {"image_size": 16, "batch_size": 8, "device": "cpu", "monitor_images": 16},
}
"""A transformer of one block with tokens of 24 numbers."""


def trained(out: Path, method: str = "mocov3", **settings: Any) -> RunFolder:
    training = {"epochs": 2, "max_steps": 3, "log_steps": 1}
    given = {
        key: value
        for key, value in merged(SMALL, {"training": training}, settings).items()
        if value is not None
    }
    sparring.train(games.images(16), out=out, method=method, settings=given, progress=False)
    return RunFolder(out)


def losses(folder: RunFolder) -> list[object]:
    return [record["loss"] for record in read_metrics(folder.path / "metrics.jsonl")]


def test_the_size_of_patches_is_stored_and_rebuilds_the_encoder(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", encoder={"frozen_patch_projection": True})
    assert folder.read_config().encoder.patch_size == 2
    encoder, untrained = (each.backbone.network for each in load_encoders(folder))
    before, after = untrained.state_dict(), encoder.state_dict()
    kept = {name for name in after if torch.equal(before[name], after[name])}
    assert kept >= {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert "pos_embed" not in kept


def test_a_run_of_an_older_version_goes_on_with_the_patches_of_the_name(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", encoder={"patch_size": 0})
    text = folder.config.read_text()
    assert "patch_size = 0\n" in text
    folder.config.write_text(text.replace("patch_size = 0\n", ""))
    assert folder.read_config().encoder.patch_size == 0
    sparring.resume(folder.path, data=games.images(16), progress=False)
    assert len(losses(folder)) == 4
    found = sparring.embed(folder.path, games.images(4), progress=False)
    assert len(found.features) == 4


def test_crops_of_several_sizes_go_through_one_transformer(tmp_path: Path) -> None:
    folder = trained(
        tmp_path / "run",
        method="adco",
        form="multi-crop",
        views={"preset": "multi-crop-adco"},
        bank={"size": 16},
        predictor=None,
        encoder={"patch_size": 8},  # the usual sizes of crops are multiples of 4
        training={"image_size": 32},
    )
    assert all(torch.isfinite(torch.tensor(loss)) for loss in losses(folder))


@pytest.mark.slow
def test_a_run_on_large_images_goes_on_to_the_bit(tmp_path: Path) -> None:
    large = {"image_size": 224}
    whole = trained(tmp_path / "whole", training=large | {"max_steps": None})
    parted = trained(tmp_path / "parted", training=large)
    assert parted.read_config().encoder.patch_size == 0
    sparring.resume(parted.path, data=games.images(16), progress=False)
    assert losses(whole) == losses(parted)
