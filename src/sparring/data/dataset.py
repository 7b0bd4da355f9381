"""Decoded images by index: small images from the store, large ones from their files."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Lock
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, UInt8
from pydantic import Field
from torch import Tensor

from sparring import distributed
from sparring.config import Settings
from sparring.data.batch_memory import empty_images
from sparring.data.decode import UnreadableImageError, centre_square, load
from sparring.data.keys import Keys
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.sampling import suited_size, typical_size
from sparring.data.sources.source import ImageData, Labels, Source, Subset, open_source
from sparring.data.store import ProgressCallback, Quarantine, cache_folder, open_store
from sparring.errors import ConfigError, DataError
from sparring.seeding import generator

__all__ = [
    "DataSettings",
    "Dataset",
    "FileDataset",
    "StoredDataset",
    "open_dataset",
    "suited_size",
    "typical_size",
]

Indices: TypeAlias = Int[Tensor, "batch"] | Sequence[int] | npt.NDArray[np.int64]

SMALL_PIXELS = 96
"""Longer side in pixels up to which images are stored; also up to twice the image size. A random
crop of the stored square loses little there."""
STORE_BYTES = 8 * 2**30
"""Largest store in bytes that `store="auto"` makes."""
MAX_WORKERS = 8


class DataSettings(Settings):
    """Which images to use, and how they are stored."""

    path: str = ""
    """Folder, parquet file or folder, or list; empty if the images are passed in memory."""
    store: Literal["auto", "always", "never"] = "auto"
    """Whether to decode images once into a memory-mapped cache; auto: if the images are small."""
    cache: str | None = None
    """Folder of that cache; None: `sparring` in the user's cache folder. The environment variable
    SPARRING_CACHE overrides both."""
    max_bad_share: float = Field(default=0.5, ge=0, le=1)
    """Share of unreadable images, in [0, 1], above which the run stops."""
    workers: int = Field(default=0, ge=0)
    """Decoding threads; 0: one per core that this process may use, at most 8."""
    limit: int | None = Field(default=None, ge=1)
    """Number of images to use, drawn at random; the same ones in every run. None: all images."""


class Dataset(ABC):
    """Square images by index.

    Attributes:
        size: side of the images in pixels.
        class_names: name of each label, if any.
    """

    size: int
    class_names: tuple[str, ...] | None

    @abstractmethod
    def __len__(self) -> int: ...

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
    def images(self, indices: Indices) -> UInt8[Tensor, "batch 3 size size"]:
        """Central squares of the images at these indices, at the size of the data set."""


class StoredDataset(Dataset):
    """Images already decoded: a store, or an array of the right size.

    Args:
        source: source of keys and labels.
        images: values of shape (images, 3, size, size).
        rows: index of each image in the source; None: all of them, in order.
        quarantine: images of the source that are missing here.
    """

    def __init__(
        self,
        source: Source,
        images: npt.NDArray[np.uint8],
        *,
        rows: npt.NDArray[np.int64] | None = None,
        quarantine: Quarantine = (),
    ) -> None:
        self.size, self.class_names = images.shape[-1], source.class_names
        self._source, self._images, self._rows, self._quarantine = source, images, rows, quarantine

    def __len__(self) -> int:
        return len(self._images)

    @property
    def fingerprint(self) -> str:
        return self._source.fingerprint()

    @property
    def content_fingerprint(self) -> str:
        return self._source.content_fingerprint()

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

    def images(self, indices: Indices) -> UInt8[Tensor, "batch 3 size size"]:
        """Central squares of the images at these indices, from the store."""
        rows = np.asarray(indices, np.int64)
        assert not rows.size or (rows.min() >= 0 and rows.max() < len(self)), (
            "index beyond the data set"
        )
        batch = empty_images(len(rows), self.size)
        # With mode "raise", NumPy would copy twice.
        np.take(self._images, rows, axis=0, out=batch.numpy(), mode="wrap")
        return batch


class FileDataset(Dataset):
    """Images decoded from their files on every access.

    Unreadable files are found during training. The next readable image then takes their place:
    batches keep their size, and the place of each image depends on the files alone.

    Args:
        source: images.
        size: side in pixels of the squares that `images` returns.
        workers: decoding threads.
        max_bad_share: share of unreadable images, in [0, 1], above which `image` raises.
    """

    def __init__(self, source: Source, *, size: int, workers: int, max_bad_share: float) -> None:
        self.size, self.class_names, self.workers = size, source.class_names, workers
        self._source, self._max_bad_share = source, max_bad_share
        self._bad: dict[int, str] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._source)

    @property
    def fingerprint(self) -> str:
        return self._source.fingerprint()

    @property
    def content_fingerprint(self) -> str:
        return self._source.content_fingerprint()

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
        with self._lock:
            return tuple((self._source.key(row), self._bad[row]) for row in sorted(self._bad))

    def image(self, index: int) -> tuple[UInt8[Tensor, "3 height width"], int]:
        """Whole image and its index; those of the next readable image if this file is unreadable.

        Raises:
            DataError: if too many files are unreadable.
        """
        for candidate in chain(range(index, len(self)), range(index)):
            if candidate not in self._bad:
                try:
                    return load(self._source.read, candidate), candidate
                except UnreadableImageError as error:
                    self._quarantine_image(candidate, str(error))
        raise self._too_many_unreadable()

    def images(self, indices: Indices) -> UInt8[Tensor, "batch 3 size size"]:
        """Central squares of the images at these indices, decoded now."""
        with ThreadPoolExecutor(self.workers) as pool:
            squares = pool.map(
                lambda index: centre_square(self.image(index)[0], self.size),
                np.asarray(indices).tolist(),
            )
            return torch.stack(list(squares))

    def subset(self, rows: npt.NDArray[np.int64]) -> "FileDataset":
        """Data set of the images at these indices, in their order."""
        return FileDataset(
            Subset(self._source, rows),
            size=self.size,
            workers=self.workers,
            max_bad_share=self._max_bad_share,
        )

    def _quarantine_image(self, index: int, reason: str) -> None:
        with self._lock:
            self._bad[index] = reason
        if len(self._bad) > self._max_bad_share * len(self):
            raise self._too_many_unreadable()

    def _too_many_unreadable(self) -> DataError:
        return _too_many_unreadable(self.quarantine, len(self), self._max_bad_share)


def open_dataset(
    data: ImageData | Source | None,
    settings: DataSettings,
    *,
    image_size: int,
    progress: ProgressCallback | None = None,
    report: Callable[[str], None] | None = None,
) -> Dataset:
    """Data set of any kind of data, from the store or from files; see `DataSettings.store`.

    Args:
        data: see `open_source`; None: the path in the settings.
        settings: how to store the images.
        image_size: side of the squares in pixels.
        progress: called while the store is built.
        report: called with each line that a user should read about how the data were understood.

    Raises:
        ConfigError: if neither data nor a path is given.
        DataError: if no image, or too small a share, is usable.
        StorageError: if the store cannot be written.
    """
    if data is None and not settings.path:
        raise ConfigError(
            "no data given: set data.path to a folder of images, a parquet file or a list"
        )
    source = open_source(settings.path if data is None else data)
    if report is not None:
        for note in source.notes:
            report(note)
    if settings.limit is not None and settings.limit < len(source):
        order = torch.randperm(len(source), generator=generator(0, "limit"))[: settings.limit]
        source = Subset(source, order.sort().values.numpy())
    if isinstance(source, Arrays) and (squares := source.squares(image_size)) is not None:
        return StoredDataset(source, squares)
    workers = settings.workers or _free_cores()
    typical = typical_size(source)  # also raises at once if no image can be read
    if settings.store == "always" or (
        settings.store == "auto" and suits_store(typical, len(source), image_size)
    ):
        return _stored(source, settings, size=image_size, workers=workers, progress=progress)
    return FileDataset(
        source, size=image_size, workers=workers, max_bad_share=settings.max_bad_share
    )


def _stored(
    source: Source,
    settings: DataSettings,
    *,
    size: int,
    workers: int,
    progress: ProgressCallback | None,
) -> StoredDataset:
    is_builder = distributed.local_rank() == 0
    if not is_builder:
        distributed.barrier()  # the first process of each machine builds the store
    store = open_store(
        source, size=size, cache=cache_folder(settings.cache), workers=workers, progress=progress
    )
    if is_builder:
        distributed.barrier()
    num_bad = len(store.quarantine)
    if num_bad == len(source) or num_bad > settings.max_bad_share * len(source):
        raise _too_many_unreadable(store.quarantine, len(source), settings.max_bad_share)
    return StoredDataset(source, store.images, rows=store.rows, quarantine=store.quarantine)


def suits_store(typical: int, num_images: int, image_size: int) -> bool:
    """Whether `store="auto"` decodes images once, given the typical longer side of their files."""
    is_small = typical <= max(2 * image_size, SMALL_PIXELS)
    return is_small and 3 * image_size**2 * num_images <= STORE_BYTES


def _too_many_unreadable(
    quarantine: Quarantine, num_images: int, max_bad_share: float
) -> DataError:
    key, reason = quarantine[0]
    return DataError(
        f"{len(quarantine):,} of {num_images:,} images cannot be read, such as {key} ({reason}); "
        f"at most {max_bad_share:.0%} may be (data.max_bad_share): repair or remove them"
    )


def _free_cores() -> int:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(MAX_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
