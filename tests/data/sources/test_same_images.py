"""The same images give the same results in whatever form they are handed over."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sparring
from ranks import on_ranks
from same_images import CLASSES, FORMS, PACKAGES, write_folder
from sparring import distributed
from sparring.data.sources.source import open_source

SETTINGS: dict[str, Any] = {
    "encoder": {"width": 0.0625},
    "projector": {"dim": 16},
    "bank": {"size": 32},
    "training": {"image_size": 24, "batch_size": 8, "epochs": 1, "monitor_images": 8},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("same") / "photos")


@pytest.fixture(scope="module")
def folder_run(
    images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[sparring.Run, np.ndarray]]:
    """A short run on the folder, and its embeddings."""
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARRING_CACHE", str(out / "cache"))
        run = sparring.train(images, out=out / "run", settings=SETTINGS, progress=False)
        yield run, sparring.embed(run, images, progress=False).features


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    return name


def test_embeddings_and_classes_are_those_of_the_folder(
    form: str, folder_run: tuple[sparring.Run, np.ndarray], images: Path, tmp_path: Path
) -> None:
    run, expected = folder_run
    data = FORMS[form](images, tmp_path)
    found = sparring.embed(run, data, progress=False)
    assert np.array_equal(found.features, expected)
    assert found.labels is not None
    assert found.labels.tolist() == [0] * 8 + [1] * 8
    source = open_source(data)
    source.labels()
    assert source.class_names == CLASSES


@pytest.mark.slow
def test_a_run_is_the_same_on_every_form(
    form: str, folder_run: tuple[sparring.Run, np.ndarray], images: Path, tmp_path: Path
) -> None:
    data = FORMS[form](images, tmp_path)
    run = sparring.train(data, out=tmp_path / "run", settings=SETTINGS, progress=False)
    assert same(run.encoder, folder_run[0].encoder)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def processes_train(folder: Path) -> list[str]:
    """Check sums of what a process learned on each of some forms."""
    found = []
    for number, name in enumerate(IN_PROCESSES):
        out = folder / f"{number} of {distributed.rank()}"
        out.mkdir()
        data = FORMS[name](folder / "photos", out)
        run = sparring.train(data, out=folder / f"run {number}", settings=SETTINGS, progress=False)
        state = run.encoder.state_dict().values()
        found.append(hashlib.sha256(b"".join(v.numpy().tobytes() for v in state)).hexdigest())
    return found


IN_PROCESSES = (
    *("array", "paths", "pictures", "ImageFolder with a transform"),
    *("dataset of a user", "datasets.Dataset"),
)


@pytest.mark.slow
def test_two_processes_train_on_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    write_folder(tmp_path / "photos")
    first, second = on_ranks(processes_train, 2, tmp_path)
    assert first == second == [first[0]] * len(IN_PROCESSES)
