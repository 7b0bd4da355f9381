"""Images that can only be read in order: a stream of shards, and the first of its images.

A stream knows its images by shard and row. Nothing here looks at pixels.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from functools import cached_property
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from sparring.data.classes import complete_names, numbered
from sparring.data.decode import Content
from sparring.data.sources.image_source import Labels, Source, as_bytes
from sparring.errors import DataError

ROW_BITS = 32
"""Bits of an image's number that hold its row; the higher ones hold its shard."""
SPREAD = 8
"""Shards from which the first images of a stream are taken, as shards may be sorted by class."""
TRIES = 3
"""How often a shard is opened before a fault of its reading ends the run."""


class Record(NamedTuple):
    """One image of a stream, not decoded.

    Attributes:
        shard: number of its shard.
        row: its place among the images of the shard.
        key: name that a user recognises it by.
        content: encoded file, or values.
        label: its class as it is stored; None if unknown.
    """

    shard: int
    row: int
    key: str
    content: Content
    label: object = None

    @property
    def number(self) -> int:
        """Number that tells the image from all others of the stream, the same in every epoch."""
        return self.shard << ROW_BITS | self.row


class Stream(ABC):
    """Images in shards, each of which is read from its start.

    Attributes:
        name: what the stream is called in messages.
        num_shards: number of shards, at least 1.
        num_images: number of images, if the format says it.
        class_names: name of each label, if known.
        labels_missing: reason why its images have no labels, where they have none.
        notes: what a user should read about how the data were understood, a line each.
    """

    name: str
    num_shards: int
    num_images: int | None = None
    class_names: tuple[str, ...] | None = None
    labels_missing: str = "its images have none"
    notes: tuple[str, ...] = ()

    @abstractmethod
    def shard_name(self, shard: int) -> str:
        """Name of a shard for messages."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Text that changes with names, sizes or revision; the images are not read for it."""

    @abstractmethod
    def _records(self, shard: int) -> Iterator[Record]:
        """Images of a shard in their order.

        Raises:
            OSError: if the shard cannot be read any further.
        """

    def records(self, shard: int) -> Generator[Record, None, None]:
        """Images of a shard in their order.

        A shard whose reading fails is opened again, up to `TRIES` times, and read on from where it
        failed.

        Raises:
            DataError: if it fails again.
        """
        done = 0
        for is_last in (attempt == TRIES - 1 for attempt in range(TRIES)):
            records = self._records(shard)
            try:
                for record in islice(records, done, None):
                    done += 1
                    yield record
                return
            except OSError as error:
                if is_last or isinstance(error, FileNotFoundError):
                    raise DataError(
                        f"{self.shard_name(shard)} cannot be read after {done:,} images: "
                        f"{error.strerror or error}; repair it or leave it out"
                    ) from None
            finally:
                close = getattr(records, "close", None)
                if close is not None:
                    close()

    def first(self, count: int) -> "FirstImages":
        """At most so many of its first images by number, read now and held in memory.

        Raises:
            DataError: if there are none.
        """
        return FirstImages(self, count).loaded()


class Limited(Stream):
    """The first images of a stream, in the order of its shards, as one shard.

    Args:
        stream: the whole stream.
        count: number of images.
    """

    num_shards = 1

    def __init__(self, stream: Stream, count: int) -> None:
        self._stream, self._count = stream, count
        self.name, self.class_names, self.notes = stream.name, stream.class_names, stream.notes
        self.labels_missing = stream.labels_missing
        known = stream.num_images
        self.num_images = count if known is None else min(known, count)

    def shard_name(self, shard: int) -> str:
        return self.name

    def fingerprint(self) -> str:
        return f"{self._stream.fingerprint()}/{self._count}"

    def _records(self, shard: int) -> Iterator[Record]:
        shards = (self._stream.records(number) for number in range(self._stream.num_shards))
        return islice(chain.from_iterable(shards), self._count)


class FirstImages(Source):
    """The first images of a stream, held in memory as encoded files, by number.

    They are read when one is first asked for, from `SPREAD` shards far apart and then from the
    others. A number beyond the end of the stream is a missing file.

    Args:
        stream: the stream.
        count: number of images.
    """

    def __init__(self, stream: Stream, count: int) -> None:
        self.class_names, self._stream, self._count = stream.class_names, stream, count
        self.labels_missing = stream.labels_missing

    def loaded(self) -> "FirstImages":
        """This source, read now, so that its length is that of the images found.

        Raises:
            DataError: if there are none.
        """
        self._count = len(self._held)
        return self

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _held(self) -> list[Record]:
        found: list[Record] = []
        spread = _spread(self._stream.num_shards)
        share = -(-self._count // len(spread))
        others = [n for n in range(self._stream.num_shards) if n not in spread]
        turns = ((0, share), (share, self._count))  # the rest of the shards if some are short
        for first, most in turns:
            for shard in chain(spread, others):
                if not (missing := self._count - len(found)):
                    break
                records = self._stream.records(shard)
                found += islice(records, first, first + min(most, missing))
                records.close()
        if not found:
            raise DataError(
                f"{self._stream.name} holds no image; give one with images (docs/data.md)"
            )
        return found

    def key(self, index: int) -> str:
        return self._held[index].key if index < len(self._held) else f"{self._stream.name}#{index}"

    def read(self, index: int) -> Content:
        """Encoded file or values of an image.

        Raises:
            FileNotFoundError: beyond the end of the stream.
        """
        if index >= len(self._held):
            raise FileNotFoundError(2, "the stream has ended before it")
        return self._held[index].content

    def labels(self) -> Labels | None:
        """Class of each image, -1 where unknown; None without labels."""
        given = [record.label for record in self._held]
        if all(label is None for label in given):
            return None
        try:
            labels, names = numbered(given, where=f"{self._stream.name}: its labels")
        except DataError as error:
            self.labels_missing = str(error)
            return None
        self.class_names = names or complete_names(labels, self._stream.class_names)
        missing = np.full(self._count - len(labels), -1, np.int64)
        return np.concatenate([labels, missing])

    def fingerprint(self) -> str:
        """Text that changes with any of the images."""
        digest = hashlib.blake2b(digest_size=16)
        for record in self._held:
            digest.update(record.key.encode(errors="surrogateescape") + b"\0")
            digest.update(as_bytes(record.content))
        return digest.hexdigest()

    def content_fingerprint(self) -> str:
        return self.fingerprint()


def _spread(num_shards: int) -> list[int]:
    """Shards far apart, in rising order.

    Example:
        >>> _spread(3), _spread(147)[:3]
        ([0, 1, 2], [0, 21, 42])
    """
    count = min(num_shards, SPREAD)
    return [round(place * (num_shards - 1) / max(1, count - 1)) for place in range(count)]
