"""Lists of images: text and tables as people and programs write them."""

import os
from pathlib import Path

import pytest

from sparring.data.sources.lists import open_list
from sparring.data.sources.source import Source, open_source
from sparring.errors import DataError


def keys(source: Source) -> list[str]:
    return [source.key(i) for i in range(len(source))]


def test_a_text_list_is_relative_to_its_folder(folder: Path) -> None:
    (folder / "list.txt").write_text("dogs/1.png\n\n  cats/0.png  \nmissing.png\n")
    source = open_source(folder / "list.txt")
    assert keys(source) == ["dogs/1.png", "cats/0.png", "missing.png"]
    assert [note.split(",")[0] for note in source.notes] == [
        f"1 of the 3 images that {folder / 'list.txt'} lists do not exist"
    ]
    assert source.read(1) == (folder / "cats" / "0.png").read_bytes()


def test_a_text_list_may_name_absolute_paths(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{folder / 'cats' / '0.png'}\n")
    assert open_source(path).read(0) == (folder / "cats" / "0.png").read_bytes()


@pytest.mark.parametrize(
    ("text", "labels", "names"),
    [
        ("path,label\ncats/0.png,cat\ndogs/0.png,dog\n", [0, 1], ("cat", "dog")),
        ("label,file\n7,cats/0.png\n,dogs/0.png\n", [7, -1], None),
        ('Image,Class\n"cats/0.png",\ndogs/0.png,dog\n', [-1, 0], ("dog",)),
    ],
)
def test_a_table_gives_paths_and_labels(
    folder: Path, text: str, labels: list[int], names: tuple[str, ...] | None
) -> None:
    (folder / "list.csv").write_text(text)
    source = open_source(folder / "list.csv")
    found = source.labels()
    assert keys(source) == ["cats/0.png", "dogs/0.png"]
    assert found is not None
    assert found.tolist() == labels
    assert source.class_names == names


def test_a_table_without_labels_has_none(folder: Path) -> None:
    (folder / "list.csv").write_text("filename\ncats/0.png\n")
    assert open_source(folder / "list.csv").labels() is None


def test_a_table_without_paths_says_which_columns_it_has(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("name,label\nx,1\n")
    with pytest.raises(DataError, match=r"columns name, label; name one of them 'path'"):
        open_list(tmp_path / "list.csv")


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
@pytest.mark.parametrize("content", [b"PNG\x00\x81", "cats/0.png".encode("utf-16-le")])
def test_lists_that_are_no_text_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="not UTF-8 text, nor UTF-16 with a byte order mark"):
        open_list(tmp_path / name)


@pytest.mark.parametrize("row", ["x" * 200_000 + ",cat", "cats/0.png," + "x" * 200_000, '"' * 9])
def test_fields_that_no_table_has_are_told(folder: Path, row: str) -> None:
    (folder / "list.csv").write_text(f"path,label\ncats/0.png,cat\n{row}\n" + "x" * 200_000)
    with pytest.raises(DataError, match=r"cannot read .*list\.csv as a table: field larger than"):
        open_list(folder / "list.csv")


def test_labels_beyond_64_bits_are_names(folder: Path) -> None:
    labels = [2**64, -(2**70), 2**70]
    rows = [f"cats/0.png,{label}\n" for label in labels]
    (folder / "list.csv").write_text("path,label\n" + "".join(rows))
    source = open_source(folder / "list.csv")
    named = [source.class_names[label] if label >= 0 else None for label in source.labels()]
    assert named == [str(2**64), None, str(2**70)]


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(DataError, match="lists no images"):
        open_list(tmp_path / "list.txt")


def test_rows_that_all_are_missing_are_refused_with_the_first_path(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\nx/0.png,cat\nx/1.png,dog\n")
    with pytest.raises(
        DataError, match=rf"none of the 2 images .* exists; the first would be {tmp_path}/x/0.png"
    ):
        open_source(tmp_path / "list.csv")


WRITTEN = {
    "byte order mark": "path,label\ncats/0.png,cat\ndogs/0.png,dog\n".encode("utf-8-sig"),
    "utf-16": "path,label\r\ncats/0.png,cat\r\ndogs/0.png,dog\r\n".encode("utf-16"),
    "tabs": b"path\tlabel\ncats/0.png\tcat\ndogs/0.png\tdog\n",
    "semicolons": b"path;label\ncats/0.png;cat\ndogs/0.png;dog\n",
    "spaces": b" Path , Label \n cats/0.png , cat \n dogs/0.png , dog \n",
    "quotes": b'"path","label"\n"cats/0.png","cat"\n"dogs/0.png","dog"\n',
    "mixed line ends": b"path,label\r\ncats/0.png,cat\rdogs/0.png,dog\n",
    "comments": b"# made by hand\n\npath,label\n# cats\ncats/0.png,cat\n\ndogs/0.png,dog\n",
    "backslashes": b"path,label\ncats\\0.png,cat\n.\\dogs\\0.png,dog\n",
    "a caption over two lines": b'path,label,text\ncats/0.png,cat,"a\nb"\ndogs/0.png,dog,c\n',
}


@pytest.mark.parametrize("ending", ["csv", "txt"])
@pytest.mark.parametrize("written", WRITTEN)
def test_a_table_is_understood_however_it_is_written(
    folder: Path, written: str, ending: str
) -> None:
    path = folder / f"list.{ending}"
    path.write_bytes(WRITTEN[written])
    source = open_source(path)
    labels = source.labels()
    assert [Path(key).as_posix() for key in keys(source)] == ["cats/0.png", "dogs/0.png"]
    assert source.read(1) == (folder / "dogs" / "0.png").read_bytes()
    assert source.class_names == ("cat", "dog")
    assert labels is not None
    assert labels.tolist() == [0, 1]
    assert not source.notes


@pytest.mark.parametrize(
    "text",
    [
        "cats/0.png\r\ndogs/0.png\r\n",
        "# two\n'cats/0.png'\n\n\"dogs/0.png\"\n",
        "\ufeffcats\\0.png\n  dogs\\0.png\n",
        "~/photos/cats/0.png\n~/photos/dogs/0.png\n",
        "path\ncats/0.png\ndogs/0.png",
    ],
)
def test_a_text_list_is_understood_however_it_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    (folder / "list.txt").write_text(text, encoding="utf-8", newline="")
    source = open_source(folder / "list.txt")
    assert len(source) == 2
    for row, name in enumerate(("cats", "dogs")):
        assert source.read(row) == (folder / name / "0.png").read_bytes()


def test_a_picture_whose_name_begins_like_a_comment_is_listed(folder: Path) -> None:
    (folder / "cats" / "0.png").rename(folder / "#1.png")
    (folder / "list.txt").write_text("#1.png\n#2.png\n")
    assert keys(open_source(folder / "list.txt")) == ["#1.png"]


def test_paths_may_be_relative_to_the_working_folder_which_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.txt").write_text("cats/0.png\ncats/1.png\n")
    monkeypatch.chdir(folder)
    source = open_source(tmp_path / "lists" / "list.txt")
    assert source.read(0) == (folder / "cats" / "0.png").read_bytes()
    assert any(f"relative to the working folder {folder}" in note for note in source.notes)


def test_repeated_rows_are_kept_and_told(folder: Path) -> None:
    (folder / "list.txt").write_text("cats/0.png\ndogs/0.png\ncats/0.png\n")
    source = open_source(folder / "list.txt")
    assert len(source) == 3
    assert source.notes == ("1 row of the list repeats an image, such as 'cats/0.png'",)


def test_a_row_that_repeats_an_image_by_another_path_is_told(folder: Path) -> None:
    rows = ["cats/0.png", "./cats/0.png", "dogs/../cats/0.png", "cats/1.png"]
    (folder / "list.txt").write_text("\n".join(rows))
    (note,) = open_source(folder / "list.txt").notes
    assert note.startswith("2 rows of the list repeat an image")


def test_names_that_are_not_utf8_are_found(folder: Path) -> None:
    os.rename(folder / "cats" / "0.png", os.path.join(os.fsencode(folder), b"caf\xe9.png"))  # noqa: PTH104, PTH118 - bytes
    (folder / "list.csv").write_bytes(b"path,label\ncaf\xe9.png,caf\xe9\ndogs/0.png,dog\n")
    source = open_source(folder / "list.csv")
    assert keys(source)[0] == r"caf\xe9.png"
    assert source.class_names == (r"caf\xe9", "dog")
    assert source.read(0)[:4] == b"\x89PNG"


def test_labels_that_are_measurements_are_refused_as_labels_only(folder: Path) -> None:
    (folder / "list.csv").write_text("path,label\ncats/0.png,0.5\ndogs/0.png,1\n")
    source = open_source(folder / "list.csv")
    assert len(source) == 2
    assert source.labels() is None
    assert "hold 0.5, which is neither a class number nor a name" in source.labels_missing
    assert any("hold 0.5" in note for note in source.notes)


def test_of_two_columns_of_labels_the_one_that_is_used_is_told(folder: Path) -> None:
    (folder / "list.csv").write_text("path,fine_label,class\ncats/0.png,tabby,cat\n")
    source = open_source(folder / "list.csv")
    assert source.class_names == ("cat",)
    assert source.notes == ("the labels are those of the column 'class', not fine_label",)
