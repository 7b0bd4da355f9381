"""Decoded images by index: from the store when they are small, from their files when they are
large."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Lock
from typing import Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, UInt8
from pydantic import Field
from torch import Tensor

from sparring import distributed
from sparring.config import Settings
from sparring.data.decode import UnreadableImageError, centre_square, load
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.sampling import suited_size, typical_size
from sparring.data.sources.source import ImageData, Labels, Source, Subset, open_source
from sparring.data.store import Progress, Quarantine, cache_folder, open_store
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
"""Images whose longer side is at most this, or twice the image size, go to the store: a random crop
loses little there."""
STORE_BYTES = 8 * 2**30
"""Largest store that is made unasked."""
MAX_WORKERS = 8


class DataSettings(Settings):
    """Which images, and how they are kept."""

    path: str = ""
    """Folder, parquet file or folder, or list; empty when the images are handed over in memory."""
    store: Literal["auto", "always", "never"] = "auto"
    """Whether to decode once into a memory-mapped cache; auto: when the images are small."""
    cache: str | None = None
    """Folder of that cache; None: `sparring` in the user's cache folder. The variable
    SPARRING_CACHE overrides both."""
    max_bad_share: float = Field(default=0.5, ge=0, le=1)
    """Share of unreadable images above which the run stops."""
    workers: int = Field(default=0, ge=0)
    """Threads that decode; 0: one per core that this process may use, at most 8."""
    limit: int | None = Field(default=None, ge=1)
    """Use that many images, drawn at random once and for all (the same ones in every run)."""


class Dataset(ABC):
    """Square images by index.

    Attributes:
        size: side of the images.
        class_names: name of each label, if any.
    """

    size: int
    class_names: tuple[str, ...] | None

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def keys(self) -> Sequence[str]:
        """What a user recognises each image by; made when asked for."""

    @property
    @abstractmethod
    def labels(self) -> Labels | None:
        """Class of each image, -1 where unknown; only evaluation may ask."""

    @property
    @abstractmethod
    def quarantine(self) -> Quarantine:
        """Key and reason of the images found unreadable so far."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Text that changes whenever an image is added, removed or changed."""

    @abstractmethod
    def images(self, indices: Indices) -> UInt8[Tensor, "batch 3 size size"]:
        """Central squares at the set's size."""


class Keys(Sequence[str]):
    """Keys of some rows of a source, each made when asked for.

    Args:
        source: where they come from.
        rows: which; None: all.
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


class StoredDataset(Dataset):
    """Images that are decoded already: a store, or an array of the right size.

    Args:
        source: for keys and labels.
        images: (images, 3, size, size).
        rows: index of each image in the source; None: all of them, in order.
        quarantine: the images of the source that are missing here.
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
        """As told by `Dataset`, out of the store."""
        rows = np.asarray(indices, np.int64)
        assert not rows.size or (rows.min() >= 0 and rows.max() < len(self)), (
            "index beyond the data set"
        )
        batch = empty_images(len(rows), self.size)
        np.take(
            self._images, rows, axis=0, out=batch.numpy(), mode="wrap"
        )  # mode "raise" would copy twice
        return batch


class FileDataset(Dataset):
    """Images decoded from their files whenever they are asked for.

    Bad files come to light during training. Then the next readable image takes the place of a bad
    one: batches keep their size, and which image comes where depends on the files alone.

    Args:
        source: images.
        size: side of the squares that `images` gives.
        workers: threads that decode.
        max_bad_share: share of unreadable images above which `image` refuses to go on.
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
    def keys(self) -> Keys:
        return Keys(self._source)

    @property
    def labels(self) -> Labels | None:
        """As of the source, but -1 for the files that were found unreadable so far."""
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
        """Whole image and its index: the next one's if this file is unreadable.

        Raises:
            DataError: if too many files are.
        """
        for candidate in chain(range(index, len(self)), range(index)):
            if candidate not in self._bad:
                try:
                    return load(self._source.read, candidate), candidate
                except UnreadableImageError as error:
                    self._condemn(candidate, str(error))
        raise self._too_bad()

    def images(self, indices: Indices) -> UInt8[Tensor, "batch 3 size size"]:
        """As told by `Dataset`, decoded now."""
        with ThreadPoolExecutor(self.workers) as pool:
            squares = pool.map(
                lambda index: centre_square(self.image(index)[0], self.size),
                np.asarray(indices).tolist(),
            )
            return torch.stack(list(squares))

    def part(self, rows: npt.NDArray[np.int64]) -> "FileDataset":
        """The images at these indices, in their order."""
        return FileDataset(
            Subset(self._source, rows),
            size=self.size,
            workers=self.workers,
            max_bad_share=self._max_bad_share,
        )

    def _condemn(self, index: int, reason: str) -> None:
        with self._lock:
            self._bad[index] = reason
        if len(self._bad) > self._max_bad_share * len(self):
            raise self._too_bad()

    def _too_bad(self) -> DataError:
        return _too_bad(self.quarantine, len(self), self._max_bad_share)


def open_dataset(
    data: ImageData | Source | None,
    settings: DataSettings,
    *,
    image_size: int,
    progress: Progress | None = None,
) -> Dataset:
    """Images of whatever a user hands over, from the store or from their files; see
    `DataSettings.store`.

    Args:
        data: see `open_source`; None: the path of the settings.
        settings: how to keep them.
        image_size: side of the squares.
        progress: told of the store's growth.

    Raises:
        ConfigError: neither data nor a path is given.
        DataError: nothing usable, or too little of it.
        StorageError: the store cannot be written.
    """
    if data is None and not settings.path:
        raise ConfigError(
            "no data given: set data.path to a folder of images, a parquet file or a list"
        )
    source = open_source(settings.path if data is None else data)
    if settings.limit is not None and settings.limit < len(source):
        order = torch.randperm(len(source), generator=generator(0, "limit"))[: settings.limit]
        source = Subset(source, order.sort().values.numpy())
    if isinstance(source, Arrays) and (squares := source.squares(image_size)) is not None:
        return StoredDataset(source, squares)
    workers = settings.workers or _free_cores()
    typical = typical_size(source)  # also stops a folder of garbage at once
    if settings.store == "always" or (
        settings.store == "auto" and _suits_store(typical, len(source), image_size)
    ):
        return _stored(source, settings, size=image_size, workers=workers, progress=progress)
    return FileDataset(
        source, size=image_size, workers=workers, max_bad_share=settings.max_bad_share
    )


def _stored(
    source: Source, settings: DataSettings, *, size: int, workers: int, progress: Progress | None
) -> StoredDataset:
    is_builder = distributed.local_rank() == 0
    if not is_builder:
        distributed.barrier()  # the machine's first process builds for all
    store = open_store(
        source, size=size, cache=cache_folder(settings.cache), workers=workers, progress=progress
    )
    if is_builder:
        distributed.barrier()
    num_bad = len(store.quarantine)
    if num_bad == len(source) or num_bad > settings.max_bad_share * len(source):
        raise _too_bad(store.quarantine, len(source), settings.max_bad_share)
    return StoredDataset(source, store.images, rows=store.rows, quarantine=store.quarantine)


def _suits_store(typical: int, num_images: int, image_size: int) -> bool:
    return (
        typical <= max(2 * image_size, SMALL_PIXELS)
        and num_images * 3 * image_size**2 <= STORE_BYTES
    )


def _too_bad(quarantine: Quarantine, num_images: int, max_bad_share: float) -> DataError:
    key, reason = quarantine[0]
    return DataError(
        f"{len(quarantine):,} of {num_images:,} images cannot be read, such as {key} ({reason}); "
        f"at most {max_bad_share:.0%} may be (data.max_bad_share): mend or remove them"
    )


def _free_cores() -> int:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(MAX_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def empty_images(
    num_images: int, size: int, *, order: torch.memory_format = torch.contiguous_format
) -> UInt8[Tensor, "batch 3 size size"]:
    """Room for images, pinned where CUDA is in use: copies to the device then overlap with its
    work.

    Args:
        num_images: rows.
        size: side in pixels.
        order: of the memory; channels last where the images come in it.
    """
    return torch.empty(
        (num_images, 3, size, size), dtype=torch.uint8, pin_memory=uses_cuda(), memory_format=order
    )


def uses_cuda() -> bool:
    """Whether this process works on a GPU; asking does not start CUDA."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
