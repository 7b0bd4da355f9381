"""What is not a regular file is refused at once, wherever a path leads to it; passing faults are
waited for."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparring import regular_files
from sparring.config import read_toml
from sparring.data.dataset import DataSettings, open_dataset
from sparring.data.decode import UnreadableImageError, load
from sparring.data.sources.coco_entries import read_entries
from sparring.data.sources.lists import open_list
from sparring.data.sources.source import open_source
from sparring.errors import CheckpointError, ConfigError, DataError, RunError
from sparring.regular_files import read_bytes, require_regular, tried_again
from sparring.training.checkpoint import read_checkpoint
from sparring.training.run_folder import RunFolder


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(path.parent)  # names of sockets are short
        one.bind(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


KINDS = [pipe, bound_socket, device, link_to_itself, huge]
Make = Callable[[Path], None]


@pytest.fixture(params=KINDS, ids=lambda make: str(make.__name__))
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    """Makes a path that must not be read."""
    monkeypatch.chdir(tmp_path)
    found: Make = request.param
    return found


def image(path: Path) -> None:
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(path)


def test_a_folder_leaves_them_out_and_tells_why(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "odd.png")
    image(tmp_path / "good.png")
    settings = DataSettings(store="never")
    dataset = open_dataset(tmp_path, settings, image_size=8)
    assert len(dataset) == 1
    assert [key for key, _ in dataset.quarantine] == ["odd.png"]
    assert dataset.content_fingerprint


def test_a_list_of_images_leaves_them_out_and_tells_why(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "odd")
    image(tmp_path / "good.png")
    (tmp_path / "list.txt").write_text("odd\ngood.png\n")
    source = open_list(tmp_path / "list.txt")
    with pytest.raises(UnreadableImageError):
        load(source.read, 0)
    assert load(source.read, 1).shape == (3, 8, 8)


def test_a_path_in_a_parquet_file_leads_to_an_unreadable_image(make: Make, tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    make(tmp_path / "odd")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": "odd"}], kind)
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet")
    with pytest.raises(UnreadableImageError):
        load(open_source(tmp_path / "a.parquet").read, 0)


@pytest.mark.parametrize("name", ["odd.txt", "odd.csv", "odd.parquet"])
def test_as_the_data_they_are_refused(make: Make, name: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError):
        open_source(tmp_path / name)


def test_as_recipes_annotations_and_checkpoints_they_are_refused(
    make: Make, tmp_path: Path
) -> None:
    make(tmp_path / "odd")
    with pytest.raises(ConfigError):
        read_toml(tmp_path / "odd")
    with pytest.raises(DataError):
        read_entries(tmp_path / "odd")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "odd")


def test_the_reason_names_the_kind(tmp_path: Path) -> None:
    pipe(tmp_path / "a")
    with pytest.raises(OSError, match="a named pipe, not a regular file"):
        require_regular(tmp_path / "a")
    with pytest.raises(OSError, match="a device, not a regular file"):
        require_regular("/dev/zero")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_what_can_be_no_name_is_an_error_of_the_system(name: str) -> None:
    with pytest.raises(OSError, match="not a name that a file can have"):
        read_bytes(name)


@pytest.mark.parametrize("number", sorted(regular_files.PASSING))
def test_a_passing_fault_is_waited_for(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regular_files, "PAUSES_SECONDS", (0.0, 0.0))
    faults = [number, number]

    def read() -> bytes:
        if faults:
            raise OSError(faults.pop(), "passing")
        return b"content"

    assert tried_again(read) == b"content"
    faults += [number] * 3
    with pytest.raises(OSError, match="passing"):
        tried_again(read)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR])
def test_other_errors_are_final(number: int) -> None:
    calls = []

    def read() -> bytes:
        calls.append(1)
        raise OSError(number, "final")

    with pytest.raises(OSError, match="final"):
        tried_again(read)
    assert len(calls) == 1


def test_an_image_that_fails_once_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regular_files, "PAUSES_SECONDS", (0.0,))
    image(tmp_path / "a.png")
    source, faults = open_source(tmp_path), [errno.ESTALE]

    def read(index: int) -> object:
        if faults:
            raise OSError(faults.pop(), "Stale file handle")
        return source.read(index)

    assert load(read, 0).shape == (3, 8, 8)  # type: ignore[arg-type]


def test_a_missing_path_names_the_nearest_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "photos" / "summer").mkdir(parents=True)
    near = f"did you mean '{tmp_path / 'photos'}'"
    for name in ("photo", "photo/summer"):
        with pytest.raises(DataError, match=near):
            open_source(tmp_path / name)
    with pytest.raises(RunError, match=near):
        RunFolder(tmp_path / "photso").require()
    with pytest.raises(DataError) as raised:
        open_source(tmp_path / "elsewhere")
    assert "did you mean" not in str(raised.value)
