"""Chosen images of an open data set have the same pixels and no second store."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sparring.data.dataset import Dataset, DataSettings, FileDataset, open_dataset
from sparring.data.sources.dataset_subset import DatasetSubset, dataset_subset
from tiny import write_photos

ROWS = np.array([1, 4, 5, 2])


@pytest.fixture(params=["always", "never"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    return open_dataset(
        write_photos(tmp_path / "photos", per_class=4),
        DataSettings(store=request.param),
        image_size=16,
    )


def test_a_subset_has_the_chosen_images_in_their_order(whole: Dataset) -> None:
    chosen = dataset_subset(whole, ROWS)
    assert len(chosen) == 4
    assert (chosen.size, chosen.class_names) == (whole.size, whole.class_names)
    assert torch.equal(chosen.images([2, 0]), whole.images([5, 1]))
    assert list(chosen.keys) == [whole.keys[row] for row in ROWS]
    assert whole.labels is not None
    assert np.array_equal(np.asarray(chosen.labels), whole.labels[ROWS])
    assert chosen.quarantine == ()


def test_subsets_have_different_fingerprints(whole: Dataset) -> None:
    found = {dataset_subset(whole, rows).fingerprint for rows in (ROWS, ROWS, ROWS[::-1], ROWS[:2])}
    assert len(found) == 3
    assert whole.fingerprint not in found


def test_images_that_are_cropped_from_their_files_still_are(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", per_class=4)
    assert isinstance(
        dataset_subset(open_dataset(folder, DataSettings(store="never"), image_size=16), ROWS),
        FileDataset,
    )


def test_a_subset_writes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    whole = open_dataset(
        write_photos(tmp_path / "photos", per_class=4), DataSettings(store="always"), image_size=16
    )
    before = sorted((tmp_path / "cache").rglob("*"))
    assert isinstance(dataset_subset(whole, ROWS), DatasetSubset)
    dataset_subset(whole, ROWS).images([0])
    assert sorted((tmp_path / "cache").rglob("*")) == before


def test_images_without_labels_stay_so() -> None:
    whole = open_dataset(np.zeros((5, 16, 16, 3), np.uint8), DataSettings(), image_size=16)
    assert dataset_subset(whole, np.array([3])).labels is None
