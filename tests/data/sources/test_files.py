"""Folders and lists: which files are read, in which order, and with which labels."""

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sparring.data.sources.files import Files, files_below
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


def test_a_linked_folder_of_the_set_keeps_its_own_path(folder: Path) -> None:
    own = keys(open_source(folder))
    (folder / "zoo").symlink_to(folder / "cats", target_is_directory=True)
    (folder / "a link").symlink_to(folder / "dogs", target_is_directory=True)
    assert keys(open_source(folder)) == own


def test_folders_that_a_system_made_are_passed_over(tmp_path: Path, picture: Picture) -> None:
    for name in ["photos", "photos/@eaDir", "$RECYCLE.BIN", "__MACOSX/photos"]:
        (tmp_path / name).mkdir(parents=True)
        picture(8, 8).save(tmp_path / name / "1.png")
    assert keys(open_source(tmp_path)) == ["photos/1.png"]


def test_marks_that_turn_text_are_escaped_and_scripts_are_not(
    tmp_path: Path, picture: Picture
) -> None:
    for name in ["a\u202egpj.exe.png", "\u0639\u0631\u0628\u064a.png", "\u200d.png"]:
        picture(8, 8).save(tmp_path / name)
    source = open_source(tmp_path)
    assert set(keys(source)) == {
        "a\\u202egpj.exe.png", "\u0639\u0631\u0628\u064a.png", "\u200d.png",
    }  # fmt: skip


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_is_named(folder: Path) -> None:
    (folder / "cats").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot list"):
            files_below(folder)
    finally:
        (folder / "cats").chmod(0o755)


@pytest.mark.parametrize("target", ["circle", "."])
def test_a_link_in_a_circle_leaves_the_rest_of_the_folder(folder: Path, target: str) -> None:
    (folder / "cats" / "circle").symlink_to(target)
    source = open_source(folder)
    assert len(source) == 10
    assert source.class_names == ("cats", "dogs")


def test_a_picture_that_links_to_itself_is_left_to_the_quarantine(folder: Path) -> None:
    (folder / "cats" / "circle.png").symlink_to("circle.png")
    source = open_source(folder)
    row = keys(source).index("cats/circle.png")
    with pytest.raises(OSError, match="symbolic links"):
        source.read(row)
    with pytest.raises(OSError, match="symbolic links"):
        source.excerpt(row)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes only there")
def test_names_that_are_no_text_are_shown_escaped_and_read_as_they_are(folder: Path) -> None:
    odd = os.path.join(os.fsencode(folder), b"caf\xe9")  # noqa: PTH118 - bytes
    os.rename(os.path.join(os.fsencode(folder), b"cats"), odd)  # noqa: PTH104, PTH118 - bytes
    os.rename(os.path.join(odd, b"0.png"), os.path.join(odd, b"a\nb\xff.png"))  # noqa: PTH104, PTH118
    source = open_source(folder)
    assert source.class_names == (r"caf\xe9", "dogs")
    row = keys(source).index(r"caf\xe9/a\nb\xff.png")
    assert source.read(row)[:4] == b"\x89PNG"
    assert source.fingerprint()
    assert source.content_fingerprint()
    assert "".join(keys(source)).isprintable()


def test_excerpts_are_equal_for_equal_files_only(folder: Path) -> None:
    shutil.copy(folder / "cats" / "0.png", folder / "dogs" / "copy.png")
    source = open_source(folder)
    excerpts = [source.excerpt(row) for row in range(len(source))]
    assert excerpts[0] == excerpts[keys(source).index("dogs/copy.png")]
    assert len(set(excerpts)) == 10


def test_composed_and_decomposed_names_are_one_class(folder: Path) -> None:
    (folder / "cats").rename(folder / "caf\u00e9")
    (folder / "dogs").rename(folder / "cafe\u0301")
    (folder / "tea").mkdir()
    shutil.copy(folder / "caf\u00e9" / "0.png", folder / "tea" / "0.png")
    assert open_source(folder).class_names == ("caf\u00e9", "tea")
