"""Index of a store of decoded images, and the check that its images are those that were built.

The index holds a checksum of each block of images, and one of itself. All blocks are read and
compared once: when a machine opens the store for the first time since it was started, which is when
a loss of power shows, or when the file has been touched since. A small file beside the images names
the machines, each by the identity of its start, for which that has been done. A disk that changes
bytes under a running machine is found at its next start.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from sparring.errors import StorageError
from sparring.files import write_atomically

IMAGES, INDEX, VERIFIED = "images.bin", "index.json", "verified.json"
"""Files of a store."""
PER_TASK = 64
"""Blocks that are checked per task."""
STARTS = 32
"""Starts of machines that are remembered, the latest last."""


class DamagedStoreError(Exception):
    """A store is not what was built; says what is wrong."""


@dataclass(frozen=True)
class StoreIndex:
    """What a store holds.

    Attributes:
        bad: reason of each unreadable image, by its index in the source.
        clipped: number of images with clipped values.
        blocks: number of images and CRC-32 of each block, in order.
    """

    bad: Mapping[int, str]
    clipped: int
    blocks: Sequence[tuple[int, int]]


def write_index(folder: Path, index: StoreIndex) -> None:
    """Write the index of a store, with a checksum of its own.

    Raises:
        StorageError: if it cannot be written.
    """
    content = {
        "bad": list(index.bad.items()),
        "clipped": index.clipped,
        "blocks": list(index.blocks),
    }
    write_atomically(
        folder / INDEX, json.dumps({"content": content, "checksum": _checksum(content)}).encode()
    )


def read_index(folder: Path, *, num_rows: int) -> StoreIndex:
    """Index of a store of a source of so many images.

    Raises:
        DamagedStoreError: if it is missing, is not what was written, or does not fit the source.
    """
    try:
        tree = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        content = tree["content"]
        if tree["checksum"] != _checksum(content):
            raise DamagedStoreError("its index is not what was written")
        bad = {int(row): str(reason) for row, reason in content["bad"]}
        blocks = [(int(number), int(checksum)) for number, checksum in content["blocks"]]
        clipped = int(content["clipped"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DamagedStoreError("its index cannot be read") from None
    if any(not 0 <= row < num_rows for row in bad) or num_rows != len(bad) + sum(
        number for number, _ in blocks
    ):
        raise DamagedStoreError("its index names other images")
    return StoreIndex(bad, clipped, blocks)


def require_whole(path: Path, index: StoreIndex, *, shape: Sequence[int], workers: int) -> None:
    """Check a file of images against the checksums, unless that has been done on this machine since
    it was started.

    Args:
        path: file of the images.
        index: checksums.
        shape: of all images, the images first.
        workers: reading threads.

    Raises:
        DamagedStoreError: if it is missing, cut or changed.
    """
    image_bytes = shape[1] * shape[2] * shape[3]
    try:
        if path.stat().st_size != shape[0] * image_bytes:
            raise DamagedStoreError("its images have another size")
        if _verified(path).get(_start()) == _state(path):
            return
        damaged = _damaged_blocks(path, index, image_bytes, workers)
    except OSError as error:
        raise DamagedStoreError(f"its images cannot be read: {error.strerror}") from None
    if damaged:
        raise DamagedStoreError(
            f"{damaged:,} of {len(index.blocks):,} blocks of images are not what was written"
        )
    mark_verified(path)


def mark_verified(path: Path) -> None:
    """Remember that a file of images was found whole on this machine since its start; where that
    cannot be written, the next opening checks again."""
    known = _verified(path)
    known.pop(_start(), None)
    latest = dict([*known.items(), (_start(), _state(path))][-STARTS:])
    with suppress(StorageError):
        write_atomically(path.with_name(VERIFIED), json.dumps(latest).encode())


def _damaged_blocks(path: Path, index: StoreIndex, image_bytes: int, workers: int) -> int:
    """Number of blocks that are not what was written. Reads without a mapping, since a disk's error
    under a mapping ends the process."""
    starts = [0, *accumulate(number * image_bytes for number, _ in index.blocks)]
    longest = max((number for number, _ in index.blocks), default=0) * image_bytes

    def num_damaged(first: int) -> int:
        """Number of damaged blocks among the `PER_TASK` from the first one on."""
        damaged, buffer = 0, memoryview(bytearray(longest))
        with path.open("rb", buffering=0) as file:
            file.seek(starts[first])
            for number, checksum in index.blocks[first : first + PER_TASK]:
                block = buffer[: number * image_bytes]
                is_whole = file.readinto(block) == len(block)
                damaged += not is_whole or zlib.crc32(block) != checksum
        return damaged

    with ThreadPoolExecutor(workers, "sparring-check") as pool:
        return sum(pool.map(num_damaged, range(0, len(index.blocks), PER_TASK)))


def _verified(path: Path) -> dict[str, Any]:
    """State of the file when it was verified, by the start of a machine."""
    try:
        return dict(json.loads(path.with_name(VERIFIED).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _state(path: Path) -> list[int]:
    """Changes when somebody writes to the file or puts another in its place."""
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


@cache
def _start() -> str:
    """Identity of this machine's start; elsewhere than on Linux, of this process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"process {os.getpid()} {os.urandom(8).hex()}"


def _checksum(content: Any) -> int:
    return zlib.crc32(json.dumps(content).encode())
