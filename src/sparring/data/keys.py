"""Keys of images, by which a user recognises them."""

from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from sparring.data.sources.source import Source


class Keys(Sequence[str]):
    """Keys of some rows of a source, each made on access.

    Args:
        source: source of the keys.
        rows: rows to include; None: all.
    """

    def __init__(self, source: Source, rows: npt.NDArray[np.int64] | None = None) -> None:
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        return len(self._source) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return self._source.key(row if self._rows is None else int(self._rows[row]))
