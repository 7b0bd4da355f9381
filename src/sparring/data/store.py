"""Store of decoded images in one memory-mapped file, from which small images are trained.

A store is a folder named after everything that determines its content (`store_key`), so a changed
file or another size gives another store. It is built next to its final place and then renamed, so a
store that exists is complete; the second of two concurrent builders uses the first one's. What a
disk or a loss of power does to it later is found by checksums (`store_check.py`).
"""

import hashlib
import os
import shutil
import zlib
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
from sparring.data.store_check import (
    IMAGES,
    DamagedStoreError,
    StoreIndex,
    mark_verified,
    read_index,
    require_whole,
    write_index,
)
from sparring.errors import StorageError
from sparring.files import make_folder, new_folder, publish, remove_abandoned

ProgressCallback: TypeAlias = Callable[[int, int], None]
"""Called with the number of images done and the total."""
Report: TypeAlias = Callable[[str], None]
"""Called with a line that a user should read."""
Quarantine: TypeAlias = tuple[tuple[str, str], ...]
"""Key and reason of each image that cannot be read."""

BLOCK = 64
"""Images decoded per task: enough that the overhead of a task is negligible."""


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
    report: Report | None = None,
) -> Store:
    """Store of a source, built on first use, and again if it is damaged.

    Args:
        source: images.
        size: side of the squares in pixels; see `centre_square`.
        form: how the images are read; counts the images with clipped values.
        cache: folder of all stores.
        workers: decoding threads.
        progress: called after every block; not called if the store exists.
        report: called with a line if the store is damaged.

    Raises:
        StorageError: if the disk is full or not writable; nothing is left behind.
    """
    place = cache / "stores" / store_key(source, size, form)
    try:
        if (found := _read(place, source, size, form, workers)) is not None:
            return found
    except DamagedStoreError as error:
        if report is not None:
            report(f"the decoded images in {place} are damaged ({error}); decoding them again")
    try:
        make_folder(place.parent)
        remove_abandoned(place.parent)
        _require_space(place.parent, len(source) * form.channels * size**2)
        _build(place, source, size=size, form=form, workers=workers, progress=progress)
    except OSError as error:
        raise StorageError(
            f"cannot keep decoded images in {cache}: {error.strerror or error}; free some space, "
            "set SPARRING_CACHE to a folder on another disk, or train with data.store=never"
        ) from None
    try:
        if (built := _read(place, source, size, form, workers)) is not None:
            return built
    except DamagedStoreError:
        pass
    raise StorageError(f"the store {place} vanished or was damaged while it was opened; try again")


def decoded_images(
    source: Source,
    *,
    size: int,
    form: PixelFormat = RGB,
    workers: int = 1,
    progress: ProgressCallback | None = None,
) -> Store:
    """Images of a source decoded into memory, as a store that no file holds.

    Args:
        source: images.
        size: side of the squares in pixels; see `centre_square`.
        form: how the images are read; counts the images with clipped values.
        workers: decoding threads.
        progress: called after every block.
    """
    form.clipped.count = 0
    images, found = np.empty((len(source), form.channels, size, size), np.uint8), 0
    bad: list[tuple[int, str]] = []
    for stop, block, unreadable in _decoded_blocks(source, size, form, workers):
        images[found : found + len(block)] = block
        found, bad = found + len(block), bad + unreadable
        if progress is not None:
            progress(stop, len(source))
    rows = np.setdiff1d(np.arange(len(source)), np.array([row for row, _ in bad], np.int64))
    return Store(images[:found], rows, tuple((source.key(row), reason) for row, reason in bad))


def _read(place: Path, source: Source, size: int, form: PixelFormat, workers: int) -> Store | None:
    """Store at this place; None if it does not exist.

    Raises:
        DamagedStoreError: if it is not what was built.
    """
    if not place.exists():
        return None
    index = read_index(place, num_rows=len(source))
    rows = np.setdiff1d(np.arange(len(source)), np.array(list(index.bad), np.int64))
    path, shape = place / IMAGES, (len(rows), form.channels, size, size)
    require_whole(path, index, shape=shape, workers=workers)
    try:
        images = np.memmap(path, np.uint8, mode="r", shape=shape) if len(rows) else None
    except (OSError, ValueError):  # it has just been removed or cut
        raise DamagedStoreError("its images cannot be read") from None
    form.clipped.count = index.clipped
    return Store(
        np.zeros(shape, np.uint8) if images is None else images,
        rows,
        tuple((source.key(row), reason) for row, reason in index.bad.items()),
    )


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
    with new_folder(place) as partial:
        with (partial / IMAGES).open("xb") as file:
            bad, blocks = _write_images(
                file, source, size=size, form=form, workers=workers, progress=progress
            )
        write_index(partial, StoreIndex(dict(bad), form.clipped.count, blocks))
        mark_verified(partial / IMAGES)
        _move(partial, place, is_whole=lambda: _is_whole(place, source, size, form, workers))


def _is_whole(place: Path, source: Source, size: int, form: PixelFormat, workers: int) -> bool:
    try:
        return _read(place, source, size, form, workers) is not None
    except DamagedStoreError:
        return False


def _move(partial: Path, place: Path, *, is_whole: Callable[[], bool]) -> None:
    """Rename into place unless another builder has put a complete store there.

    A damaged one is replaced.
    """
    while True:
        try:
            publish(partial, place)
            return
        except OSError:
            if not place.is_dir():
                raise
        if is_whole():
            return
        with new_folder(place) as bin_, suppress(FileNotFoundError):
            place.rename(bin_ / "damaged")


def _write_images(
    file: BinaryIO,
    source: Source,
    *,
    size: int,
    form: PixelFormat,
    workers: int,
    progress: ProgressCallback | None,
) -> tuple[list[tuple[int, str]], list[tuple[int, int]]]:
    """Append all readable images in order; returns the others with their reasons, and the number of
    images and the checksum of each block.

    Uses plain writes: writing to a mapped file on a full disk kills the process.
    """
    bad: list[tuple[int, str]] = []
    blocks: list[tuple[int, int]] = []
    for stop, images, unreadable in _decoded_blocks(source, size, form, workers):
        file.write(images.data)
        bad += unreadable
        blocks.append((len(images), zlib.crc32(images.data)))
        if progress is not None:
            progress(stop, len(source))
    return bad, blocks


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
