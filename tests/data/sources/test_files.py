"""Folders and lists: which files are read, in which order, and with which labels."""

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sparring.data.sources.files import Files, files_below, open_csv, open_text_list
from sparring.data.sources.source import Source, open_source
from sparring.errors import DataError

Picture = Callable[..., Image.Image]


def keys(source: Source) -> list[str]:
    return [source.key(i) for i in range(len(source))]


def test_class_folders_become_labels(folder: Path) -> None:
    source = open_source(folder)
    labels = source.labels()
    assert source.class_names == ("cats", "dogs")
    assert labels is not None
    assert labels.tolist() == [0] * 5 + [1] * 5
    assert keys(source)[5:7] == ["dogs/0.png", "dogs/1.png"]


def test_a_flat_folder_has_no_labels(folder: Path) -> None:
    source = open_source(folder / "cats")
    assert len(source) == 5
    assert source.labels() is None
    assert source.class_names is None


def test_one_sub_folder_is_no_class(folder: Path) -> None:
    shutil.rmtree(folder / "dogs")
    assert open_source(folder).labels() is None


def test_a_stray_image_beside_the_folders_unmakes_the_classes(folder: Path) -> None:
    shutil.copy(folder / "cats" / "0.png", folder / "stray.png")
    source = open_source(folder)
    assert len(source) == 11
    assert source.labels() is None


def test_nested_folders_belong_to_their_first_level(folder: Path) -> None:
    deep = folder / "cats" / "tabby" / "old"
    deep.mkdir(parents=True)
    shutil.move(folder / "cats" / "0.png", deep / "0.png")
    source = open_source(folder)
    labels = source.labels()
    assert labels is not None
    assert labels[keys(source).index("cats/tabby/old/0.png")] == 0
    assert source.class_names == ("cats", "dogs")


def test_names_with_spaces_and_other_alphabets_are_read(tmp_path: Path, picture: Picture) -> None:
    for name in ["a b.png", "\u00fc\u00e9.png", "\u732b.PNG"]:
        picture(8, 8).save(tmp_path / name)
    source = open_source(tmp_path)
    assert set(keys(source)) == {"a b.png", "\u00fc\u00e9.png", "\u732b.PNG"}
    assert all(source.read(i)[:4] == b"\x89PNG" for i in range(3))


def test_endings_count_in_any_case_and_other_files_do_not(tmp_path: Path, picture: Picture) -> None:
    for name in ["A.JPG", "b.Jpeg", ".hidden.png", "notes.txt", "c.png.bak"]:
        picture(8, 8).save(tmp_path / name, "PNG")
    (tmp_path / ".cache").mkdir()
    picture(8, 8).save(tmp_path / ".cache" / "thumbnail.png")
    assert keys(open_source(tmp_path)) == ["A.JPG", "b.Jpeg"]


def test_linked_folders_are_followed_once(folder: Path) -> None:
    (folder / "cats" / "again").symlink_to(folder, target_is_directory=True)
    assert len(open_source(folder)) == 10


def test_a_dangling_link_is_listed_and_left_to_the_quarantine(folder: Path) -> None:
    (folder / "cats" / "gone.png").symlink_to(folder / "nowhere.png")
    source = open_source(folder)
    with pytest.raises(OSError, match="No such file"):
        source.read(keys(source).index("cats/gone.png"))


def test_listing_many_files_needs_little_memory() -> None:
    names = [f"{i:06d}.jpg" for i in range(100_000)]
    tracemalloc.start()
    source = Files(Path("root"), names)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(source) == 100_000
    assert peak < 1e6


@pytest.mark.parametrize("change", ["add", "remove", "content", "time"])
def test_fingerprint_notices_every_change(folder: Path, change: str) -> None:
    file = folder / "cats" / "0.png"
    before = open_source(folder).fingerprint()
    assert open_source(folder).fingerprint() == before
    match change:
        case "add":
            shutil.copy2(file, folder / "cats" / "9.png")
        case "remove":
            file.unlink()
        case "content":
            stamp = file.stat().st_mtime_ns
            file.write_bytes(file.read_bytes() + b" ")
            os.utime(file, ns=(stamp, stamp))
        case "time":
            os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert open_source(folder).fingerprint() != before


def test_a_text_list_is_relative_to_its_folder(folder: Path) -> None:
    (folder / "list.txt").write_text("dogs/1.png\n\n  cats/0.png  \nmissing.png\n")
    source = open_source(folder / "list.txt")
    assert keys(source) == ["dogs/1.png", "cats/0.png", "missing.png"]
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
        open_csv(tmp_path / "list.csv")


@pytest.mark.parametrize("opener", [open_csv, open_text_list])
def test_lists_that_are_no_text_are_refused(
    tmp_path: Path, opener: Callable[[Path], Source]
) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="not UTF-8"):
        opener(path)


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(DataError, match="lists no images"):
        open_text_list(tmp_path / "list.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_is_named(folder: Path) -> None:
    (folder / "cats").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot list"):
            files_below(folder)
    finally:
        (folder / "cats").chmod(0o755)
