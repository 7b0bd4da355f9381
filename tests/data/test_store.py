"""The store: its content, what makes it a new one, and what happens when two build it or the disk
fails."""

import multiprocessing
import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparring.data import store as module
from sparring.data import store_check as checks
from sparring.data.decode import centre_square, decode
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.image_source import Source
from sparring.data.sources.source import open_source
from sparring.data.store import cache_folder, open_store
from sparring.errors import StorageError
from sparring.files import new_folder

DAMAGES = (
    *("shorter", "longer", "zeros", "second half zeros", "one bit", "gone", "index"),
    *("two blocks in each other's place", "index of other rows", "index of an older version"),
    *("index of zeros", "index nested deeply"),
)
IMAGES = np.random.default_rng(0).integers(0, 256, (200, 12, 10), np.uint8)


def restart(place: Path) -> None:
    """Forget that a store was checked, as a machine does that is started again."""
    (place / "verified.json").unlink()


def only_store(cache: Path) -> Path:
    """Folder of the one store; fails if anything else is there."""
    (place,) = (cache / "stores").iterdir()
    return place


@pytest.mark.parametrize("workers", [1, 3])
def test_the_store_holds_every_image_decoded_and_resized(
    folder: Path, tmp_path: Path, workers: int
) -> None:
    source = open_source(folder)
    images = open_store(source, size=16, cache=tmp_path, workers=workers).images
    assert images.shape == (10, 3, 16, 16)
    for i, image in enumerate(images):
        assert (image == centre_square(decode(source.read(i)), 16).numpy()).all()


def test_bad_files_are_left_out_with_their_reason(folder: Path, tmp_path: Path) -> None:
    (folder / "cats" / "1.png").write_bytes(b"")
    (folder / "dogs" / "0.png").write_text("no image")
    whole = (folder / "dogs" / "4.png").read_bytes()
    (folder / "dogs" / "4.png").write_bytes(whole[: len(whole) // 2])
    source = open_source(folder)
    for _ in range(2):  # built, then found
        store = open_store(source, size=16, cache=tmp_path)
        assert store.rows.tolist() == [0, 2, 3, 4, 6, 7, 8]
        assert [key for key, _ in store.quarantine] == ["cats/1.png", "dogs/0.png", "dogs/4.png"]
        assert [reason for _, reason in store.quarantine][:2] == [
            "empty file",
            "not an image that Pillow knows",
        ]
        assert (store.images[4] == centre_square(decode(source.read(6)), 16).numpy()).all()


def test_a_store_without_one_good_image_is_empty(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.png").write_bytes(b"")
    store = open_store(open_source(tmp_path / "photos"), size=16, cache=tmp_path)
    assert store.images.shape == (0, 3, 16, 16)


def test_a_store_is_built_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(open_source(folder), size=16, cache=tmp_path).images
    monkeypatch.setattr(module, "_build", lambda *_, **__: pytest.fail("built again"))
    assert (open_store(open_source(folder), size=16, cache=tmp_path).images == first).all()


def test_a_changed_file_of_the_same_size_makes_a_new_store(tmp_path: Path) -> None:
    file = tmp_path / "photos" / "x.pgm"
    file.parent.mkdir()
    file.write_bytes(b"P5 8 8 255\n" + bytes(64))
    assert open_store(open_source(file.parent), size=8, cache=tmp_path).images.max() == 0
    stamp = file.stat().st_mtime_ns
    file.write_bytes(b"P5 8 8 255\n" + b"\x07" * 64)
    os.utime(file, ns=(stamp + 1000, stamp + 1000))
    assert open_store(open_source(file.parent), size=8, cache=tmp_path).images.max() == 7


def test_an_added_file_makes_a_new_store(folder: Path, tmp_path: Path) -> None:
    open_store(open_source(folder), size=16, cache=tmp_path)
    shutil.copy2(folder / "cats" / "0.png", folder / "cats" / "9.png")
    assert len(open_store(open_source(folder), size=16, cache=tmp_path).images) == 11


def test_another_size_is_another_store(tmp_path: Path) -> None:
    for size in (8, 16):
        assert open_store(Arrays(IMAGES), size=size, cache=tmp_path).images.shape[-1] == size
    assert len(list((tmp_path / "stores").iterdir())) == 2


def test_progress_counts_up_to_all_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    open_store(
        Arrays(IMAGES),
        size=8,
        cache=tmp_path,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(64, 200), (128, 200), (192, 200), (200, 200)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_built_again_with_a_line(tmp_path: Path, damage: str) -> None:
    lines: list[str] = []
    expected = np.array(open_store(Arrays(IMAGES), size=8, cache=tmp_path).images)
    place = only_store(tmp_path)
    content = (place / "images.bin").read_bytes()
    index = (place / "index.json").read_text()
    restart(place)
    match damage:
        case "zeros":
            (place / "images.bin").write_bytes(bytes(len(content)))
        case "second half zeros":
            half = len(content) // 2
            (place / "images.bin").write_bytes(content[:half] + bytes(len(content) - half))
        case "one bit":
            flipped = bytearray(content)
            flipped[-1] ^= 1
            (place / "images.bin").write_bytes(flipped)
        case "two blocks in each other's place":
            first, second = content[: 64 * 192], content[64 * 192 : 128 * 192]
            (place / "images.bin").write_bytes(second + first + content[128 * 192 :])
        case "index of other rows":
            (place / "index.json").write_text(index.replace('"bad": []', '"bad": [[900, "x"]]'))
        case "index of an older version":
            (place / "index.json").write_text('{"bad": [], "clipped": 0}')
        case "index of zeros":
            (place / "index.json").write_bytes(bytes(len(index)))
        case "index nested deeply":
            (place / "index.json").write_text("[" * 100_000)
        case "shorter":
            (place / "images.bin").write_bytes(content[:-1])
        case "longer":
            (place / "images.bin").write_bytes(content + b"\0")
        case "index":
            (place / "index.json").write_text("{")
        case "gone":
            (place / "images.bin").unlink()
    store = open_store(Arrays(IMAGES), size=8, cache=tmp_path, report=lines.append)
    assert (store.images == expected).all()
    assert (only_store(tmp_path) / "images.bin").read_bytes() == content
    (line,) = lines
    assert line.startswith(f"the decoded images in {place} are damaged (")
    open_store(Arrays(IMAGES), size=8, cache=tmp_path, report=lambda _: pytest.fail("again"))


def test_a_store_with_unreadable_images_is_checked_too(folder: Path, tmp_path: Path) -> None:
    (folder / "cats" / "1.png").write_bytes(b"")
    open_store(open_source(folder), size=16, cache=tmp_path)
    place = only_store(tmp_path)
    restart(place)
    fine = open_store(open_source(folder), size=16, cache=tmp_path, report=pytest.fail)
    content = np.array(fine.images)
    restart(place)
    (place / "images.bin").write_bytes(bytes(content.nbytes))
    again = open_store(open_source(folder), size=16, cache=tmp_path)
    assert (again.images == content).all()


def test_damage_is_told_with_its_extent(tmp_path: Path) -> None:
    lines: list[str] = []
    open_store(Arrays(IMAGES), size=8, cache=tmp_path)
    place = only_store(tmp_path)
    with (place / "images.bin").open("r+b") as file:
        file.write(bytes(10))
    restart(place)
    open_store(Arrays(IMAGES), size=8, cache=tmp_path, report=lines.append)
    assert "(1 of 4 blocks of images are not what was written)" in lines[0]


def test_a_store_is_checked_once_per_start_of_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    check = checks._damaged_blocks

    def count(*given: Any) -> int:
        checked.append(checks._start())
        return check(*given)

    monkeypatch.setattr(checks, "_damaged_blocks", count)
    for start in ("builder's", "builder's", "two", "two", "builder's", "three"):
        monkeypatch.setattr(checks, "_start", lambda start=start: start)
        open_store(Arrays(IMAGES), size=8, cache=tmp_path)
    assert checked == ["two", "three"], "the builder knows what it wrote"


def test_a_store_that_was_written_to_since_is_checked_again(tmp_path: Path) -> None:
    lines: list[str] = []
    expected = np.array(open_store(Arrays(IMAGES), size=8, cache=tmp_path).images)
    file = only_store(tmp_path) / "images.bin"
    file.write_bytes(bytes(len(file.read_bytes())))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    store = open_store(Arrays(IMAGES), size=8, cache=tmp_path, report=lines.append)
    assert (store.images == expected).all()
    assert "4 of 4 blocks" in lines[0]


def test_what_the_builder_wrote_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    fsync, rename = os.fsync, Path.rename

    def remember(number: int) -> None:
        synced.add(Path(f"/proc/self/fd/{number}").readlink().name)
        fsync(number)

    def require_synced(path: Path, target: Path) -> Path:
        assert {"images.bin", "index.json", path.name} <= synced
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", remember)
    monkeypatch.setattr(Path, "rename", require_synced)
    open_store(Arrays(IMAGES), size=8, cache=tmp_path)
    assert "stores" in synced


def test_the_second_of_two_builders_takes_over_the_first_ones_store(tmp_path: Path) -> None:
    inner: list[np.ndarray] = []

    def build_too(done: int, total: int) -> None:
        if not inner:
            inner.append(open_store(Arrays(IMAGES), size=8, cache=tmp_path).images)

    outer = open_store(Arrays(IMAGES), size=8, cache=tmp_path, progress=build_too)
    assert isinstance(inner[0], np.memmap)
    inode = only_store(tmp_path).joinpath("images.bin").stat().st_ino
    assert (outer.images == inner[0]).all()
    assert os.stat(inner[0].filename).st_ino == inode  # noqa: PTH116 - the first one's file still stands there


def build_beside_another(cache: Path, me: Path, other: Path) -> None:
    def meet(done: int, total: int) -> None:
        """Both are in the middle of building before either may finish."""
        me.touch()
        while not other.exists():
            time.sleep(0.01)

    store = open_store(Arrays(IMAGES), size=8, cache=cache, progress=meet)
    Path(f"{me}.bin").write_bytes(store.images.tobytes())


@pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning"
)  # a fresh interpreter would take seconds to import torch
def test_two_processes_that_build_at_once_read_the_same_bytes(tmp_path: Path) -> None:
    cache, marks = tmp_path / "cache", (tmp_path / "one", tmp_path / "two")
    context = multiprocessing.get_context("fork")
    builders = [
        context.Process(target=build_beside_another, args=(cache, *pair))
        for pair in (marks, marks[::-1])
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(timeout=60)
    assert [builder.exitcode for builder in builders] == [0, 0]
    expected = open_store(Arrays(IMAGES), size=8, cache=tmp_path / "alone").images.tobytes()
    assert [Path(f"{mark}.bin").read_bytes() == expected for mark in marks] == [True, True]
    only_store(cache)


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (10_000, hard)
    )  # files may not grow beyond: a real failing write
    try:
        with pytest.raises(
            StorageError,
            match=r"cannot keep decoded images in .*; free some space.*data.store=never",
        ):
            open_store(Arrays(IMAGES), size=8, cache=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "stores").iterdir()) == []


def test_a_disk_too_small_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    monkeypatch.setattr(module, "_build", lambda *_, **__: pytest.fail("began to build"))
    with pytest.raises(StorageError, match=r"they need 0\.0 GB and 0\.0 GB are free"):
        open_store(Arrays(IMAGES), size=8, cache=tmp_path)


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot keep decoded images in .*file"):
        open_store(Arrays(IMAGES), size=8, cache=tmp_path / "file")


class Interrupted(Source):
    """A source whose reading is interrupted by the user."""

    def __len__(self) -> int:
        return 3

    def key(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> bytes:
        raise KeyboardInterrupt

    def fingerprint(self) -> str:
        return "interrupted"


def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        open_store(Interrupted(), size=8, cache=tmp_path)
    assert list((tmp_path / "stores").iterdir()) == []


def die_while_building(cache: Path) -> None:
    open_store(Arrays(IMAGES), size=8, cache=cache, progress=lambda *_: os._exit(9))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_part_of_a_dead_builder_makes_room_at_once_and_that_of_a_live_one_stays(
    tmp_path: Path,
) -> None:
    builder = multiprocessing.get_context("fork").Process(
        target=die_while_building, args=(tmp_path,)
    )
    builder.start()
    builder.join(timeout=60)
    (dead,) = (tmp_path / "stores").iterdir()
    with new_folder(tmp_path / "stores" / "live") as live:
        assert not dead.exists()
        open_store(Arrays(IMAGES), size=8, cache=tmp_path)
        assert live.exists()
    only_store(tmp_path)


@pytest.mark.parametrize(
    ("variables", "setting", "expected"),
    [
        ({"SPARRING_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/d", "/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/d", "/d"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, None, "/b/sparring"),
        ({"HOME": "/c"}, None, "/c/.cache/sparring"),
    ],
)
def test_the_cache_is_where_the_variable_then_the_setting_then_the_custom_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], setting: str | None, expected: str
) -> None:
    for name in ("SPARRING_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder(setting) == Path(expected)
