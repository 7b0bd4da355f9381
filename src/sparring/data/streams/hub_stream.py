"""Streams of the library `datasets`: sets of the Hugging Face Hub, and an `IterableDataset`."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparring.data.sources.hub import chosen_split, explained, hub_builder, split_note
from sparring.data.sources.hub_columns import (
    image_column,
    labels_beside,
    names_of,
    stored_content,
    stored_rows,
)
from sparring.data.sources.items import ItemReader
from sparring.data.streams.stream import Record, Stream
from sparring.errors import DataError


class HubStream(Stream):
    """Images of an `IterableDataset`.

    Args:
        dataset: the set.
        name: what it is called in messages.
        num_images: number of images, if known.
        files: names and sizes, or revisions, of its files, for the fingerprint.
    """

    def __init__(
        self, dataset: Any, *, name: str, num_images: int | None = None, files: str = ""
    ) -> None:
        self.name, self.num_images, self._files = name, num_images, files
        self.num_shards = dataset.n_shards
        columns = dataset.features or _example(dataset, name)
        self._column = image_column(columns, where=name)
        found = labels_beside(
            columns, lambda name: (None, names_of(columns[name])), images=self._column
        )
        self._label, self.class_names = found.column, found.class_names
        self.labels_missing, self.notes = found.missing or self.labels_missing, found.notes
        self._feature, self._reader = columns[self._column], ItemReader()
        self._dataset = stored_rows(dataset, self._column)

    def shard_name(self, shard: int) -> str:
        return f"{self.name}, shard {shard}"

    def fingerprint(self) -> str:
        """Text that changes with the revision, or the names and sizes, of the set's files."""
        text = f"{self.num_shards}/{self._column}/{self._files}"
        return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()

    def _records(self, shard: int) -> Iterator[Record]:
        part = self._dataset.shard(num_shards=self.num_shards, index=shard)
        for row, example in enumerate(part):
            key, label = f"{self.name}#{shard}/{row}", example.get(self._label)
            try:
                content = stored_content(example[self._column], self._feature, self._reader)
            except OSError:
                content = b""  # unreadable, and counted as such
            yield Record(shard, row, key, content, label)


def open_hub_stream(text: str) -> HubStream:
    """Stream of a set of the Hub, which downloads what is read and stores nothing.

    Args:
        text: address; without a split, that to learn from is chosen.

    Raises:
        DataError: as `sparring.data.sources.hub.open_hub`.
    """
    builder = hub_builder(text)
    with explained(text):
        known = builder.info.splits or {}
        names = [str(name) for name in known or builder.config.data_files or {}]
        if not names:
            names = list(builder.as_streaming_dataset())
        split = chosen_split(text, names, use="train")
        dataset = builder.as_streaming_dataset(split=split)
    stream = HubStream(
        dataset,
        name=text,
        num_images=known[split].num_examples or None if split in known else None,
        files=_files(builder, split),
    )
    if "#" not in text and (note := split_note(text, names, split)):
        stream.notes += (note,)
    return stream


def _example(dataset: Any, name: str) -> dict[str, Any]:
    """First example of a set that says nothing about its columns."""
    found = next(iter(dataset), None)
    if not isinstance(found, dict):
        raise DataError(f"{name} holds no examples with names; give a set with a column of images")
    return found


def _files(builder: Any, split: str) -> str:
    """Files of a split: on the Hub with their revision, on this machine with their size."""
    files = (builder.config.data_files or {}).get(split, ())
    return "\n".join([builder.config.name, *(_file(str(file)) for file in files)])


def _file(name: str) -> str:
    path = Path(name)
    return f"{path.name} {path.stat().st_size}" if path.is_file() else name
