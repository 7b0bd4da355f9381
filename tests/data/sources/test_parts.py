"""Parts of a set are recognised in every layout, and each use takes the part that suits it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparring.data.sources.detection_layouts import open_detection_images
from sparring.data.sources.parts import file_layout, folder_layout
from sparring.data.sources.segmentation_layouts import open_segmentation_images
from sparring.data.sources.source import Source, open_source
from sparring.errors import DataError


def write(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
    return root


def told(source: Source) -> list[tuple[str, str]]:
    """Key and class of each image."""
    labels = source.labels()
    names = source.class_names or ()
    return [
        (source.key(row), "" if labels is None or labels[row] < 0 else names[labels[row]])
        for row in range(len(source))
    ]


@pytest.mark.parametrize(
    ("train", "other", "part"),
    [
        ("train", "val", "validation"),
        ("training", "valid", "validation"),
        ("Train", "Test", "test"),
        ("TRAINING", "testing", "test"),
        ("train", "dev", "validation"),
        ("train2017", "val2017", "validation"),
        ("images_train", "test-images", "test"),
    ],
)
def test_folders_of_parts_are_no_classes(tmp_path: Path, train: str, other: str, part: str) -> None:
    write(tmp_path, *(f"{p}/{c}/{n}.png" for p in (train, other) for c in "ab" for n in range(2)))
    learned, scored = open_source(tmp_path), open_source(tmp_path, part="test")
    assert (learned.part, scored.part) == ("train", part)
    assert told(learned) == [(f"{train}/{c}/{n}.png", c) for c in "ab" for n in range(2)]
    assert told(scored) == [(f"{other}/{c}/{n}.png", c) for c in "ab" for n in range(2)]
    (note,) = learned.notes
    assert "train (4 images)" in note
    assert f"{part} (4 images)" in note
    assert "only train is used here" in note


def test_test_is_scored_before_validation_and_all_parts_together_keep_their_classes(
    tmp_path: Path,
) -> None:
    write(tmp_path, *(f"{p}/{c}/0.png" for p in ("train", "val", "test") for c in ("ant", "bee")))
    assert open_source(tmp_path, part="test").part == "test"
    everything = open_source(tmp_path, part="all")
    assert everything.part == ""
    assert [label for _, label in told(everything)] == ["ant", "bee"] * 3
    assert "all are used here" in everything.notes[0]


def test_a_test_part_without_classes_is_not_scored_if_validation_has_them(tmp_path: Path) -> None:
    write(tmp_path, "test/0.png", *(f"{p}/{c}/0.png" for p in ("train", "val") for c in "ab"))
    assert open_source(tmp_path, part="test").part == "validation"
    assert [label for _, label in told(open_source(tmp_path))] == ["a", "b"]


def test_a_single_part_is_used_whole_and_is_no_class(tmp_path: Path) -> None:
    write(tmp_path, *(f"train/{c}/{n}.png" for c in "ab" for n in range(2)))
    source = open_source(tmp_path)
    assert (len(source), source.part, source.notes) == (4, "", ())
    assert [label for _, label in told(source)] == ["a", "a", "b", "b"]


def test_parts_within_classes_and_below_a_folder_of_the_set_are_recognised(tmp_path: Path) -> None:
    write(tmp_path / "x", *(f"{c}/{p}/0.png" for c in ("cat", "dog") for p in ("train", "test")))
    assert told(open_source(tmp_path / "x")) == [
        ("cat/train/0.png", "cat"),
        ("dog/train/0.png", "dog"),
    ]
    write(tmp_path / "y", *(f"set/{p}/{c}/0.png" for c in ("cat", "dog") for p in ("train", "val")))
    assert told(open_source(tmp_path / "y", part="test")) == [
        ("set/val/cat/0.png", "cat"),
        ("set/val/dog/0.png", "dog"),
    ]


def test_folders_beside_the_parts_are_left_out_and_told(tmp_path: Path) -> None:
    write(tmp_path, "train/a/0.png", "train/b/0.png", "test/a/0.png", "extra/z/0.png", "logo.png")
    source = open_source(tmp_path)
    assert [label for _, label in told(source)] == ["a", "b"]
    assert any(
        "2 images belong to none of the parts and are left out, such as extra/z/0.png" in note
        for note in source.notes
    )


@pytest.mark.parametrize(
    "names",
    [
        ("train/0.png", "car/0.png", "bus/0.png"),
        ("train_station/0.png", "test tube/0.png"),
        ("photo/cat/0.png", "sketch/cat/0.png"),
        ("cats/test/0.png", "cats/1.png", "dogs/train/0.png"),
        ("cats/train/0.png", "dogs/other/0.png"),
    ],
)
def test_other_folders_stay_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = open_source(write(tmp_path, *names))
    assert len(source) == len(names)
    assert [label for _, label in told(source)] == [key.split("/")[0] for key, _ in told(source)]
    assert not source.notes


def test_files_say_their_part_by_a_word_of_their_name_or_by_their_folder() -> None:
    names = [
        "data/train-00000-of-00002.parquet",
        "plain_text/validation/0000.parquet",
        "cifar10-test.parquet",
        "partial-train/0003.parquet",
        "test/train.parquet",
        "trainer/latest.parquet",
    ]
    parts = ("train", "validation", "test", "train", "train", "")
    assert file_layout(names).parts == parts


def test_a_deep_folder_without_parts_is_looked_at_once_per_level() -> None:
    layout = folder_layout(["a/b/c/d/0.png", "a/b/c/e/0.png"])
    assert (layout.parts, layout.classes) == (("", ""), ("a", "a"))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("train.parquet", "test.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
    ],
)
def test_parquet_files_of_parts_are_not_mixed(tmp_path: Path, train: str, test: str) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name, labels in ((train, ["a", "b", "a"]), (test, ["b", "c"])):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        images = [f"{name} {number}".encode() for number in range(len(labels))]
        pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / name)
    learned, scored = open_source(tmp_path), open_source(tmp_path, part="test")
    assert [label for _, label in told(learned)] == ["a", "b", "a"]
    assert [label for _, label in told(scored)] == ["b", "c"]
    assert scored.read(1) == f"{test} 1".encode()
    assert "train (3 images) and test (2 images)" in learned.notes[0]
    assert len(open_source(tmp_path, part="all")) == 5
    assert told(open_source(tmp_path / test)) == [
        (f"{Path(test).name}#0", "b"),
        (f"{Path(test).name}#1", "c"),
    ]


@pytest.mark.parametrize("opener", [open_detection_images, open_segmentation_images])
def test_annotated_images_of_several_parts_are_not_mixed(
    tmp_path: Path, opener: Callable[[Path], object]
) -> None:
    for part in ("train", "val"):
        (tmp_path / f"{part}-00000.parquet").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"is split into train \(train-00000\.parquet\) and validation \(val-"
    ):
        opener(tmp_path)


def test_a_column_of_a_list_says_the_part(tmp_path: Path) -> None:
    write(tmp_path, "0.png", "1.png", "2.png", "3.png")
    (tmp_path / "list.csv").write_text(
        "path,label,split\n0.png,a,train\n1.png,b,Train\n2.png,a,test\n3.png,b,unlabeled\n"
    )
    source = open_source(tmp_path / "list.csv")
    assert told(source) == [("0.png", "a"), ("1.png", "b")]
    assert told(open_source(tmp_path / "list.csv", part="test")) == [("2.png", "a")]
    assert any("1 images belong to none of the parts" in note for note in source.notes)


def test_a_pictures_part_beside_smaller_tables_is_taken(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    write(tmp_path, *(f"{p}/{c}/0.png" for c in "ab" for p in ("train", "val")))
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "preview.parquet")
    source = open_source(tmp_path)
    assert [key for key, _ in told(source)] == ["train/a/0.png", "train/b/0.png"]
    assert len(source.notes) == 2
