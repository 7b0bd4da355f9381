"""Store of decoded images in one memory-mapped file, from which small images are trained.

A store is a folder named after everything that determines its content (`store_key`), so a changed
file or another size gives another store. It is built next to its final place and then renamed, so a
store that exists is complete; the second of two concurrent builders uses the first one's.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from sparring.data.decode import (
    DECODE_VERSION,
    PixelFormat,
    UnreadableImageError,
    centre_square,
    load,
)
from sparring.data.pixel_format import RGB
from sparring.data.sources.image_source import Source
from sparring.errors import StorageError

ProgressCallback: TypeAlias = Callable[[int, int], None]
"""Called with the number of images done and the total."""
Quarantine: TypeAlias = tuple[tuple[str, str], ...]
"""Key and reason of each image that cannot be read."""

BLOCK = 64
"""Images decoded per task: enough that the overhead of a task is negligible."""
ABANDONED_SECONDS = 86_400
"""Age from which an unfinished store counts as left by a killed builder."""


@dataclass(frozen=True, eq=False)
class Store:
    """Decoded images of a source.

    Attributes:
        images: readable images, (images, channels, size, size), mapped from disk.
        rows: index of each image in the source.
        quarantine: unreadable images.
    """

    images: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    quarantine: Quarantine


def cache_folder(setting: str | None = None) -> Path:
    """Folder of the stores.

    $SPARRING_CACHE, else the setting, else `sparring` in the user's cache folder.
    """
    if chosen := os.environ.get("SPARRING_CACHE") or setting:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "sparring"


def store_key(source: Source, size: int, form: PixelFormat = RGB) -> str:
    """Name of the store of these images at this size and in this form."""
    text = f"{source.fingerprint()}/{len(source)}/{size}/{DECODE_VERSION}/{form.channels}"
    if form.value_range is not None:
        text += f"/{form.value_range}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def open_store(
    source: Source,
    *,
    size: int,
    form: PixelFormat = RGB,
    cache: Path,
    workers: int = 1,
    progress: ProgressCallback | None = None,
) -> Store:
    """Store of a source, built on first use.

    Args:
        source: images.
        size: side of the squares in pixels; see `centre_square`.
        form: how the images are read; counts the images with clipped values.
        cache: folder of all stores.
        workers: decoding threads.
        progress: called after every block; not called if the store exists.

    Raises:
        StorageError: if the disk is full or not writable; nothing is left behind.
    """
    place = cache / "stores" / store_key(source, size, form)
    found = _read(place, source, size, form)
    if found is not None:
        return found
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place.parent)
        _require_space(place.parent, len(source) * form.channels * size**2)
        _build(place, source, size=size, form=form, workers=workers, progress=progress)
    except OSError as error:
        raise StorageError(
            f"cannot keep decoded images in {cache}: {error.strerror or error}; free some space, "
            "set SPARRING_CACHE to a folder on another disk, or train with data.store=never"
        ) from None
    built = _read(place, source, size, form)
    if built is None:
        raise StorageError(
            f"the store {place} vanished or was damaged while it was opened; try again"
        )
    return built


def _read(place: Path, source: Source, size: int, form: PixelFormat) -> Store | None:
    """Store at this place; None if it does not exist or is damaged."""
    try:
        index = json.loads((place / "index.json").read_text(encoding="utf-8"))
        clipped = int(index["clipped"])
        bad = {int(row): str(reason) for row, reason in index["bad"]}
        rows = np.setdiff1d(np.arange(len(source)), np.array(list(bad), np.int64))
        path, shape = place / "images.bin", (len(rows), form.channels, size, size)
        if path.stat().st_size != np.prod(shape):
            return None
        empty = np.zeros(shape, np.uint8) if not len(rows) else None
        images = np.memmap(path, np.uint8, mode="r", shape=shape) if empty is None else empty
    except (OSError, ValueError, KeyError, TypeError):
        return None
    form.clipped.count = clipped
    return Store(images, rows, tuple((source.key(row), reason) for row, reason in bad.items()))


def _build(
    place: Path,
    source: Source,
    *,
    size: int,
    form: PixelFormat,
    workers: int,
    progress: ProgressCallback | None,
) -> None:
    form.clipped.count = 0
    partial = Path(tempfile.mkdtemp(prefix=f"{place.name}.partial-", dir=place.parent))
    try:
        with (partial / "images.bin").open("wb") as file:
            bad = _write_images(
                file, source, size=size, form=form, workers=workers, progress=progress
            )
        (partial / "index.json").write_text(
            json.dumps({"bad": bad, "clipped": form.clipped.count}), encoding="utf-8"
        )
        _move(partial, place, is_whole=lambda: _read(place, source, size, form) is not None)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move(partial: Path, place: Path, *, is_whole: Callable[[], bool]) -> None:
    """Rename into place unless another builder has put a complete store there.

    A damaged one is replaced.
    """
    while True:
        try:
            partial.rename(place)
            return
        except OSError:
            if not place.is_dir():
                raise
        if is_whole():
            return
        with (
            tempfile.TemporaryDirectory(prefix=f"{place.name}.partial-", dir=place.parent) as bin_,
            suppress(FileNotFoundError),
        ):
            place.rename(Path(bin_, "damaged"))


def _write_images(
    file: BinaryIO,
    source: Source,
    *,
    size: int,
    form: PixelFormat,
    workers: int,
    progress: ProgressCallback | None,
) -> list[tuple[int, str]]:
    """Append all readable images in order.

    Uses plain writes: writing to a mapped file on a full disk kills the process.
    """
    bad: list[tuple[int, str]] = []
    for stop, images, unreadable in _decoded_blocks(source, size, form, workers):
        file.write(images.data)
        bad += unreadable
        if progress is not None:
            progress(stop, len(source))
    return bad


_Block: TypeAlias = tuple[int, npt.NDArray[np.uint8], list[tuple[int, str]]]


def _decoded_blocks(source: Source, size: int, form: PixelFormat, workers: int) -> Iterator[_Block]:
    """Blocks in order, a few of them decoded ahead, so memory is bounded even if the disk is
    slow."""
    with ThreadPoolExecutor(workers, "sparring-store") as pool:
        pending: deque[Future[_Block]] = deque()
        try:
            for start in range(0, len(source), BLOCK):
                rows = range(start, min(start + BLOCK, len(source)))
                pending.append(pool.submit(_decode_block, source, rows, size, form))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _decode_block(source: Source, rows: range, size: int, form: PixelFormat) -> _Block:
    images = np.empty((len(rows), form.channels, size, size), np.uint8)
    bad: list[tuple[int, str]] = []
    for row in rows:
        try:
            images[row - rows.start - len(bad)] = centre_square(
                load(source.read, row, form), size
            ).numpy()
        except UnreadableImageError as error:
            bad.append((row, str(error)))
    return rows.stop, images[: len(rows) - len(bad)], bad


def _require_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise OSError(0, f"they need {num_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB are free")


def _remove_abandoned(folder: Path) -> None:
    for left in folder.glob("*.partial-*"):
        if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
