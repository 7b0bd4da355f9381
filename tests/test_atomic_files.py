"""Writing of files and folders: whole or not at all, and through no link that is already there."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sparring.errors import StorageError
from sparring.files import (
    new_folder,
    not_written,
    open_without_following,
    publish,
    remove_abandoned,
    write_atomically,
)

CRASH = """
import os, sys
from pathlib import Path
from sparring import files

os.fsync = lambda _: os._exit(9)
target = Path(sys.argv[1])
if sys.argv[2] == "file":
    files.write_atomically(target, b"new")
with files.new_folder(target) as part:
    (part / "images").write_bytes(b"new")
    files.publish(part, target)
"""
"""A process that dies in the middle of a write, as one that is killed."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_is_on_the_disk_before_it_takes_the_place_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (events.append("fsync"), fsync(number))[1])
    monkeypatch.setattr(
        Path, "replace", lambda path, target: (events.append("replace"), replace(path, target))[1]
    )
    write_atomically(tmp_path / "file", b"new")
    assert events == ["fsync", "replace", "fsync"], "the content, then the name"


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "the disk is full; free some space"), (errno.EROFS, "Read-only")],
)
def test_a_disk_that_does_not_take_it_leaves_the_old_file(
    code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=words):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "thesis.tex", tmp_path / "report.html"
    target.write_bytes(b"years of work")
    link.symlink_to(target)
    write_atomically(link, b"page")
    assert (target.read_bytes(), link.read_bytes()) == (b"years of work", b"page")
    assert not link.is_symlink()


@pytest.mark.parametrize("aim", ["nowhere", "report.html"])
def test_a_link_to_nothing_or_to_itself_is_replaced(aim: str, tmp_path: Path) -> None:
    link = tmp_path / "report.html"
    link.symlink_to(tmp_path / aim)
    write_atomically(link, b"page")
    assert link.read_bytes() == b"page"
    assert names(tmp_path) == ["report.html"]


def test_an_older_versions_temporary_name_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_bytes(b"years of work")
    (tmp_path / "last.pt.part").symlink_to(tmp_path / "thesis.tex")
    write_atomically(tmp_path / "last.pt", b"new")
    assert (tmp_path / "thesis.tex").read_bytes() == b"years of work"


def test_a_link_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_bytes(b"years of work")
    (tmp_path / "link").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(OSError, match="is a link"):
        open_without_following(tmp_path / "link", os.O_RDWR | os.O_CREAT)


@pytest.mark.parametrize("kind", ["pipe", "link to a device", "folder"])
def test_what_is_no_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link to a device":
            path.symlink_to("/dev/null")
        case "folder":
            path.mkdir()
    before = path.lstat()
    with pytest.raises(StorageError, match=r"not a regular file|Is a directory"):
        write_atomically(path, b"page")
    assert (path.lstat(), names(tmp_path)) == (before, ["report.html"])


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"")
        with new_folder(tmp_path / "folder") as part:
            publish(part, tmp_path / "folder")
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "folder")]
    assert modes == [0o640, 0o750]


def test_two_writers_of_one_file_leave_the_whole_content_of_one(tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(4)]
    writers = [
        threading.Thread(
            target=lambda content: [write_atomically(tmp_path / "f", content) for _ in range(25)],
            args=(content,),
        )
        for content in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert not (tmp_path / "f").exists() or (tmp_path / "f").read_bytes() in contents
    assert (tmp_path / "f").read_bytes() in contents
    assert names(tmp_path) == ["f"]


def test_a_write_that_is_interrupted_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_leaves_goes_with_the_next_write(kind: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CRASH, tmp_path / "x", kind], check=False)
    (left,) = names(tmp_path)
    assert left.endswith(".sparring.part")
    write_atomically(tmp_path / "y", b"new")
    assert names(tmp_path) == ["y"]


def test_work_in_progress_is_not_swept_away(tmp_path: Path) -> None:
    with new_folder(tmp_path / "folder") as part:
        (part / "images").write_bytes(b"half")
        remove_abandoned(tmp_path)
        write_atomically(tmp_path / "other", b"")
        assert (part / "images").read_bytes() == b"half"
        publish(part, tmp_path / "folder")
    assert names(tmp_path) == ["folder", "other"]


@pytest.mark.parametrize("name", [".x.part", "x.0123abcd.sparring.part", ".x.sparring.part"])
def test_files_of_others_are_not_swept_away(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    remove_abandoned(tmp_path)
    assert names(tmp_path) == [name]


def test_sweeping_survives_what_vanishes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / ".x.0123abcd.sparring.part"
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([gone]))
    remove_abandoned(tmp_path)
    remove_abandoned(tmp_path / "nowhere")


def test_a_folder_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), new_folder(tmp_path / "folder") as part:
        part.write_bytes(b"half")
    assert names(tmp_path) == []


def test_a_folder_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    rename = Path.rename
    monkeypatch.setattr(
        os, "fsync", lambda number: events.append(str(Path(f"/proc/self/fd/{number}").readlink()))
    )
    monkeypatch.setattr(
        Path, "rename", lambda path, target: (events.append("rename"), rename(path, target))[1]
    )
    with new_folder(tmp_path / "folder") as part:
        (part / "images").write_bytes(b"")
        events.clear()
        publish(part, tmp_path / "folder")
    assert events == [str(part / "images"), str(part), "rename", str(tmp_path)]


def test_an_array_that_does_not_fit_says_that_the_disk_is_full() -> None:
    short = OSError("23616 requested and 992 written")  # NumPy's, on a disk that fills up
    assert "the disk is full" in str(not_written(Path("features.npy"), short))
    assert "full" not in str(not_written(Path("features.npy"), OSError("odd")))
