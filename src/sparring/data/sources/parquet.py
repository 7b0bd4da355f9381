"""Images in parquet files.

The image column is a struct of {bytes, path}, as Hugging Face writes it, or binary.

pyarrow is an optional dependency, imported on first use.
"""

import errno
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sparring.data.classes import (
    Labels,
    complete_names,
    joined,
    numbered,
)
from sparring.data.names import shown
from sparring.data.sources.image_source import MOST_IMAGE_BYTES, Source, stamp
from sparring.data.sources.label_column import column_labels
from sparring.data.sources.row_groups import (
    HELD_BATCHES,
    StreamedGroup,
    column_bytes,
    damage_told,
)
from sparring.errors import DataError
from sparring.regular_files import read_once, require_regular

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    _Group: TypeAlias = tuple[pa.ChunkedArray[Any], pa.ChunkedArray[Any] | None]
    """Bytes and paths of a row group."""

HELD_BYTES = 2**30
"""Bytes of encoded images kept in memory: a small file whole, of a large one the row groups read
last."""
MOST_GROUP_BYTES = 2**30
"""Bytes of the images of a row group from which on it is read in batches."""


class Parquet(Source):
    """Rows of one or more parquet files with the same columns.

    Args:
        root: folder of the files.
        names: paths relative to it.
        tables: the opened files.
        column: column that holds the images.

    Attributes:
        names: paths of the files.
    """

    def __init__(
        self, root: Path, names: Sequence[str], tables: Sequence["pq.ParquetFile"], *, column: str
    ) -> None:
        self._root, self.names, self._tables, self._column = root, names, tables, column
        self._groups = [
            (t, g) for t, table in enumerate(tables) for g in range(table.metadata.num_row_groups)
        ]
        sizes = [tables[t].metadata.row_group(g).num_rows for t, g in self._groups]
        self._group_starts = np.array([0, *accumulate(sizes)])
        self._file_starts = np.array([0, *accumulate(table.metadata.num_rows for table in tables)])
        self._group_bytes = [column_bytes(tables[t], g, column) for t, g in self._groups]
        self._stream: tuple[int, StreamedGroup] | None = None
        self._held: OrderedDict[int, _Group] = OrderedDict()
        self._lock = Lock()
        self._labels: Labels | None = None
        self._find_labels()
        if num_large := sum(size > MOST_GROUP_BYTES for size in self._group_bytes):
            self.notes += (
                f"{num_large:,} row groups are larger than {MOST_GROUP_BYTES / 2**30:g} GiB and "
                "are read in order, which is slow for a training from files; write smaller ones",
            )

    def __len__(self) -> int:
        return int(self._group_starts[-1])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of rows of each file."""
        return np.diff(self._file_starts)

    def key(self, index: int) -> str:
        file = int(np.searchsorted(self._file_starts, index, side="right")) - 1
        return f"{shown(self.names[file])}#{index - self._file_starts[file]}"

    def read(self, index: int) -> bytes:
        """Encoded image of a row."""
        group = int(np.searchsorted(self._group_starts, index, side="right")) - 1
        contents, paths, row = self._rows(group, index - int(self._group_starts[group]))
        content = contents[row].as_py()
        if content is None and paths is not None and (path := paths[row].as_py()):
            return read_once(self._root / str(path), most_bytes=MOST_IMAGE_BYTES)
        return bytes(content or b"")

    def labels(self) -> Labels | None:
        return self._labels

    def fingerprint(self) -> str:
        """Text that changes with the path, size or modification time of any file."""
        digest = hashlib.blake2b(digest_size=16)
        for name in self.names:
            path = (self._root / name).resolve()
            digest.update(str(path).encode(errors="surrogateescape") + b"\0" + stamp(path) + b"\0")
        digest.update(self._column.encode())
        return digest.hexdigest()

    def _listing(self) -> Iterator[bytes]:
        for name, table in zip(self.names, self._tables, strict=True):
            size = stamp(self._root / name).partition(b"/")[0]
            yield os.fsencode(name) + b"\0" + f"{table.metadata.num_rows}".encode() + b"\0" + size
        yield self._column.encode()

    def _rows(self, group: int, row: int) -> tuple[Any, Any, int]:
        """Bytes and paths of rows of a group, and the place of one row among them."""
        if self._group_bytes[group] <= MOST_GROUP_BYTES:
            return (*self._group(group), row)
        table, number = self._groups[group]
        with self._lock, _reading():
            if self._stream is None or self._stream[0] != group:
                share = MOST_GROUP_BYTES / (2 * HELD_BATCHES * self._group_bytes[group])
                num_rows = int(share * np.diff(self._group_starts)[group])
                self._stream = (
                    group,
                    StreamedGroup(
                        self._root / self.names[table],
                        number,
                        self._column,
                        batch_rows=max(1, num_rows),
                    ),
                )
            first, column = self._stream[1].batch(row)
        return (*_bytes_and_paths(column), row - first)

    def _group(self, group: int) -> "_Group":
        """Bytes and paths of a row group; the groups used last stay in memory."""
        with self._lock:
            if group not in self._held:
                self._held[group] = self._read_group(group)
            self._held.move_to_end(group)
            while (
                len(self._held) > 1
                and sum(contents.nbytes for contents, _ in self._held.values()) > HELD_BYTES
            ):
                self._held.popitem(last=False)
            return self._held[group]

    def _read_group(self, group: int) -> "_Group":
        table, number = self._groups[group]
        with _reading():
            found = self._tables[table].read_row_group(number, columns=[self._column])
        return _bytes_and_paths(found[self._column])

    def numbers(self, column: str) -> tuple[Labels | None, tuple[str, ...] | None]:
        """A column of whole numbers or names as numbers, and the names of the numbers if known.

        The files are matched by name: each may have its own names, in its own order. Both are None
        without such a column.

        Raises:
            DataError: for a column of another type, with fractions, or with names in one file and
                numbers in another.
        """
        if not any(column in table.schema_arrow.names for table in self._tables):
            return None, None
        places = [f"{shown(name)}, column '{column}'," for name in self.names]
        values = [_column(t, column, place) for t, place in zip(self._tables, places, strict=True)]
        spoken = [_names_of(table.schema_arrow, column) for table in self._tables]
        if len(set(spoken)) == 1:
            where = places[0] if len(places) == 1 else f"the parquet files, column '{column}',"
            labels, names = numbered((value for part in values for value in part), where=where)
            return labels, names or complete_names(labels, spoken[0])
        parts = []
        for part, place, given in zip(values, places, spoken, strict=True):
            labels, names = numbered(part, where=place)
            parts.append((labels, names or complete_names(labels, given)))
        return joined(parts, where=[place.removesuffix(",") for place in places])

    def _find_labels(self) -> None:
        """Take the labels from the first column that may hold them, or say why there are none."""
        columns = dict.fromkeys(n for table in self._tables for n in _plain_columns(table))
        found = column_labels((name for name in columns if name != self._column), self.numbers)
        self._labels, self.class_names = found.labels, found.class_names
        self.labels_missing, self.notes = found.missing, found.notes


@contextmanager
def _reading() -> Iterator[None]:
    """Errors of pyarrow as errors of the system, a damaged group among them."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        number = getattr(error, "errno", None) or errno.EBADMSG
        raise OSError(number, f"damaged row group: {str(error).splitlines()[0]}") from None


def _bytes_and_paths(column: Any) -> "_Group":
    """Bytes and paths of a column of images; no paths if it has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_struct(column.type):
        return column, None
    has_path = column.type.get_field_index("path") >= 0
    return pc.struct_field(column, "bytes"), pc.struct_field(column, "path") if has_path else None


def open_parquet(root: Path, names: Sequence[str]) -> Parquet:
    """Source of parquet files with the same columns.

    Args:
        root: folder of the files.
        names: paths relative to it.

    Raises:
        DataError: without pyarrow, or for a file that is damaged, empty or without an image column.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(
            f"{root / names[0]}: parquet needs pyarrow; pip install 'sparring[parquet]'"
        ) from None
    tables = []
    for name in names:
        with damage_told(root / name):
            require_regular(root / name)
            tables.append(pq.ParquetFile(root / name))
    with damage_told(root):
        columns = {_image_column(root / n, table) for n, table in zip(names, tables, strict=True)}
    if len(columns) > 1:
        raise DataError(
            f"the parquet files in {root} name their images differently: "
            f"{', '.join(sorted(columns))}"
        )
    if not sum(table.metadata.num_rows for table in tables):
        raise DataError(f"{root / names[0]} has no rows; give a parquet file with images")
    with damage_told(root):
        return Parquet(root, names, tables, column=columns.pop())


def _image_column(path: Path, table: "pq.ParquetFile") -> str:
    """Name of the image column: `image` if it has a fitting type, otherwise the first that has."""
    schema = table.schema_arrow
    fitting = [field.name for field in schema if _holds_files(field.type)]
    if not fitting:
        raise DataError(
            f"{path} has the columns {', '.join(schema.names)}; one must hold images, as "
            f"binary or struct {{bytes, path}}"
        )
    return "image" if "image" in fitting else fitting[0]


def _holds_files(type_: "pa.DataType") -> bool:
    import pyarrow as pa

    is_struct = pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0
    return is_struct or pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


def _plain_columns(table: "pq.ParquetFile") -> list[str]:
    """Columns that hold no files, such as images and masks."""
    return [field.name for field in table.schema_arrow if not _holds_files(field.type)]


def _column(table: "pq.ParquetFile", column: str, place: str) -> list[Any]:
    """Values of a column; None for each row if the file lacks it.

    Raises:
        DataError: if it holds lists, structs, times or anything else that is no label.
    """
    import pyarrow as pa

    schema, is_ = table.schema_arrow, pa.types
    if column not in schema.names:
        return [None] * table.metadata.num_rows
    type_ = schema.field(column).type
    values = type_.value_type if is_.is_dictionary(type_) else type_
    accepted = (
        *(is_.is_integer, is_.is_floating, is_.is_boolean, is_.is_decimal, is_.is_null),
        *(is_.is_string, is_.is_large_string, is_.is_string_view),
    )
    if not any(accepts(values) for accepts in accepted):
        raise DataError(
            f"{place} is of the type {type_}; a column of labels holds one whole number or name "
            "per row"
        )
    with damage_told(place.removesuffix(",")):
        found: list[Any] = table.read(columns=[column])[column].to_pylist()
    return found


def _names_of(schema: "pa.Schema", column: str) -> tuple[str, ...] | None:
    """Names of a column's numbers in the Hugging Face metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
        return tuple(map(str, names)) if isinstance(names, list) else None
    except (KeyError, TypeError, ValueError):
        return None
