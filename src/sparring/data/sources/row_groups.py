"""Row groups of parquet files that are too large to be held, read batch by batch, and what damaged
files are told as."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

HELD_BATCHES = 4
"""Batches that stay in memory, since threads ask for rows in almost their order."""
_BUFFER_BYTES = 2**20


class StreamedGroup:
    """Rows of a row group, in order: a row that was passed is read again from the beginning.

    Args:
        path: of the file.
        number: of the row group.
        column: name of the column.
        batch_rows: number of rows decoded at a time.
    """

    def __init__(self, path: Path, number: int, column: str, *, batch_rows: int) -> None:
        import pyarrow.parquet as pq

        # With a buffer, the compressed bytes of the group are not read at once either.
        self._file = pq.ParquetFile(path, buffer_size=_BUFFER_BYTES)
        self._number, self._column, self._batch_rows = number, column, batch_rows
        self._restart()

    def batch(self, row: int) -> tuple[int, "pa.Array[Any]"]:
        """First row of the batch that holds a row of the group, and the values of the batch.

        Raises:
            pa.ArrowException: if the group is damaged.
            OSError: if it is damaged or cannot be read.
        """
        if self._held and row < self._held[0][0]:
            self._restart()
        while row >= self._next:
            values = next(self._batches, None)
            if values is None:
                raise OSError("the row group has fewer rows than its file states")
            self._held.append((self._next, values.column(0)))
            self._next += len(values)
        return next((first, column) for first, column in reversed(self._held) if first <= row)

    def _restart(self) -> None:
        self._held: deque[tuple[int, pa.Array[Any]]] = deque(maxlen=HELD_BATCHES)
        self._next = 0
        self._batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            self._batch_rows, row_groups=[self._number], columns=[self._column]
        )


@contextmanager
def damage_told(what: str | Path) -> Iterator[None]:
    """Errors of pyarrow about a damaged file, and of the system, as one line.

    Args:
        what: file, or the part of it that is read.

    Raises:
        DataError: in place of such an error.
    """
    import pyarrow as pa

    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.errno else str(error)
        raise DataError(f"cannot read {what} as parquet: {str(why).splitlines()[0]}") from None


def column_bytes(table: "pq.ParquetFile", number: int, column: str) -> int:
    """Size in memory of a row group's column, as the file states it."""
    group = table.metadata.row_group(number)
    parts = [group.column(place) for place in range(group.num_columns)]
    return sum(
        part.total_uncompressed_size
        for part in parts
        if part.path_in_schema.split(".")[0] == column
    )
