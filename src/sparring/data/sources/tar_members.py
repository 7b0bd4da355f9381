"""Members of a tar archive by its headers alone: names, places and sizes. Nothing is extracted.

Headers are read without a mapping, since a disk's error under a mapping ends the process. Where
members are small, many headers come with one read; where they are large, only headers are read. The
walk from header to header is all that is done one by one; the rest is done for many at once, which
is several times as fast as `tarfile`.

Formats: ustar, GNU tar with long names and sparse files, and pax (IEEE Std 1003.1-2017, pax,
"ustar Interchange Format" and "pax Extended Header").
"""

import os
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

BLOCK = 512
"""Bytes of a header; contents begin at multiples of it."""
NEAR_BYTES, MANY_BYTES, FEW_BYTES = 16_384, 2**21, 4_096
"""Distance up to which the next headers are read with many others, and what is read then and
otherwise; a header and a small member after it fit the latter."""
AT_ONCE = 4_096
"""Headers that are understood at once."""
MOST_RECORD_BYTES = 2**20
"""Largest extended header that is not taken for damage."""

Member: TypeAlias = tuple[bytes, int, int]
"""A regular file of an archive: its name as written there, place of its first byte, and size."""

_SIZE, _DIGITS, _CHECKSUM, _TYPE = slice(124, 136), slice(124, 135), slice(148, 156), 156
_FILE, _REGULAR, _WITHOUT_CONTENT, _DIRECTORY, _SPARSE = b"0"[0], b"0\x007", b"123456", b"5", b"S"
_EXTENDED, _LONG_NAME, _RECORDS = b"LKxg", b"L"[0], b"x"[0]
_NOTHING = bytes(BLOCK)
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class Ending:
    """What the walk over an archive met besides its members; complete when it ends.

    Attributes:
        damage: why the walk ended early; empty for a whole archive.
        compression: by which the file is compressed instead of being an archive; empty if it is
            not.
        num_special: number of links, devices and the like.
        num_sparse: number of files with holes, which are not read.
    """

    def __init__(self) -> None:
        self.damage = self.compression = ""
        self.num_special = self.num_sparse = 0


class _DamageError(Exception):
    """The archive cannot be read further; says why."""


class _Batch:
    """Headers that are understood together.

    Attributes:
        heads: the headers, some of them put together.
        places: where the content of each begins; 0 for all but regular files.
        names: names that are said elsewhere than in their header, by its number here.
        sizes: sizes that are said elsewhere.
    """

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.places: list[int] = []
        self.names: dict[int, bytes] = {}
        self.sizes: dict[int, int] = {}


def members(number: int, ending: Ending) -> Iterator[Member]:
    """Regular files of an archive in its order, up to its end or to the first damage.

    Args:
        number: descriptor of the archive.
        ending: receives what else was met.

    Raises:
        OSError: if it cannot be read.
    """
    walk = _Walk(number, ending)
    try:
        for batch in walk.batches():
            yield from _understood(batch)
    except _DamageError as damage:
        ending.damage = str(damage)
    try:
        yield from _understood(walk.batch)
    except _DamageError as damage:
        ending.damage = str(damage)


class _Walk:
    """Walk over the headers of an archive, whose checksums are not compared yet.

    Args:
        number: descriptor of the archive.
        ending: receives what else is met.

    Attributes:
        batch: headers that were met and not given yet.
    """

    def __init__(self, number: int, ending: Ending) -> None:
        self.batch = _Batch()
        self._number, self._ending = number, ending
        self._file_bytes = os.fstat(number).st_size
        self._position, self._is_near, self._is_over = 0, True, False
        self._name = self._records = b""

    def batches(self) -> Iterator[_Batch]:
        """Headers in their order, but for the last ones.

        Raises:
            _DamageError: where the next header, or its file, cannot be.
        """
        self._ending.compression = _compression(os.pread(self._number, BLOCK, 0))
        while not self._is_over:
            amount = MANY_BYTES if self._is_near else FEW_BYTES
            window = os.pread(self._number, amount, self._position)
            if not (self._is_near and self._take_plain(window)):
                self._take_any(window)
            if len(self.batch.places) >= AT_ONCE:
                full, self.batch = self.batch, _Batch()
                yield full

    def _take_plain(self, window: bytes) -> bool:
        """Whether a window begins with plain files and pax headers that change nothing, which are
        then taken."""
        starts, end = _chain(window)
        blocks = np.frombuffer(window, np.uint8, len(window) // BLOCK * BLOCK).reshape(-1, BLOCK)
        rows = np.array(starts, np.int64) // BLOCK
        kinds = blocks[rows, _TYPE]
        if len(rows) and kinds[-1] == _RECORDS:  # which belong to the next window
            end, rows, kinds = starts[-1], rows[:-1], kinds[:-1]
        if self._name or self._records or not len(rows):
            return False
        if self._position + end > self._file_bytes:
            return False
        files, records = rows[(kinds == _FILE) | (kinds == 0)], rows[kinds == _RECORDS]
        heads = blocks[files]
        if len(files) + len(records) < len(rows) or (_octal(heads[:, _DIGITS]) < 0).any():
            return False
        most = _octal(blocks[records, _DIGITS]).max(initial=0)
        if most > BLOCK or _is_of_use(blocks[records + 1, :most].tobytes()):
            return False
        self.batch.heads.append(heads.tobytes())
        self.batch.places.extend(((files + 1) * BLOCK + self._position).tolist())
        self._position, self._is_near = self._position + end, end < len(window) + NEAR_BYTES
        return True

    def _take_any(self, window: bytes) -> None:
        """Take the headers of a window one by one."""
        start = self._position
        while self._position - start <= len(window) - BLOCK or self._position == start:
            head = window[self._position - start : self._position - start + BLOCK]
            if len(head) < BLOCK or head == _NOTHING:
                self._require_end()
                self._is_over = True
                return
            size, kind = _number_of(head[_SIZE]), head[_TYPE]
            self._position += BLOCK
            place = self._position
            if kind not in _REGULAR or self._name or self._records:
                content = window[place - start : place - start + size]
                place, size = self._other(head, kind, size, content)
            if self._position + size > self._file_bytes or size < 0:
                raise _DamageError(f"its end within {os.fsdecode(_name_of(head))}")
            self._position += (size + BLOCK - 1) & -BLOCK
            self.batch.heads.append(head)
            self.batch.places.append(place)
        self._is_near = self._position - start < len(window) + NEAR_BYTES

    def _other(self, head: bytes, kind: int, size: int, content: bytes) -> tuple[int, int]:
        """Note down a header that is not that of a plain file: place and size of its content.

        Args:
            head: the header.
            kind: its type.
            size: size of its content, as the header states it.
            content: as much of the content as was read already.
        """
        if kind in _EXTENDED:
            if size > MOST_RECORD_BYTES:
                raise _DamageError(f"a header of {size:,} bytes")
            if len(content) < size:
                content = os.pread(self._number, size, self._position)
            if kind == _RECORDS:
                self._records = content if _is_of_use(content) else b""
            elif kind == _LONG_NAME:
                self._name = content.rstrip(b"\0")
            return 0, size
        row, records = len(self.batch.places), self._records
        if kind in _WITHOUT_CONTENT:
            size = 0
        elif given := _record(records, b"size"):
            size = self.batch.sizes[row] = _number_of(b"%o" % int(given[:18]))
        if name := _record(records, b"path") or self._name:
            self.batch.names[row] = name
        self._name = self._records = b""
        is_sparse = kind in _SPARSE or b"GNU.sparse." in records
        is_regular = kind in _REGULAR and not is_sparse
        self._ending.num_sparse += is_sparse
        self._ending.num_special += not (is_sparse or is_regular or kind in _DIRECTORY)
        return self._position if is_regular else 0, size

    def _require_end(self) -> None:
        """Refuse an archive without a mark at its end, or with content after it."""
        rest = os.pread(self._number, MANY_BYTES, self._position)
        if len(rest) < BLOCK:
            raise _DamageError("no mark at its end, so it may be cut off")
        if rest.strip(b"\0"):
            raise _DamageError("content after its end, as of archives that were put together")


def _understood(batch: _Batch) -> Iterator[Member]:
    """The regular files of headers, up to the first header whose checksum is wrong."""
    if not batch.heads:
        return
    values = np.frombuffer(b"".join(batch.heads), np.uint8).reshape(-1, BLOCK)
    wrong = np.flatnonzero(values.sum(1, dtype=np.int64) != _expected_sums(values))
    damaged = next((row for row in wrong.tolist() if not _has_other_sum(values[row])), None)
    names = np.ascontiguousarray(values[:damaged, :100]).view("S100")[:, 0].tolist()
    sizes = _octal(values[:damaged, _DIGITS])
    for row in np.flatnonzero(sizes < 0).tolist():
        sizes[row] = _number_of(values[row, _SIZE].tobytes())
    for row in np.flatnonzero(values[:damaged, 345] > 0).tolist():
        names[row] = _name_of(values[row].tobytes())
    for row, size in batch.sizes.items():
        sizes[row : row + 1] = size
    for row, name in batch.names.items():
        names[row : row + 1] = [name][: len(names) - row]
    for name, place, size in zip(names, batch.places, sizes.tolist(), strict=False):
        if place:
            yield name.partition(b"\0")[0] if b"\0" in name else name, place, size
    if damaged is not None:
        raise _DamageError("a header whose checksum is wrong")


def _chain(window: bytes) -> tuple[list[int], int]:
    """Places of headers in a window, each where the one before it says, and of the next one."""
    starts, end, last = [], 0, len(window) - BLOCK
    try:
        for _ in range(len(window) // BLOCK):
            if end > last:
                break
            size = int(window[end + 124 : end + 135], 8)
            starts.append(end)
            end += (size + 2 * BLOCK - 1) & -BLOCK
    except ValueError:  # the end, or another form of number
        pass
    return starts, end


def _is_of_use(records: bytes) -> bool:
    """Whether pax headers say anything that matters here."""
    return b"path=" in records or b"size=" in records or b"GNU." in records


def _expected_sums(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Sums of all bytes of headers by their checksums, in which they count themselves as spaces."""
    found = _octal(values[:, 148:154])
    found += values[:, _CHECKSUM].sum(1, dtype=np.int64) - 8 * ord(" ")
    return found


def _octal(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Numbers of octal digits; -1 for other characters."""
    found = digits.astype(np.int64) - ord("0")
    numbers: npt.NDArray[np.int64] = (found * 8 ** np.arange(found.shape[1])[::-1]).sum(1)
    numbers[((found < 0) | (found > 7)).any(1)] = -1
    return numbers


def _has_other_sum(values: npt.NDArray[np.uint8]) -> bool:
    """Whether a header's checksum is right, but written with spaces, or of signed bytes."""
    own = values[_CHECKSUM]
    unsigned = int(values.sum()) - int(own.sum()) + 8 * ord(" ")
    signed = unsigned - 256 * int((values > 127).sum()) + 256 * int((own > 127).sum())
    try:
        return _number_of(own.tobytes()) in (unsigned, signed)
    except _DamageError:
        return False


def _number_of(field: bytes) -> int:
    """Number of a field: octal digits, or binary after a first byte of 128."""
    try:
        if field[0] == 128:
            return int.from_bytes(field[1:], "big")
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        raise _DamageError("a header that is none") from None


def _name_of(head: bytes) -> bytes:
    """Name of a header, with the prefix that ustar puts before long ones."""
    name = head[:100].partition(b"\0")[0]
    if head[257:263] == b"ustar\0" and head[345]:
        return head[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _record(records: bytes, key: bytes) -> bytes:
    """Value of a pax header's key, the last one given; empty without it.

    Raises:
        _DamageError: if the records are not those of a pax header.
    """
    found = b""
    while records.strip(b"\0"):
        digits, _, rest = records.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        if not len(digits) + 3 <= length <= len(records):
            raise _DamageError("an extended header that is none")
        name, _, value = rest[: length - len(digits) - 1].partition(b"=")
        found = value.removesuffix(b"\n") if name == key else found
        records = records[length:]
    return found


def _compression(content: bytes) -> str:
    marks = (name for mark, name in _COMPRESSED.items() if content.startswith(mark))
    return next(marks, "")
