"""Indexes of shards, kept in the cache folder, and made again for shards that have changed.

Many shards are indexed by several processes at once: understanding headers keeps Python busy, so
threads would wait for each other.
"""

import hashlib
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TypeAlias

from sparring.data.sources.shard_index import ShardIndex, shard_index
from sparring.data.store import ProgressCallback
from sparring.errors import DataError, StorageError
from sparring.files import write_atomically
from sparring.regular_files import read_bytes, tried_again

VERSION = 1
"""Version of the indexes; increase it whenever the same shard gives another one."""
FEW_SAMPLES = 20_000
"""Samples, estimated from the first shard, up to which no further processes are started."""
WORKER = "sparring.data.sources.shard_worker"

_Stamps: TypeAlias = dict[Path, tuple[int, int]]


def indexed(
    paths: Sequence[Path], *, cache: Path, workers: int, progress: ProgressCallback | None = None
) -> list[ShardIndex]:
    """Index of each shard, from the cache where the shard has not changed since.

    Args:
        paths: of the shards, absolute.
        cache: folder of all caches; one that cannot be written is done without.
        workers: number of processes.
        progress: called after each shard that is indexed.

    Raises:
        DataError: if a shard cannot be read.
    """
    text = "\0".join([str(VERSION), *map(str, paths)])
    digest = hashlib.blake2b(os.fsencode(text), digest_size=16)
    place = cache / "shards" / f"{digest.hexdigest()}.index"
    kept = dict(zip(paths, _kept(place), strict=False))
    found = {path: index for path, index in kept.items() if index.stamp == _stamp(path)}
    missing = [path for path in paths if path not in found]
    for path, index in _made(missing, workers):
        found[path] = index
        if progress is not None:
            progress(len(paths) - len(missing) + len(found), len(paths))
    indexes = [found[path] for path in paths]
    if missing:
        with suppress(StorageError):  # a cache is a convenience
            _keep(place, indexes)
    return indexes


def _stamp(path: Path) -> tuple[int, int]:
    """Size and modification time of a shard."""
    try:
        state = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return state.st_size, state.st_mtime_ns


def _kept(place: Path) -> Iterator[ShardIndex]:
    """Indexes in a file; none if there is no such file or it is damaged."""
    try:
        content = memoryview(read_bytes(place))
        if zlib.crc32(content[4:]) != int.from_bytes(content[:4], "little"):
            return
        content = content[4:]
        while content:
            index, content = ShardIndex.unpacked(content)
            yield index
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return


def _keep(place: Path, indexes: Sequence[ShardIndex]) -> None:
    content = b"".join(index.packed() for index in indexes)
    write_atomically(place, zlib.crc32(content).to_bytes(4, "little") + content)


def _made(paths: Sequence[Path], workers: int) -> Iterator[tuple[Path, ShardIndex]]:
    """Each shard with its index, in any order."""
    for number, path in enumerate(paths):
        yield path, (index := _index(path))
        rest = paths[number + 1 :]
        if workers > 1 and len(rest) > 1 and len(index) * len(rest) > FEW_SAMPLES:
            yield from _made_by_several(rest, min(workers, len(rest)))
            return


def _made_by_several(paths: Sequence[Path], workers: int) -> Iterator[tuple[Path, ShardIndex]]:
    with _processes(workers) as idle, ThreadPoolExecutor(workers, "sparring-shards") as pool:

        def ask(path: Path) -> ShardIndex:
            """Index of a shard by a process that has nothing else to do."""
            process = idle.get()
            try:
                return _answer(process, path)
            except (OSError, ValueError):  # it has ended, or cannot read the shard
                return _index(path)
            finally:
                idle.put(process)

        asked = {pool.submit(ask, path): path for path in paths}
        try:
            for future in as_completed(asked):
                yield asked[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _processes(number: int) -> "Iterator[SimpleQueue[subprocess.Popen[bytes]]]":
    """Processes that index shards, in a queue; they are killed at the end."""
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(number):
            started.append(
                subprocess.Popen(
                    # -P: nothing is imported from the working folder, which may hold anything.
                    [sys.executable, "-P", "-m", WORKER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
            )
            idle.put(started[-1])
        yield idle
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _answer(process: "subprocess.Popen[bytes]", path: Path) -> ShardIndex:
    """A process's index of a shard.

    Raises:
        OSError, ValueError: if it gives none.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(os.fsencode(path) + b"\0")
    process.stdin.flush()
    length = int.from_bytes(process.stdout.read(8), "little")
    return ShardIndex.unpacked(memoryview(process.stdout.read(length)))[0]


def _index(path: Path) -> ShardIndex:
    try:
        return tried_again(lambda: shard_index(path))
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot read {path}: {error.strerror or error}")
