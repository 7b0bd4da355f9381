"""Parquet files in the Hugging Face layout and plain ones."""

import json
from collections.abc import Callable
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


def test_images_in_a_folder_go_before_tables(
    tmp_path: Path, picture: Callable[..., Image.Image]
) -> None:
    write(tmp_path / "a.parquet")
    picture(8, 8).save(tmp_path / "x.png")
    assert open_source(tmp_path).key(0) == "x.png"


@pytest.mark.shared
def test_the_shared_sets_open_with_labels(shared_data: Path) -> None:
    source = open_source(shared_data / "cifar10-test.parquet")
    labels = source.labels()
    assert len(source) == 10_000
    assert labels is not None
    assert source.class_names is not None
    assert (labels.min(), labels.max(), len(source.class_names)) == (0, 9, 10)
