"""Data set of a stream: a length that is given, and no image by its number."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NoReturn

from jaxtyping import UInt8
from torch import Tensor

from sparring.data.dataset_kinds import Dataset, FileDataset, Indices, too_many_unreadable
from sparring.data.decode import Content, PixelFormat, UnreadableImageError, decode
from sparring.data.sources.source import Labels, Source
from sparring.data.store import Quarantine
from sparring.data.streams.stream import FirstImages, Record, Stream
from sparring.errors import ConfigError


class StreamedDataset(Dataset):
    """Images of a stream. `StreamLoader` makes batches of them.

    Args:
        stream: images.
        num_images: number of images of an epoch.
        form: channels of the images, and the range of their values.
        sizes: sides in pixels of the images, and of the squares of which views are cropped.
        is_cropped: whether views are cropped from whole images, and not from squares.
        buffer: most images in the shuffle buffer.
        workers: decoding threads.
        max_bad_share: share of unreadable images, in [0, 1], above which reading raises.
        report: called with lines that a user should read.
    """

    def __init__(
        self,
        stream: Stream,
        num_images: int,
        *,
        form: PixelFormat,
        sizes: tuple[int, int],
        is_cropped: bool,
        buffer: int,
        workers: int,
        max_bad_share: float,
        report: Callable[[str], None],
    ) -> None:
        self.stream, self.buffer, self.workers, self.report = stream, buffer, workers, report
        self.form = form
        (self.size, self._kept_size), self.is_cropped = sizes, is_cropped
        self._num_images, self._max_bad_share = num_images, max_bad_share
        self._bad: dict[int, tuple[str, str]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return self._num_images

    @property
    def kept_size(self) -> int:
        return self._kept_size

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Name of each label, if the stream says them."""
        return self.stream.class_names

    @property
    def source(self) -> Source:
        """Source that knows the number of images, and no image and no label by its number."""
        return _Unindexed(self)

    @property
    def keys(self) -> Sequence[str]:
        """Nothing: see `images`."""
        self.refuse()

    @property
    def labels(self) -> Labels | None:
        """None: labels pass by with their images; `first` has them."""
        return None

    @property
    def quarantine(self) -> Quarantine:
        with self._lock:
            return tuple(self._bad[number] for number in sorted(self._bad))

    @property
    def fingerprint(self) -> str:
        """Text that changes with the stream's names, sizes or revision, and with the length."""
        return f"{self.stream.fingerprint()}/{len(self)}"

    @property
    def content_fingerprint(self) -> str:
        return self.fingerprint

    def images(self, indices: Indices) -> UInt8[Tensor, "batch bands size size"]:
        """Nothing: no image of a stream can be found by its number.

        Raises:
            ConfigError: always.
        """
        self.refuse()

    def first(self, count: int) -> FileDataset:
        """Data set of at most so many first images, which are held in memory as encoded files and
        read when one is first asked for."""
        return FileDataset(
            FirstImages(self.stream, min(count, len(self))),
            size=self.size,
            workers=self.workers,
            max_bad_share=1.0,
            form=self.form,
        )

    def decoded(self, record: Record) -> UInt8[Tensor, "bands height width"] | None:
        """Whole image; None for an unreadable one, which is quarantined.

        Raises:
            DataError: if too many are unreadable.
        """
        try:
            return decode(record.content, self.form)
        except UnreadableImageError as error:
            with self._lock:
                self._bad[record.number] = record.key, str(error)
            if len(self._bad) > self._max_bad_share * len(self):
                raise too_many_unreadable(self.quarantine, len(self), self._max_bad_share) from None
            return None

    def refuse(self) -> NoReturn:
        """Say that no image can be found by its number.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"{self.stream.name} is read in order, and the method or its opponent needs images by "
            "their number; give a set with random access (leave data.streaming out), or choose "
            "another"
        )


class _Unindexed(Source):
    """Source of a stream's images, of which none can be found.

    Args:
        dataset: images.
    """

    def __init__(self, dataset: StreamedDataset) -> None:
        self.class_names, self._dataset = dataset.class_names, dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def key(self, index: int) -> str:
        return f"{self._dataset.stream.name}#{index}"

    def read(self, index: int) -> Content:
        self._dataset.refuse()

    def fingerprint(self) -> str:
        return self._dataset.fingerprint

    def content_fingerprint(self) -> str:
        return self._dataset.content_fingerprint


def monitored(dataset: Dataset, num_images: int) -> Dataset:
    """Images that can be found by their number, for the monitor: the set, or the first images of
    a stream."""
    return dataset.first(num_images) if isinstance(dataset, StreamedDataset) else dataset
