"""Opening of data sets: small images from the store, large ones from their files.

For evaluation and embedding, images that cannot be read are found and left out when the set is
opened. Training from files finds them on its way.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from sparring import distributed
from sparring.data.cores import free_cores
from sparring.data.data_settings import DataSettings, fits_store
from sparring.data.dataset_kinds import (
    Dataset,
    FileDataset,
    Indices,
    StoredDataset,
    too_many_unreadable,
)
from sparring.data.decode import PixelFormat, UnreadableImageError, load
from sparring.data.pixel_format import ClippedImages
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.image_source import Relabelled
from sparring.data.sources.pixel_survey import surveyed_format
from sparring.data.sources.sampling import sampled_headers, suited_size, typical_side, typical_size
from sparring.data.sources.source import ImageData, Source, Subset, open_source
from sparring.data.store import (
    ProgressCallback,
    Quarantine,
    Store,
    cache_folder,
    decoded_images,
    open_store,
)
from sparring.errors import ConfigError, StorageError
from sparring.machine_memory import available_bytes
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
_READ_LATER = "they stand in the items of the dataset, which are read when they are scored"
HELD_SHARE = 0.25
"""Share of the free memory that decoded images may take without being asked for."""


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
        ConfigError: if neither data nor a path is given, or `stored_size` is too small.
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
    if source.is_random and settings.store == "auto":
        settings = settings.model_copy(update={"store": "never"})
    source = _limited(source, settings)
    headers = sampled_headers(source)  # also raises at once if no image can be read
    form = surveyed_format(
        source,
        headers,
        channels=settings.channels,
        given=settings.given_range,
        report=report,
    )
    kept_size = _kept_size(settings, image_size) if is_training else image_size
    if (
        isinstance(source, Arrays)
        and (squares := source.squares(kept_size, form.channels)) is not None
    ):
        return StoredDataset(source, squares, form=form, size=image_size)
    opening = _Opening(
        source, settings, form, (image_size, kept_size), progress=progress, report=report
    )
    if settings.store == "memory":
        dataset: Dataset = opening.in_memory()
    elif settings.is_decoded_once(
        typical_side(headers), len(source), kept_size, most=source.most_decoded
    ):
        dataset = opening.stored()
    elif is_training:
        if settings.is_decoded_once(typical_side(headers), len(source), kept_size):
            report(
                f"{len(source):,} images in shards are decoded whenever they are needed, so that "
                "training starts at once; data.store=disk decodes them once, before the first step"
            )
        return opening.from_files()
    else:
        dataset = opening.checked_files()
    if is_training and (side := typical_side(headers)) > 2 * kept_size:
        report(
            f"images of about {side} px are kept as central squares of {kept_size} px, of which "
            "views are cropped; data.stored_size keeps larger ones, and data.store=never crops "
            "from the files"
        )
    _report_left_out(dataset, len(source), report, is_training=is_training)
    return dataset


def _limited(source: Source, settings: DataSettings) -> Source:
    """So many images of a source as the settings ask for, drawn at random."""
    limit = settings.limit
    if limit is None or limit >= len(source):
        return source
    draws = generator(settings.limit_seed or 0, "limit")
    order = torch.randperm(len(source), generator=draws)[:limit]
    return Subset(source, order.sort().values.numpy())


class _Opening:
    """Opening of the images of a source.

    Args:
        source: images.
        settings: how to store them.
        form: how to read them.
        sizes: sides in pixels of the squares, and of the larger ones that a store keeps.
        progress: called while the images are decoded.
        report: called with lines that a user should read.
    """

    def __init__(
        self,
        source: Source,
        settings: DataSettings,
        form: PixelFormat,
        sizes: tuple[int, int],
        *,
        progress: ProgressCallback | None,
        report: Report,
    ) -> None:
        self._source, self._settings, self._form = source, settings, form
        (self._size, self._kept_size), self._progress, self._report = sizes, progress, report
        self._workers = settings.workers or free_cores()

    def stored(self) -> StoredDataset:
        """Images of the store, or decoded into memory."""
        return self._dataset_of(self._decoded_once())

    @property
    def _num_bytes(self) -> int:
        return len(self._source) * self._form.channels * self._kept_size**2

    def _in_memory(self) -> Store:
        return decoded_images(
            self._source,
            size=self._kept_size,
            form=self._form,
            workers=self._workers,
            progress=self._progress,
        )

    def _decoded_once(self) -> Store:
        """Decoded images: those of the store, or in memory where it takes a read of every image to
        tell whether a store is of these, and every process has the memory."""
        if self._source.is_costly and self._settings.store == "auto":
            needed = distributed.num_processes() * self._num_bytes
            if distributed.share(needed < HELD_SHARE * available_bytes()):
                return self._in_memory()
        return self._store()

    def in_memory(self) -> StoredDataset:
        """Images that are decoded into memory now."""
        self._require_memory(self._num_bytes)
        return self._dataset_of(self._in_memory())

    def _dataset_of(self, store: Store) -> StoredDataset:
        self._require_enough(store.quarantine)
        return StoredDataset(
            self._source,
            store.images,
            form=self._form,
            rows=store.rows,
            quarantine=store.quarantine,
            size=self._size,
        )

    def _require_memory(self, num_bytes: int) -> None:
        if num_bytes > (free := available_bytes()):
            raise ConfigError(
                f"data.store=memory needs {num_bytes / 1e9:.1f} GB for the decoded images, and "
                f"{free / 1e9:.1f} GB are free; set data.store=disk, or data.limit"
            )

    def from_files(self) -> FileDataset:
        """Images that are decoded whenever needed; the first with clipped values is reported."""
        line = "some images have values outside data.value_range, which are clipped"
        if self._source.is_costly:
            self._source = Relabelled(self._source, None, missing=_READ_LATER)
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
                store = self._decoded_once()
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
        return fits_store(len(self._source), self._size, self._form.channels)

    def _store(self) -> Store:
        is_builder = distributed.local_rank() == 0
        if not is_builder:
            distributed.barrier()  # the first process of each machine builds the store
        try:
            return open_store(
                self._source,
                size=self._kept_size,
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


def _kept_size(settings: DataSettings, image_size: int) -> int:
    if settings.stored_size is not None and settings.stored_size < image_size:
        raise ConfigError(
            f"data.stored_size={settings.stored_size} is less than the views' {image_size} px; "
            "give at least that, or leave it out"
        )
    return settings.stored_size or image_size


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
