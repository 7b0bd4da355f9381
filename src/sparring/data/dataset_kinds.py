"""Kinds of data sets: images from a store or an array, and images from their files."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Lock
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from sparring.data.batch_memory import taken
from sparring.data.decode import PixelFormat, UnreadableImageError, centre_square, load
from sparring.data.keys import Keys
from sparring.data.pixel_format import RGB
from sparring.data.sources.source import Labels, Source, Subset
from sparring.data.store import Quarantine
from sparring.errors import DataError

Indices: TypeAlias = Int[Tensor, "batch"] | Sequence[int] | npt.NDArray[np.int64]
Rows: TypeAlias = npt.NDArray[np.int64]

MOVED_AT_ONCE = 4096
"""Images that are copied to a device at once, so that the host never holds a second copy of all."""


class Dataset(ABC):
    """Square images by index.

    Attributes:
        size: side of the images in pixels.
        form: channels of the images, and the range of their values.
        is_cropped: whether views are cropped from whole images when a batch is loaded.
    """

    is_cropped: bool = False
    size: int
    form: PixelFormat

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def source(self) -> Source:
        """Images as they are stored, row by row those of the data set."""

    @property
    @abstractmethod
    def keys(self) -> Sequence[str]:
        """Name that a user recognises each image by; made on access."""

    @property
    @abstractmethod
    def labels(self) -> Labels | None:
        """Class of each image, -1 where unknown; None without labels.

        Only evaluation may access it.
        """

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Name of each label, if any; some sources find them with the labels."""
        return self.source.class_names

    @property
    @abstractmethod
    def quarantine(self) -> Quarantine:
        """Key and reason of each image found unreadable so far."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Text that changes whenever an image is added, removed or changed."""

    @property
    @abstractmethod
    def content_fingerprint(self) -> str:
        """Text that is equal for equal images wherever they lie; see `Source`."""

    @abstractmethod
    def images(self, indices: Indices) -> UInt8[Tensor, "batch bands size size"]:
        """Central squares of the images at these indices, at the size of the data set.

        Raises:
            DataError: if one of them cannot be read. An image never stands in for another.
        """

    def readable(self, indices: Indices) -> tuple[UInt8[Tensor, "found bands size size"], Rows]:
        """Central squares of those of the images that can be read, and their indices."""
        return self.images(indices), np.asarray(indices, np.int64)

    @property
    def kept_size(self) -> int:
        """Side in pixels of the images of `batch`, of which views are cropped."""
        return self.size

    def batch(self, indices: Indices) -> UInt8[Tensor, "batch bands kept kept"]:
        """Images of a training batch, as they are kept: of `kept_size`."""
        return self.images(indices)


class _SourceDataset(Dataset):
    """Images of a source, whose fingerprints are those of the whole source, readable or not."""

    _source: Source

    @property
    def fingerprint(self) -> str:
        return self._source.fingerprint()

    @property
    def content_fingerprint(self) -> str:
        return self._source.content_fingerprint()


class StoredDataset(_SourceDataset):
    """Images already decoded: a store, or an array of the right size.

    They are in the host's memory or mapped from a file, until `move_to` puts them on a device.

    Args:
        source: source of keys and labels.
        images: values of shape (images, channels, kept size, kept size).
        form: channels of the images, and the range of their values.
        rows: index of each image in the source; None: all of them, in order.
        quarantine: images of the source that are missing here.
        size: side in pixels of the squares that `images` returns; None: as they are kept.
    """

    def __init__(
        self,
        source: Source,
        images: npt.NDArray[np.uint8],
        *,
        form: PixelFormat = RGB,
        rows: Rows | None = None,
        quarantine: Quarantine = (),
        size: int | None = None,
    ) -> None:
        self.size, self.form = size or images.shape[-1], form
        self._source, self._rows, self._quarantine = source, rows, quarantine
        self._shape, self.num_bytes = images.shape, images.nbytes
        self._images: npt.NDArray[np.uint8] | None = images
        self._resident: UInt8[Tensor, "images bands kept kept"] | None = None

    def __len__(self) -> int:
        return int(self._shape[0])

    @property
    def source(self) -> Source:
        return self._source if self._rows is None else Subset(self._source, self._rows)

    @property
    def keys(self) -> Keys:
        return Keys(self._source, self._rows)

    @property
    def labels(self) -> Labels | None:
        labels = self._source.labels()
        return labels if labels is None or self._rows is None else labels[self._rows]

    @property
    def quarantine(self) -> Quarantine:
        return self._quarantine

    @property
    def kept_size(self) -> int:
        return int(self._shape[-1])

    @property
    def resident(self) -> UInt8[Tensor, "images bands kept kept"] | None:
        """All images on the training device; None unless `move_to` put them there."""
        return self._resident

    def move_to(self, device: torch.device) -> None:
        """Keep the images on a device from now on, and give up the host's copy of them."""
        if self._images is None:
            return
        kept, self._images = self._images, None
        self._resident = torch.empty(self._shape, dtype=torch.uint8, device=device)
        for first in range(0, len(kept), MOVED_AT_ONCE):
            part = np.array(kept[first : first + MOVED_AT_ONCE])  # a mapped file is read-only
            self._resident[first : first + len(part)].copy_(torch.from_numpy(part))

    def images(self, indices: Indices) -> UInt8[Tensor, "batch bands size size"]:
        """Central squares of the images at these indices, on the CPU."""
        kept = self.batch(indices)
        if self.kept_size == self.size or not len(kept):
            return kept[:, :, : self.size, : self.size]
        return torch.stack([centre_square(image, self.size) for image in kept])

    def batch(self, indices: Indices) -> UInt8[Tensor, "batch bands kept kept"]:
        """Images at these indices as they are kept, on the CPU."""
        if self._images is not None:
            return taken(self._images, np.asarray(indices, np.int64))
        assert self._resident is not None
        rows = torch.as_tensor(indices, dtype=torch.int64).to(self._resident.device)
        return self._resident.index_select(0, rows).cpu()


class FileDataset(_SourceDataset):
    """Images decoded from their files on every access.

    For training batches alone, `image` puts the next readable image in the place of an unreadable
    one: batches keep their size, and the place of each image depends on the files alone.

    Args:
        source: images.
        size: side in pixels of the squares that `images` returns.
        workers: decoding threads.
        max_bad_share: share of unreadable images, in [0, 1], above which reading raises.
        form: channels of the images, and the range of their values.
        squares: central squares of all images where they are decoded already, such as a store's,
            (images, channels, size, size); None: `images` decodes them.
        left_out: images that were found unreadable and that the source lacks.
    """

    is_cropped = True

    def __init__(
        self,
        source: Source,
        *,
        size: int,
        workers: int,
        max_bad_share: float,
        form: PixelFormat = RGB,
        squares: npt.NDArray[np.uint8] | None = None,
        left_out: Quarantine = (),
    ) -> None:
        self.size, self.workers = size, workers
        self.form, self._squares, self._left_out = form, squares, left_out
        self._source, self._max_bad_share = source, max_bad_share
        self._bad: dict[int, str] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._source)

    @property
    def source(self) -> Source:
        return self._source

    @property
    def keys(self) -> Keys:
        return Keys(self._source)

    @property
    def labels(self) -> Labels | None:
        """Labels of the source, but -1 for files found unreadable so far."""
        labels = self._source.labels()
        if labels is not None and self._bad:
            labels = labels.copy()
            labels[sorted(self._bad)] = -1
        return labels

    @property
    def quarantine(self) -> Quarantine:
        """Images left out when the set was opened, and files found unreadable since."""
        with self._lock:
            found = tuple((self._source.key(row), self._bad[row]) for row in sorted(self._bad))
        return (*self._left_out, *found)

    def image(self, index: int) -> tuple[UInt8[Tensor, "bands height width"], int]:
        """Whole image and its index; those of the next readable image if this file is unreadable.

        Raises:
            DataError: if too many files are unreadable.
        """
        for candidate in chain(range(index, len(self)), range(index)):
            if (image := self._read(candidate)) is not None:
                return image, candidate
        raise self._too_many_unreadable()

    def images(self, indices: Indices) -> UInt8[Tensor, "batch bands size size"]:
        """Central squares of the images at these indices.

        Raises:
            DataError: if one of them cannot be read.
        """
        found, rows = self.readable(indices)
        if len(rows) < len(indices):
            row = next(row for row in np.asarray(indices).tolist() if row not in rows)
            raise DataError(
                f"{self._source.key(row)} cannot be read ({self._bad[row]}); repair it or remove it"
            )
        return found

    def readable(self, indices: Indices) -> tuple[UInt8[Tensor, "found bands size size"], Rows]:
        """Central squares of those of the images that can be read, and their indices.

        Raises:
            DataError: if too many files are unreadable.
        """
        rows = np.asarray(indices, np.int64)
        if self._squares is not None:
            return taken(self._squares, rows), rows
        with ThreadPoolExecutor(self.workers) as pool:
            squares = list(pool.map(self._square, rows.tolist()))
        found = [square for square in squares if square is not None]
        kept = rows[[square is not None for square in squares]]
        return torch.stack(found) if found else self._none(), kept

    def subset(self, rows: Rows) -> "FileDataset":
        """Data set of the images at these indices, in their order."""
        return FileDataset(
            Subset(self._source, rows),
            size=self.size,
            workers=self.workers,
            max_bad_share=self._max_bad_share,
            form=self.form,
        )

    def _square(self, index: int) -> Tensor | None:
        image = self._read(index)
        return None if image is None else centre_square(image, self.size)

    def _none(self) -> Tensor:
        return torch.empty(0, self.form.channels, self.size, self.size, dtype=torch.uint8)

    def _read(self, index: int) -> Tensor | None:
        """Whole image; None for an unreadable file, which is quarantined."""
        if index in self._bad:
            return None
        try:
            return load(self._source.read, index, self.form)
        except UnreadableImageError as error:
            with self._lock:
                self._bad[index] = str(error)
            if len(self._bad) > self._max_bad_share * len(self):
                raise self._too_many_unreadable() from None
            return None

    def _too_many_unreadable(self) -> DataError:
        return too_many_unreadable(self.quarantine, len(self), self._max_bad_share)


def too_many_unreadable(quarantine: Quarantine, num_images: int, max_bad_share: float) -> DataError:
    """Error of a set of which more images than allowed cannot be read."""
    key, reason = quarantine[0]
    return DataError(
        f"{len(quarantine):,} of {num_images:,} images cannot be read, such as {key} ({reason}); "
        f"at most {max_bad_share:.0%} may be (data.max_bad_share): repair or remove them"
    )
