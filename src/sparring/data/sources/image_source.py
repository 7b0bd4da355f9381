"""Interface of every source of images, and helpers that the sources share.

Nothing here looks at pixels.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparring.data.classes import Labels
from sparring.data.decode import Content
from sparring.errors import DataError
from sparring.regular_files import tried_again

__all__ = ["Labels", "Relabelled", "Source", "Subset", "Wrapped", "stamp"]

EXCERPT_BYTES = 1024
"""Bytes from the middle of a file that tell it from another one of the same size."""
MOST_IMAGE_BYTES = 2**30
"""Largest encoded image that is read."""
READ_IMAGES = 64
"""Images of which `content_fingerprint` reads the bytes, spread over the source."""


class UnreadableItemError(DataError):
    """An annotated image cannot be read; protocols leave it out and tell so."""


class Source(ABC):
    """Images by index, as stored.

    Attributes:
        class_names: name of each label, if the source has any; sources that read their labels on
            demand know it after `labels`.
        notes: what a user should read about how the data were understood, a line each.
        labels_missing: reason why `labels` gives none; empty if it gives some.
        part: which part of a set this is, one of `sparring.data.sources.parts.PARTS`; empty if the
            set has no parts or the source holds all of them.
        is_costly: whether the fingerprint, and perhaps the labels, take a read of every image.
        is_random: whether two reads of an image may differ.
        most_decoded: number of images up to which `data.store=auto` decodes all of them before the
            first step; None: any number.
    """

    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    labels_missing: str = ""
    part: str = ""
    is_costly: bool = False
    is_random: bool = False
    most_decoded: int | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def key(self, index: int) -> str:
        """Name that a user recognises the image by: a path, or `cifar.parquet#12`."""

    def identity(self, index: int) -> str:
        """Text that is equal for two entries of one stored image, such as a file and a link to it;
        the key where no other is known."""
        return self.key(index)

    @abstractmethod
    def read(self, index: int) -> Content:
        """Bytes of the encoded file, or values of shape (height, width[, channels]). Thread-safe.

        Raises:
            OSError: if the file is missing or not readable.
        """

    def excerpt(self, index: int) -> bytes:
        """A few bytes that tell most images apart: equal images have equal excerpts.

        Raises:
            OSError: if the file is missing or not readable.
        """
        content = as_bytes(self.read(index))
        start = len(content) // 2
        return b"%d/" % len(content) + content[start : start + EXCERPT_BYTES]

    @abstractmethod
    def fingerprint(self) -> str:
        """Text that changes whenever an image is added, removed or changed."""

    def content_fingerprint(self) -> str:
        """Text that is equal for equal images wherever they lie, and whenever they were copied.

        It changes with the name and size of any image, and with the bytes of `READ_IMAGES` of them.
        """
        digest = hashlib.blake2b(f"{len(self)}".encode(), digest_size=16)
        for part in self._listing():
            digest.update(part + b"\0")
        for row in np.linspace(0, len(self) - 1, min(len(self), READ_IMAGES)).astype(int).tolist():
            digest.update(_bytes_of(self, row))
        return digest.hexdigest()

    def _listing(self) -> Iterator[bytes]:
        """What tells the images apart without reading them; not where they lie."""
        for row in range(len(self)):
            yield os.fsencode(self.key(row))

    def labels(self) -> Labels | None:
        """Class of each image, -1 where unknown; None without labels.

        Only evaluation may call this.
        """
        return None

    def labels_of(self, rows: npt.NDArray[np.int64]) -> Labels | None:
        """Classes of the images at these indices, -1 where unknown; None without labels. Equal
        classes have equal numbers within a call, which need not be those of `labels`.

        Only evaluation and monitoring may call this.
        """
        labels = self.labels()
        return None if labels is None else labels[rows]


class Wrapped(Source):
    """Another source, of which a subclass changes some answers.

    Args:
        source: the other source.
    """

    def __init__(self, source: Source) -> None:
        self.class_names, self.notes, self._source = source.class_names, source.notes, source
        self.labels_missing, self.part = source.labels_missing, source.part
        self.is_costly, self.is_random = source.is_costly, source.is_random
        self.most_decoded = source.most_decoded

    def __len__(self) -> int:
        return len(self._source)

    def key(self, index: int) -> str:
        return self._source.key(index)

    def identity(self, index: int) -> str:
        return self._source.identity(index)

    def read(self, index: int) -> Content:
        return self._source.read(index)

    def excerpt(self, index: int) -> bytes:
        return self._source.excerpt(index)

    def labels(self) -> Labels | None:
        """Labels of the other source, which may find the names of its classes with them."""
        labels = self._source.labels()
        self.class_names = self.class_names or self._source.class_names
        self.labels_missing = self.labels_missing or self._source.labels_missing
        return labels

    def fingerprint(self) -> str:
        return self._source.fingerprint()

    def content_fingerprint(self) -> str:
        return self._source.content_fingerprint()


class Subset(Wrapped):
    """Chosen images of another source.

    Args:
        source: the other source.
        rows: indices into it.
    """

    def __init__(self, source: Source, rows: npt.NDArray[np.int64]) -> None:
        super().__init__(source)
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, index: int) -> str:
        return self._source.key(int(self._rows[index]))

    def identity(self, index: int) -> str:
        return self._source.identity(int(self._rows[index]))

    def read(self, index: int) -> Content:
        return self._source.read(int(self._rows[index]))

    def excerpt(self, index: int) -> bytes:
        return self._source.excerpt(int(self._rows[index]))

    def labels(self) -> Labels | None:
        labels = super().labels()
        return None if labels is None else labels[self._rows]

    def labels_of(self, rows: npt.NDArray[np.int64]) -> Labels | None:
        """Classes of the images at these indices; see `Source`."""
        return self._source.labels_of(self._rows[rows])

    def fingerprint(self) -> str:
        """Text that changes with the other source and with the choice of rows."""
        return f"{self._source.fingerprint()}/{self._rows_fingerprint()}"

    def content_fingerprint(self) -> str:
        return f"{self._source.content_fingerprint()}/{self._rows_fingerprint()}"

    def _rows_fingerprint(self) -> str:
        rows = np.ascontiguousarray(self._rows, np.int64)
        return hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()


class Relabelled(Wrapped):
    """Images of another source with other labels.

    The fingerprint is the same, so they share its store.

    Args:
        images: the other source.
        labels: class of each image, -1 where unknown; None: no labels.
        class_names: name of each label, if known.
        missing: reason why there are no labels.
    """

    def __init__(
        self,
        images: Source,
        labels: Labels | None,
        class_names: tuple[str, ...] | None = None,
        *,
        missing: str = "",
    ) -> None:
        super().__init__(images)
        self.class_names, self._labels, self.labels_missing = class_names, labels, missing

    def labels(self) -> Labels | None:
        return self._labels


def _bytes_of(source: Source, row: int) -> bytes:
    """Encoded file or values of an image; a fixed word if it cannot be read."""
    try:
        return as_bytes(tried_again(lambda: source.read(row)))
    except OSError:
        return b"missing"


def as_bytes(content: Content) -> bytes:
    """Encoded file, or the values of an image in their order."""
    return content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes()


def stamp(path: str | Path) -> bytes:
    """Size and modification time of a file, for fingerprints; a fixed word for a missing file."""
    try:
        state = os.stat(path)  # noqa: PTH116 - five times faster than Path, for 100,000 files
    except (OSError, ValueError):  # also for a NUL in the path
        return b"missing"
    return f"{state.st_size}/{state.st_mtime_ns}".encode()
