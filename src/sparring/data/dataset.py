"""Opening of data sets: small images from the store, large ones from their files.

For evaluation and embedding, images that cannot be read are found and left out when the set is
opened. Training from files finds them on its way.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import AfterValidator, Field

from sparring import distributed
from sparring.config import Settings
from sparring.data.cores import free_cores
from sparring.data.dataset_kinds import (
    Dataset,
    FileDataset,
    Indices,
    StoredDataset,
    too_many_unreadable,
)
from sparring.data.decode import PixelFormat, UnreadableImageError, load
from sparring.data.pixel_format import MOST_CHANNELS, ClippedImages
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.pixel_survey import surveyed_format
from sparring.data.sources.sampling import sampled_headers, suited_size, typical_side, typical_size
from sparring.data.sources.source import ImageData, Source, Subset, open_source
from sparring.data.store import ProgressCallback, Quarantine, Store, cache_folder, open_store
from sparring.errors import ConfigError, StorageError
from sparring.seeding import generator

__all__ = [
    "DataSettings",
    "Dataset",
    "FileDataset",
    "Indices",
    "StoredDataset",
    "open_dataset",
    "suited_size",
    "typical_size",
]

Report = Callable[[str], None]

SMALL_PIXELS = 96
"""Longer side in pixels up to which images are stored; also up to twice the image size. A random
crop of the stored square loses little there."""
STORE_BYTES = 8 * 2**30
"""Largest store in bytes that `store="auto"` makes."""


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError('expected [low, high] with low < high, or "auto"')
    return pair


class DataSettings(Settings):
    """Which images to use, how their values are read, and how they are stored."""

    path: str = ""
    """Folder, parquet file or folder, or list; empty if the images are passed in memory."""
    store: Literal["auto", "always", "never"] = "auto"
    """Whether to decode images once into a memory-mapped cache; auto: if the images are small, and
    for evaluation."""
    cache: str | None = None
    """Folder of that cache; None: `sparring` in the user's cache folder. The environment variable
    SPARRING_CACHE overrides both."""
    max_bad_share: float = Field(default=0.5, ge=0, le=1)
    """Share of unreadable images, in [0, 1], above which the run stops."""
    workers: int = Field(default=0, ge=0)
    """Decoding threads; 0: one per core that this process may use, at most 8."""
    limit: int | None = Field(default=None, ge=1)
    """Number of images to use, drawn at random; the same ones in every run. None: all images."""
    channels: int = Field(default=3, ge=1, le=MOST_CHANNELS)
    """Channels of every image: 3 for colours, 1 for grey, 4 keeps transparency; otherwise the bands
    or pages of TIFF files, or the channels of arrays."""
    value_range: Literal["auto"] | Annotated[tuple[float, float], AfterValidator(_rising)] = "auto"
    """Values that become black and white, [low, high], in images of more than 8 bits or of
    fractions; auto: from a sample of the images, and then stored with the run."""

    @property
    def given_range(self) -> tuple[float, float] | None:
        """The range of values; None if it is to be found."""
        return None if self.value_range == "auto" else self.value_range


def open_dataset(
    data: ImageData | Source | None,
    settings: DataSettings,
    *,
    image_size: int,
    is_training: bool = False,
    progress: ProgressCallback | None = None,
    report: Report | None = None,
) -> Dataset:
    """Data set of any kind of data, from the store or from files; see `DataSettings.store`.

    Args:
        data: see `open_source`; None: the path in the settings.
        settings: how to read and to store the images.
        image_size: side of the squares in pixels.
        is_training: whether training batches are made of the images: files are then decoded
            whenever needed, and unreadable ones found on the way. Otherwise every image of the set
            can be read; the others are left out, and `quarantine` names them.
        progress: called while the images are decoded.
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
    report = report or (lambda line: None)
    for note in source.notes:
        report(note)
    if settings.limit is not None and settings.limit < len(source):
        order = torch.randperm(len(source), generator=generator(0, "limit"))[: settings.limit]
        source = Subset(source, order.sort().values.numpy())
    headers = sampled_headers(source)  # also raises at once if no image can be read
    form = surveyed_format(
        source,
        headers,
        channels=settings.channels,
        given=settings.given_range,
        report=report,
    )
    if (
        isinstance(source, Arrays)
        and (squares := source.squares(image_size, form.channels)) is not None
    ):
        return StoredDataset(source, squares, form=form)
    opening = _Opening(source, settings, form, image_size, progress=progress, report=report)
    if settings.store == "always" or (
        settings.store == "auto" and opening.is_small(typical_side(headers))
    ):
        dataset: Dataset = opening.stored()
    elif is_training:
        return opening.from_files()
    else:
        dataset = opening.checked_files()
    _report_left_out(dataset, len(source), report, is_training=is_training)
    return dataset


class _Opening:
    """Opening of the images of a source.

    Args:
        source: images.
        settings: how to store them.
        form: how to read them.
        size: side of the squares in pixels.
        progress: called while the images are decoded.
        report: called with lines that a user should read.
    """

    def __init__(
        self,
        source: Source,
        settings: DataSettings,
        form: PixelFormat,
        size: int,
        *,
        progress: ProgressCallback | None,
        report: Report,
    ) -> None:
        self._source, self._settings, self._form = source, settings, form
        self._size, self._progress, self._report = size, progress, report
        self._workers = settings.workers or free_cores()

    def is_small(self, typical: int) -> bool:
        """Whether `store="auto"` stores these images for training."""
        channels = self._form.channels
        return suits_store(typical, len(self._source), self._size, channels=channels)

    def stored(self) -> StoredDataset:
        """Images of the store."""
        store = self._store()
        self._require_enough(store.quarantine)
        return StoredDataset(
            self._source,
            store.images,
            form=self._form,
            rows=store.rows,
            quarantine=store.quarantine,
        )

    def from_files(self) -> FileDataset:
        """Images that are decoded whenever needed; the first with clipped values is reported."""
        line = "some images have values outside data.value_range, which are clipped"
        self._form = replace(self._form, clipped=ClippedImages(lambda: self._report(line)))
        return self._files(self._source)

    def checked_files(self) -> FileDataset:
        """Images that can be read: from their files, the squares from a store where it fits."""
        squares, rows, left_out = self._squares_or_rows()
        self._require_enough(left_out)
        source = self._source if not left_out else Subset(self._source, rows)
        return self._files(source, squares=squares, left_out=left_out)

    def _files(
        self,
        source: Source,
        *,
        squares: npt.NDArray[np.uint8] | None = None,
        left_out: Quarantine = (),
    ) -> FileDataset:
        return FileDataset(
            source,
            size=self._size,
            workers=self._workers,
            max_bad_share=self._settings.max_bad_share,
            form=self._form,
            squares=squares,
            left_out=left_out,
        )

    def _squares_or_rows(
        self,
    ) -> tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.int64], Quarantine]:
        """Squares if a store fits, rows of the readable images, and the unreadable ones."""
        if self._settings.store == "auto" and self._fits_store():
            try:
                store = self._store()
                return store.images, store.rows, store.quarantine
            except StorageError:  # a cache is a convenience here
                pass
        reasons: list[str | None] = []
        with ThreadPoolExecutor(self._workers) as pool:
            for reason in pool.map(self._reason, range(len(self._source))):
                reasons.append(reason)
                if self._progress is not None:
                    self._progress(len(reasons), len(self._source))
        bad = tuple(
            (self._source.key(row), reason)
            for row, reason in enumerate(reasons)
            if reason is not None
        )
        return None, np.flatnonzero([reason is None for reason in reasons]), bad

    def _reason(self, row: int) -> str | None:
        """Why an image cannot be read; None if it can."""
        try:
            load(self._source.read, row, self._form)
        except UnreadableImageError as error:
            return str(error)
        return None

    def _fits_store(self) -> bool:
        return _fits_store(len(self._source), self._size, self._form.channels)

    def _store(self) -> Store:
        is_builder = distributed.local_rank() == 0
        if not is_builder:
            distributed.barrier()  # the first process of each machine builds the store
        try:
            return open_store(
                self._source,
                size=self._size,
                form=self._form,
                cache=cache_folder(self._settings.cache),
                workers=self._workers,
                progress=self._progress,
                report=self._report if is_builder else None,
            )
        finally:
            if is_builder:
                distributed.barrier()

    def _require_enough(self, left_out: Quarantine) -> None:
        num_images, share = len(self._source), self._settings.max_bad_share
        if len(left_out) == num_images or len(left_out) > share * num_images:
            raise too_many_unreadable(left_out, num_images, share)


def suits_store(typical: int, num_images: int, image_size: int, *, channels: int = 3) -> bool:
    """Whether `store="auto"` decodes images once, given the typical longer side of their files."""
    is_small = typical <= max(2 * image_size, SMALL_PIXELS)
    return is_small and _fits_store(num_images, image_size, channels)


def _fits_store(num_images: int, image_size: int, channels: int) -> bool:
    return num_images * channels * image_size**2 <= STORE_BYTES


def _report_left_out(
    dataset: Dataset, num_images: int, report: Report, *, is_training: bool
) -> None:
    """Tell how many images of the set are left out, and how many lost values."""
    if dataset.quarantine and not is_training:  # training tells it in its own line
        key, reason = dataset.quarantine[0]
        report(
            f"{len(dataset.quarantine):,} of {num_images:,} images cannot be read and are left "
            f"out, such as {key} ({reason})"
        )
    if clipped := dataset.form.clipped.count:
        report(
            f"{clipped:,} of {num_images:,} images have values outside data.value_range, which "
            "are clipped"
        )
