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
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sparring.data.classes import numbered
from sparring.data.sources.image_source import Labels, Source, stamp
from sparring.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    _Group: TypeAlias = tuple[pa.ChunkedArray[Any], pa.ChunkedArray[Any] | None]
    """Bytes and paths of a row group."""

HELD_BYTES = 2**30
"""Bytes of encoded images kept in memory: a small file whole, of a large one the row groups read
last."""
LABEL_COLUMN = "label"


class Parquet(Source):
    """Rows of one or more parquet files with the same columns.

    Args:
        root: folder of the files.
        names: paths relative to it.
        tables: the opened files.
        column: column that holds the images.
    """

    def __init__(
        self, root: Path, names: Sequence[str], tables: Sequence["pq.ParquetFile"], *, column: str
    ) -> None:
        self._root, self._names, self._tables, self._column = root, names, tables, column
        self._groups = [
            (t, g) for t, table in enumerate(tables) for g in range(table.metadata.num_row_groups)
        ]
        sizes = [tables[t].metadata.row_group(g).num_rows for t, g in self._groups]
        self._group_starts = np.array([0, *accumulate(sizes)])
        self._file_starts = np.array([0, *accumulate(table.metadata.num_rows for table in tables)])
        self._held: OrderedDict[int, _Group] = OrderedDict()
        self._lock = Lock()
        self._labels, self.class_names = self.numbers(LABEL_COLUMN)

    def __len__(self) -> int:
        return int(self._group_starts[-1])

    def key(self, index: int) -> str:
        file = int(np.searchsorted(self._file_starts, index, side="right")) - 1
        return f"{self._names[file]}#{index - self._file_starts[file]}"

    def read(self, index: int) -> bytes:
        """Encoded image of a row."""
        group = int(np.searchsorted(self._group_starts, index, side="right")) - 1
        contents, paths = self._group(group)
        row = index - int(self._group_starts[group])
        content = contents[row].as_py()
        if content is None and paths is not None and (path := paths[row].as_py()):
            return Path(self._root, str(path)).read_bytes()
        return bytes(content or b"")

    def labels(self) -> Labels | None:
        return self._labels

    def fingerprint(self) -> str:
        """Text that changes with the path, size or modification time of any file."""
        digest = hashlib.blake2b(digest_size=16)
        for name in self._names:
            path = (self._root / name).resolve()
            digest.update(str(path).encode(errors="surrogateescape") + b"\0" + stamp(path) + b"\0")
        digest.update(self._column.encode())
        return digest.hexdigest()

    def _listing(self) -> Iterator[bytes]:
        for name, table in zip(self._names, self._tables, strict=True):
            size = stamp(self._root / name).partition(b"/")[0]
            yield os.fsencode(name) + b"\0" + f"{table.metadata.num_rows}".encode() + b"\0" + size
        yield self._column.encode()

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
        import pyarrow as pa
        import pyarrow.compute as pc

        table, number = self._groups[group]
        try:
            column = self._tables[table].read_row_group(number, columns=[self._column])[
                self._column
            ]
        except (pa.ArrowException, OSError) as error:
            raise OSError(errno.EIO, f"damaged row group: {str(error).splitlines()[0]}") from None
        if not pa.types.is_struct(column.type):
            return column, None
        has_path = column.type.get_field_index("path") >= 0
        return pc.struct_field(column, "bytes"), pc.struct_field(
            column, "path"
        ) if has_path else None

    def numbers(self, column: str) -> tuple[Labels | None, tuple[str, ...] | None]:
        """A column of integers or names as numbers, and the names of the numbers if known.

        Both are None without such a column.
        """
        import pyarrow as pa

        schema = self._tables[0].schema_arrow
        if column not in schema.names:
            return None, None
        type_ = schema.field(column).type
        if not (
            pa.types.is_integer(type_)
            or pa.types.is_string(type_)
            or pa.types.is_large_string(type_)
        ):
            return None, None
        parts = [table.read(columns=[column])[column] for table in self._tables]
        numbers, names = numbered(value for part in parts for value in part.to_pylist())
        return numbers, names or _names_of(schema, column)


def open_parquet(root: Path, names: Sequence[str]) -> Parquet:
    """Source of parquet files with the same columns.

    Args:
        root: folder of the files.
        names: paths relative to it.

    Raises:
        DataError: without pyarrow, or for a file that is damaged, empty or without an image column.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(
            f"{root / names[0]}: parquet needs pyarrow; pip install 'sparring[parquet]'"
        ) from None
    tables = []
    for name in names:
        try:
            tables.append(pq.ParquetFile(root / name))
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"cannot read {root / name} as parquet: {str(error).splitlines()[0]}"
            ) from None
    columns = {_image_column(root / name, table) for name, table in zip(names, tables, strict=True)}
    if len(columns) > 1:
        raise DataError(
            f"the parquet files in {root} name their images differently: "
            f"{', '.join(sorted(columns))}"
        )
    if not sum(table.metadata.num_rows for table in tables):
        raise DataError(f"{root / names[0]} has no rows; give a parquet file with images")
    return Parquet(root, names, tables, column=columns.pop())


def _image_column(path: Path, table: "pq.ParquetFile") -> str:
    """Name of the image column: `image` if it has a fitting type, otherwise the first that has."""
    import pyarrow as pa

    def fits(type_: "pa.DataType") -> bool:
        is_struct = pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0
        return is_struct or pa.types.is_binary(type_) or pa.types.is_large_binary(type_)

    schema = table.schema_arrow
    fitting = [field.name for field in schema if fits(field.type)]
    if not fitting:
        raise DataError(
            f"{path} has the columns {', '.join(schema.names)}; one must hold images, as "
            f"binary or struct {{bytes, path}}"
        )
    return "image" if "image" in fitting else fitting[0]


def _names_of(schema: "pa.Schema", column: str) -> tuple[str, ...] | None:
    """Names of a column's numbers in the Hugging Face metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None
