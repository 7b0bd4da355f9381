"""Datasets of the package `datasets`, in memory and saved."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparring.data.sources.source import open_source
from sparring.errors import DataError

datasets = pytest.importorskip("datasets")


def hub(folder: Path, **columns: Any) -> Any:
    """Dataset of the images of a folder, with other columns beside them."""
    files = sorted(folder.rglob("*.png"))
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    found = datasets.Dataset.from_dict({"picture": rows, **columns})
    return found.cast_column("picture", datasets.Image())


def contents(source: Any) -> list[Any]:
    return [source.read(row) for row in range(len(source))]


def test_encoded_images_are_those_of_the_files(folder: Path) -> None:
    expected = contents(open_source(folder))
    data = hub(folder, label=[0, 1] * 5)
    for given in (data, data.with_format("torch"), data.select(range(10))):
        assert contents(open_source(given)) == expected
    chosen = open_source(data.select([7, 2]))
    assert contents(chosen) == [expected[7], expected[2]]
    assert chosen.labels().tolist() == [1, 0]  # type: ignore[union-attr]
    assert open_source(data).fingerprint() == open_source(data).fingerprint()
    assert open_source(data).fingerprint() != chosen.fingerprint()


def test_classes_are_those_of_the_features(folder: Path) -> None:
    classes = datasets.ClassLabel(names=["dog", "cat"])
    data = hub(folder, coarse=[0] * 10, fine_label=[0, 1, -1, None, 1] * 2)
    source = open_source(data.cast_column("fine_label", classes))
    labels = source.labels()
    assert labels is not None
    assert labels.tolist() == [0, 1, -1, -1, 1] * 2
    assert source.class_names == ("dog", "cat")
    assert source.notes == ("the labels are those of the column 'fine_label'",)
    boxes = open_source(hub(folder, label=[[0, 1]] * 10))
    assert boxes.labels() is None
    assert "the labels cannot be used: column 'label' is of the type List" in boxes.notes[0]
    assert "the columns are size" in open_source(hub(folder, size=[0] * 10)).labels_missing


def test_images_that_a_dataset_only_names_are_read_and_watched(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    rows = datasets.Dataset.from_dict({"image": [str(path) for path in files]})
    data = rows.cast_column("image", datasets.Image())
    assert contents(open_source(data)) == contents(open_source(folder))
    before = open_source(data).fingerprint()
    files[0].write_bytes(files[1].read_bytes())
    assert open_source(data).fingerprint() != before


def test_columns_of_arrays_are_images() -> None:
    values = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)
    features = datasets.Features({"x": datasets.Array3D((5, 6, 3), "uint8")})
    source = open_source(datasets.Dataset.from_dict({"x": list(values)}, features=features))
    assert np.array_equal(np.stack(contents(source)), values)


def test_a_transform_of_the_dataset_is_used(folder: Path) -> None:
    data = hub(folder, label=[0, 1] * 5)

    def grey(rows: dict[str, Any]) -> dict[str, Any]:
        return {"picture": [image.convert("L") for image in rows["picture"]]}

    source = open_source(data.with_transform(grey))
    assert np.asarray(source.read(0)).shape == (30, 40)
    assert source.labels().tolist() == [0, 1] * 5  # type: ignore[union-attr]


def test_splits_are_parts(folder: Path, tmp_path: Path) -> None:
    whole = hub(folder, label=list("abcde") * 2)
    data = datasets.DatasetDict(train=whole.select(range(7)), test=whole.select([7, 9]))
    data.save_to_disk(str(tmp_path / "saved"))
    for given in (data, tmp_path / "saved", str(tmp_path / "saved")):
        train, test, both = (open_source(given, part=use) for use in ("train", "test", "all"))
        assert (len(train), len(test), len(both)) == (7, 2, 9)
        assert (train.part, test.part) == ("train", "test")
        assert test.key(0) == "test/row 0"
        assert train.class_names == test.class_names == tuple("abcde")
        assert test.labels().tolist() == [2, 4]  # type: ignore[union-attr]
        assert "train (7 images) and test (2 images)" in " ".join(train.notes)
    assert len(open_source(datasets.DatasetDict(train=data["train"]))) == 7


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            lambda: datasets.Dataset.from_dict({"a": [1]}),
            r"the columns a \(Value\('int64'\)\), and none holds images",
        ),
        (lambda: datasets.Dataset.from_dict({"image": []}), "the dataset has no rows"),
        (lambda: datasets.DatasetDict(), "the DatasetDict has no rows"),
        (
            lambda: datasets.Dataset.from_dict({"a": [1]}).to_iterable_dataset(),
            "type IterableDataset has no length and no random access",
        ),
    ],
)
def test_datasets_without_images_are_refused(data: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_source(data())


def test_a_saved_folder_needs_the_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(folder).save_to_disk(str(tmp_path / "saved"))
    assert contents(open_source(tmp_path / "saved")) == contents(open_source(folder))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"save_to_disk .* pip install 'sparring\[hub\]'"):
        open_source(tmp_path / "saved")


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "data"])
def test_a_damaged_saved_folder_is_told_in_one_line(
    name: str, folder: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    hub(folder).save_to_disk(str(saved))
    damaged = saved / name if name != "data" else next(saved.glob("*.arrow"))
    damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(DataError, match=r"was written by save_to_disk, and cannot be read \(.*\n?"):
        open_source(saved)
    state = saved / "state.json"
    state.write_text(json.dumps({"_data_files": [{"filename": "../../secret"}]}))
    with pytest.raises(DataError, match="cannot be read"):
        open_source(saved)
