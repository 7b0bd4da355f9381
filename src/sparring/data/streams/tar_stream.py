"""Streams of tar shards behind a URL, from a command, compressed, or on this machine.

Members are grouped into samples by webdataset's rule: those of one name up to its first dot. Only
the image and the class of a sample are looked at; nothing else in a shard is decoded.

webdataset is an optional dependency, imported on first use.
"""

import hashlib
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from sparring.data.names import shown
from sparring.data.sources.addresses import COMMAND, is_command
from sparring.data.sources.formats import is_image
from sparring.data.sources.image_source import MOST_IMAGE_BYTES
from sparring.data.sources.shard_paths import braced, shard_paths
from sparring.data.streams.stream import Record, Stream
from sparring.errors import DataError
from sparring.regular_files import open_regular

TIMEOUT_SECONDS = 60.0
"""How long a server may be silent."""
LABEL = "cls"
"""Suffix of the member that holds the class of a sample."""


class TarStream(Stream):
    """Images of tar shards.

    Args:
        pattern: path or pattern, see `shard_paths`; or URL, or `pipe:` and a command, in which
            braces stand for several shards, such as `{000..146}`.

    Raises:
        DataError: without webdataset, for no name of a shard, or for a file that is missing.
    """

    def __init__(self, pattern: str) -> None:
        self.name, self._shards = pattern, _expanded(pattern)
        self.num_shards = len(self._shards)
        self._is_local = _is_local(pattern)

    def shard_name(self, shard: int) -> str:
        return self._shards[shard]

    def fingerprint(self) -> str:
        """Text that changes with the names of the shards, and with the sizes of local ones."""
        digest = hashlib.blake2b(digest_size=16)
        for shard in self._shards:
            digest.update(self._identity(shard).encode(errors="surrogateescape") + b"\0")
        return digest.hexdigest()

    def _identity(self, shard: str) -> str:
        """Name of a shard that stays when it is moved to another folder or server."""
        if self._is_local:
            return f"{Path(shard).name} {Path(shard).stat().st_size}"
        return shard if shard.startswith(COMMAND) else Path(urlsplit(shard).path).name

    def _records(self, shard: int) -> Iterator[Record]:
        from webdataset.tariterators import group_by_keys

        row = 0
        with _opened(self._shards[shard]) as file, _damage_told():
            for sample in group_by_keys(_members(file, self._shards[shard])):
                image = _image_suffix(sample)
                if image is None:
                    continue
                key = f"{Path(self.shard_name(shard)).name}/{shown(sample['__key__'])}"
                yield Record(shard, row, key, sample[image], _label(sample))
                row += 1


def _expanded(pattern: str) -> list[str]:
    try:
        import webdataset  # noqa: F401 - for `group_by_keys`
    except ImportError:
        raise DataError(
            f"{pattern}: streamed tar shards need webdataset; pip install 'sparring[shards]'"
        ) from None
    local = _is_local(pattern)
    found = [str(path) for path in shard_paths(pattern)] if local else braced(pattern, pattern)
    # Whoever asks whether a pattern is a command, as for the path of a run folder, sees its start.
    if not is_command(pattern) and any(is_command(shard) for shard in found):
        raise DataError(f"{pattern}: braces make a command of it; write {COMMAND} before them")
    return found


def _is_local(pattern: str) -> bool:
    return "://" not in pattern and not pattern.startswith(COMMAND)


@contextmanager
def _opened(shard: str) -> Iterator[IO[bytes]]:
    """Bytes of a shard in their order.

    Raises:
        OSError: if it cannot be opened, or if its command fails.
    """
    if shard.startswith(COMMAND):
        with _output(shard.removeprefix(COMMAND)) as file:
            yield file
    elif "://" in shard:
        try:
            opened = urlopen(shard, timeout=TIMEOUT_SECONDS)
        except (URLError, ValueError) as error:
            raise OSError(str(getattr(error, "reason", error))) from None
        with opened as file:
            yield file
    else:
        with open_regular(shard) as file:
            yield file


@contextmanager
def _output(command: str) -> Iterator[IO[bytes]]:
    """Output of a command, which ends with it."""
    process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    is_whole = False
    try:
        yield process.stdout
        while process.stdout.read(1 << 20):  # what follows the end of the archive
            pass
        is_whole = True
    except OSError as error:  # a failed command gives a damaged archive
        if not process.stdout.read(1) and (code := process.wait()):
            raise _failed(code) from error
        raise
    finally:
        process.stdout.close()
        if not is_whole:
            process.terminate()
        code = process.wait()
    if code:
        raise _failed(code)


def _failed(code: int) -> OSError:
    return OSError(f"the command ended with exit code {code}")


@contextmanager
def _damage_told() -> Iterator[None]:
    """Errors of damaged archives as errors of the system."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise OSError(f"damaged or interrupted archive: {error}") from None


def _members(file: IO[bytes], shard: str) -> Iterator[dict[str, Any]]:
    """Name and content of each regular member that is not too large."""
    with tarfile.open(fileobj=file, mode="r|*", tarinfo=_CompleteMember) as archive:
        for member in archive:
            if member.isreg() and member.size <= MOST_IMAGE_BYTES and _is_looked_at(member.name):
                extracted = archive.extractfile(member)
                assert extracted is not None
                yield {"fname": member.name, "data": extracted.read(), "__url__": shard}
            archive.members = []  # type: ignore[attr-defined]


class _CompleteMember(tarfile.TarInfo):
    """Header of a member; an archive that breaks off before the mark of its end is damaged.

    `tarfile` takes a header that is cut or damaged for the end of the archive, unless it is the
    first one.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}, before the end of the archive") from None


def _is_looked_at(name: str) -> bool:
    return is_image(name) or name.lower().endswith(f".{LABEL}")


def _image_suffix(sample: dict[str, Any]) -> str | None:
    """Suffix of a sample's image; of several, one without a further dot in it."""
    found = [name for name in sample if not name.startswith("__") and name != LABEL]
    return min(found, key=lambda name: name.count("."), default=None)


def _label(sample: dict[str, Any]) -> object:
    text = sample.get(LABEL)
    return None if text is None else text.decode(errors="replace").strip()
