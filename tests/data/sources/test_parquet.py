"""Parquet files in the Hugging Face layout and plain ones."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image

from sparring.data.sources import parquet as module
from sparring.data.sources.source import Source, open_source
from sparring.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

CONTENTS = [f"image {i}".encode() for i in range(10)]


def write(path: Path, *, contents: list[bytes | None] = CONTENTS, **columns: object) -> Path:
    images = [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(contents)]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, struct)} | columns)
    pq.write_table(table, path, row_group_size=3)
    return path


def contents_of(source: Source) -> list[object]:
    return [source.read(i) for i in range(len(source))]


def test_rows_come_in_order_across_row_groups(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "a.parquet"))
    assert contents_of(source) == CONTENTS
    assert source.key(7) == "a.parquet#7"
    assert source.labels() is None


def test_random_rows_are_right_with_room_for_one_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 1)
    source = open_source(write(tmp_path / "a.parquet"))
    assert [source.read(i) for i in (9, 0, 5, 9)] == [CONTENTS[i] for i in (9, 0, 5, 9)]


def test_no_more_row_groups_are_held_than_agreed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 1)
    source = open_source(write(tmp_path / "a.parquet"))
    contents_of(source)
    assert isinstance(source, module.Parquet)
    assert len(source._held) == 1


@pytest.mark.parametrize(
    "rows", [(0, 1, 2, 3, 4, 5), (5, 0, 4, 1, 1, 59, 0), tuple(range(59, -1, -1))]
)
def test_a_row_group_that_is_too_large_is_read_in_batches(
    rows: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: list[bytes | None] = [b"%d" % i * 5000 for i in range(60)]
    images = [{"bytes": content, "path": "-"} for content in contents]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, struct)})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
    monkeypatch.setattr(module, "MOST_GROUP_BYTES", 200_000)
    source = open_source(tmp_path / "a.parquet")
    assert isinstance(source, module.Parquet)
    assert [source.read(i) for i in rows] == [contents[i] for i in rows]
    assert not source._held, "the group was never read whole"
    assert source._stream is not None
    held = source._stream[1]._held
    assert sum(column.nbytes for _, column in held) < 200_000
    assert any("row groups are larger" in note for note in source.notes)


def test_labels_and_class_names_come_from_the_schema(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", label=pa.array([1, 0, None] + [1] * 7))
    names = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    pq.write_table(
        pq.read_table(path).replace_schema_metadata({"huggingface": json.dumps(names)}), path
    )
    source = open_source(path)
    labels = source.labels()
    assert source.class_names == ("cat", "dog")
    assert labels is not None
    assert labels.tolist() == [1, 0, -1] + [1] * 7


def test_labels_without_metadata_have_no_names(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "a.parquet", label=pa.array(range(10))))
    assert source.labels() is not None
    assert source.class_names is None


def test_labels_that_are_names_are_numbered(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "a.parquet", label=pa.array(["b", "a"] * 5)))
    labels = source.labels()
    assert source.class_names == ("a", "b")
    assert labels is not None
    assert labels[:2].tolist() == [1, 0]


def test_a_folder_of_files_is_one_set(tmp_path: Path) -> None:
    write(tmp_path / "train-00001.parquet", contents=CONTENTS[4:])
    write(tmp_path / "train-00000.parquet", contents=CONTENTS[:4])
    source = open_source(tmp_path)
    assert contents_of(source) == CONTENTS
    assert source.key(5) == "train-00001.parquet#1"


def test_a_row_without_bytes_is_read_from_its_path(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"from disk")
    source = open_source(write(tmp_path / "a.parquet", contents=[b"inside", None]))
    assert contents_of(source) == [b"inside", b"from disk"]


@pytest.mark.parametrize("name", ["image", "img"])
def test_a_binary_column_will_do(tmp_path: Path, name: str) -> None:
    pq.write_table(
        pa.table({"id": pa.array(range(10)), name: pa.array(CONTENTS)}), tmp_path / "a.parquet"
    )
    assert contents_of(open_source(tmp_path / "a.parquet")) == CONTENTS


def test_a_file_without_images_says_which_columns_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "score": [1.0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has the columns text, score; one must hold images"):
        open_source(tmp_path / "a.parquet")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet as parquet") as caught:
        open_source(tmp_path / "a.parquet")
    assert "\n" not in str(caught.value)


def test_a_damaged_row_group_is_an_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)  # the first pages; the footer stays whole
    path.write_bytes(content)
    source = open_source(path)
    with pytest.raises(OSError, match="damaged row group"):
        source.read(0)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        open_source(write(tmp_path / "a.parquet", contents=[]))


def test_fingerprint_notices_a_rewritten_file(tmp_path: Path) -> None:
    before = open_source(write(tmp_path / "a.parquet")).fingerprint()
    assert open_source(tmp_path / "a.parquet").fingerprint() == before
    assert (
        open_source(write(tmp_path / "a.parquet", contents=CONTENTS[::-1])).fingerprint() != before
    )


@pytest.mark.parametrize(("pictures", "first"), [(1, "a.parquet#0"), (11, "00.png")])
def test_of_pictures_and_tables_in_a_folder_the_larger_set_is_taken(
    tmp_path: Path, picture: Callable[..., Image.Image], pictures: int, first: str
) -> None:
    write(tmp_path / "a.parquet")
    for number in range(pictures):
        picture(8, 8).save(tmp_path / f"{number:02d}.png")
    source = open_source(tmp_path)
    assert source.key(0) == first
    assert len(source) == max(10, pictures)
    assert any(
        f"10 images in parquet files and {pictures} image files" in note and "left out" in note
        for note in source.notes
    )


def test_tables_without_images_beside_pictures_are_left_out(
    tmp_path: Path, picture: Callable[..., Image.Image]
) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    picture(8, 8).save(tmp_path / "x.png")
    source = open_source(tmp_path)
    assert (source.key(0), len(source)) == ("x.png", 1)
    assert "columns text" in source.notes[0]


def named_table(path: Path, names: list[str] | None, labels: object) -> Path:
    """A file whose metadata names the numbers of its labels, if names are given."""
    write(path, label=labels)
    if names is not None:
        feature = {"label": {"names": names, "_type": "ClassLabel"}}
        told = {"huggingface": json.dumps({"info": {"features": feature}})}
        pq.write_table(pq.read_table(path).replace_schema_metadata(told), path)
    return path


def classes_of(source: Source) -> list[str]:
    labels = source.labels()
    assert labels is not None
    names = source.class_names or [str(number) for number in range(100)]
    return ["?" if label < 0 else names[label] for label in labels]


def test_files_are_matched_by_the_names_of_their_own_metadata(tmp_path: Path) -> None:
    named_table(tmp_path / "a.parquet", ["cat", "dog"], [0, 1] * 5)
    named_table(tmp_path / "b.parquet", ["dog", "eel", "cat"], [0, 1, 2, None, 2] * 2)
    named_table(tmp_path / "c.parquet", None, pa.array(["cat", "fox"] * 5))
    write(tmp_path / "d.parquet")
    assert classes_of(open_source(tmp_path)) == (
        ["cat", "dog"] * 5 + ["dog", "eel", "cat", "?", "cat"] * 2 + ["cat", "fox"] * 5 + ["?"] * 10
    )


def test_files_of_names_beside_files_of_numbers_have_no_labels(tmp_path: Path) -> None:
    named_table(tmp_path / "a.parquet", ["cat", "dog"], [0, 1] * 5)
    named_table(tmp_path / "b.parquet", None, [0, 1] * 5)
    source = open_source(tmp_path)
    assert source.labels() is None
    assert "a.parquet, column 'label' names its classes" in source.labels_missing
    assert "b.parquet, column 'label' numbers them" in source.labels_missing


def test_dictionary_columns_are_matched_by_their_values(tmp_path: Path) -> None:
    for name, values in (("a", ["cat", "dog"] * 5), ("b", ["dog", "cat"] * 5)):
        write(tmp_path / f"{name}.parquet", label=pa.array(values).dictionary_encode())
    assert classes_of(open_source(tmp_path)) == ["cat", "dog"] * 5 + ["dog", "cat"] * 5


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pa.array([0.0, 1.0, float("nan"), None, 2.0] * 2), ["0", "1", "?", "?", "2"]),
        (pa.array([True, False, None, True, True] * 2), ["True", "False", "?", "True", "True"]),
        (pa.array([-1, 3, None, 0, 1] * 2, pa.int8()), ["?", "3", "?", "0", "1"]),
        (pa.array([2, 3, None, 0, 1] * 2, pa.uint64()), ["2", "3", "?", "0", "1"]),
        (pa.array([2**64 - 1, 3, 3, 3, 3] * 2, pa.uint64()), [str(2**64 - 1), "3", "3", "3", "3"]),
        (pa.array([Decimal(10**30), *[None] * 4] * 2, pa.decimal128(38)), [str(10**30), *"????"]),
        (pa.array([1, 2, 3, None, 0] * 2).cast(pa.decimal128(30, 2)), ["1", "2", "3", "?", "0"]),
        (pa.array(["01", "1", "", None, "1 "] * 2), ["01", "1", "?", "?", "1"]),
        (pa.array(["3", "1.0", "", None, "-1"] * 2), ["3", "1", "?", "?", "?"]),
        (pa.array([7, 7, 8, 8, None] * 2).dictionary_encode(), ["7", "7", "8", "8", "?"]),
    ],
    ids=str,
)
def test_labels_of_any_type_mean_what_they_say(
    tmp_path: Path, labels: object, classes: list[str]
) -> None:
    assert classes_of(open_source(write(tmp_path / "a.parquet", label=labels))) == classes * 2


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (pa.array([[0, 1]] * 10), r"column 'label', is of the type list<.*int64>"),
        (pa.array([{"id": 1}] * 10), r"is of the type struct<id: int64>"),
        (pa.array([0.5] * 10), r"hold 0\.5, which is neither"),
        (pa.array([float("inf")] * 10), r"hold inf, which is neither"),
        (pa.array([0] * 10, pa.timestamp("s")), r"is of the type timestamp\[.*\]"),
    ],
    ids=["list", "struct", "fraction", "infinite", "time"],
)
def test_columns_that_are_no_labels_are_named_with_the_reason(
    tmp_path: Path, labels: object, reason: str
) -> None:
    source = open_source(write(tmp_path / "a.parquet", label=labels))
    assert (source.labels(), source.class_names) == (None, None)
    assert re.search(reason, source.labels_missing)
    assert re.search(reason, source.notes[0])


@pytest.mark.parametrize("column", ["labels", "Class", "target", "fine_label", "category"])
def test_other_names_of_the_column_are_understood_and_told(tmp_path: Path, column: str) -> None:
    source = open_source(write(tmp_path / "a.parquet", **{column: pa.array(["a", "b"] * 5)}))
    assert classes_of(source) == ["a", "b"] * 5
    assert source.notes == (f"the labels are those of the column '{column}'",)


def test_of_several_columns_of_labels_the_others_are_told(tmp_path: Path) -> None:
    source = open_source(
        write(tmp_path / "a.parquet", fine_label=pa.array(range(10)), category=pa.array(["a"] * 10))
    )
    assert source.notes == ("the labels are those of the column 'category', not fine_label",)


def test_a_table_without_labels_says_which_columns_it_has(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "a.parquet", width=pa.array(range(10))))
    assert source.labels_missing.endswith("the columns are width")
    assert not source.notes


def test_labels_beyond_the_names_are_named_by_their_number(tmp_path: Path) -> None:
    path = named_table(tmp_path / "a.parquet", ["cat", "dog"], [0, 1, 2, 3, 4] * 2)
    assert classes_of(open_source(path)) == ["cat", "dog", "2", "3", "4"] * 2


@pytest.mark.shared
def test_the_shared_sets_open_with_labels(shared_data: Path) -> None:
    source = open_source(shared_data / "cifar10-test.parquet")
    labels = source.labels()
    assert len(source) == 10_000
    assert labels is not None
    assert source.class_names is not None
    assert (labels.min(), labels.max(), len(source.class_names)) == (0, 9, 10)
