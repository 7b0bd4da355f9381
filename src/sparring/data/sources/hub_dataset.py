"""Datasets of the Hugging Face package `datasets`: in memory, and folders of `save_to_disk`.

The package is an optional dependency. Here it is imported for a folder only; an object of it shows
that it is imported already. Nothing of a dataset is executed.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from sparring.data.classes import Labels, complete_names, numbered
from sparring.data.decode import Content
from sparring.data.sources.concatenated import ConcatenatedSource
from sparring.data.sources.hub_columns import (
    image_column,
    labels_beside,
    names_of,
    stored_content,
    stored_rows,
)
from sparring.data.sources.image_source import Relabelled, Source, stamp
from sparring.data.sources.items import ItemReader
from sparring.data.sources.label_column import ColumnLabels
from sparring.data.sources.map_style import DatasetItems
from sparring.data.sources.parts import Use, choose_part, column_layout
from sparring.errors import DataError

_SPLITS = "dataset_dict.json"
_SAVED = ("state.json", "dataset_info.json")
_ROWS_AT_ONCE = 1000


class HubDataset(Source):
    """Rows of a `datasets.Dataset` whose images are encoded files or arrays.

    Args:
        dataset: the dataset; its format is not used.
        column: column of the images.
    """

    def __init__(self, dataset: Any, column: str) -> None:
        self._rows = stored_rows(dataset, column).select_columns([column])
        self._column, self._feature, self._lock = column, dataset.features[column], Lock()
        self._name = str(getattr(dataset, "_fingerprint", ""))
        self._reader, self._fingerprint = ItemReader(), ""
        found = _labels(dataset, column)
        self._labels, self.class_names = found.labels, found.class_names
        self.labels_missing, self.notes = found.missing, found.notes

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, index: int) -> str:
        return f"row {index}"

    def read(self, index: int) -> Content:
        """Encoded image or values of a row."""
        with self._lock:  # `datasets` promises nothing about threads
            value = self._rows[index][self._column]
        return stored_content(value, self._feature, self._reader)

    def labels(self) -> Labels | None:
        return self._labels

    def fingerprint(self) -> str:
        """Text that changes with the dataset's own fingerprint and with the files that it names."""
        if not self._fingerprint:
            digest = hashlib.blake2b(f"{self._name}/{self._column}".encode(), digest_size=16)
            for path in self._files():
                digest.update(os.fsencode(path) + b"\0" + stamp(path) + b"\0")
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _files(self) -> Iterator[str]:
        """Files of the images that the dataset does not hold itself."""
        first = self._rows[0][self._column]
        if not isinstance(first, Mapping) or first.get("bytes") is not None:
            return
        for start in range(0, len(self), _ROWS_AT_ONCE):
            for value in self._rows[start : start + _ROWS_AT_ONCE][self._column]:
                yield str(value["path"]) if value and value.get("path") else ""


def is_hub_object(data: object) -> bool:
    """Whether this is a dataset of the package `datasets`, or several in a dict."""
    library = _library()
    return library is not None and isinstance(data, library.Dataset | library.DatasetDict)


def is_hub_stream(data: object) -> bool:
    """Whether this is a dataset of that package without random access."""
    library = _library()
    kinds = () if library is None else (library.IterableDataset, library.IterableDatasetDict)
    return isinstance(data, kinds)


def open_hub_object(data: Any, *, use: Use, where: str = "the DatasetDict") -> Source:
    """Source of a dataset, or of the splits of one that suit a use; see `choose_part`.

    Args:
        data: `datasets.Dataset` or `datasets.DatasetDict`.
        use: what the images are wanted for.
        where: what a dict of splits is called in messages.

    Raises:
        DataError: if it is empty or holds no images.
    """
    if not isinstance(data, Mapping):
        return _open(data)
    splits = {str(name): split for name, split in data.items() if len(split)}
    if not splits:
        raise DataError(f"{where} has no rows; give a dataset with images")
    if len(splits) == 1:
        return _open(next(iter(splits.values())))
    whole = ConcatenatedSource([_open(split) for split in splits.values()], list(splits))
    rows = [name for name, split in splits.items() for _ in range(len(split))]
    whole.labels()  # so that the names of the classes are known
    return choose_part(whole, column_layout(rows), use=use, where=where)


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk` of the package `datasets`."""
    return (folder / _SPLITS).is_file() or all((folder / name).is_file() for name in _SAVED)


def open_saved(folder: Path, *, use: Use) -> Source:
    """Source of a folder that `save_to_disk` wrote.

    Raises:
        DataError: without the package, or if the folder is damaged or holds no images.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{folder} was written by save_to_disk of the package datasets, which reads it; "
            "pip install 'sparring[hub]'"
        ) from None
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # of all kinds, on files that are damaged
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{folder} was written by save_to_disk, and cannot be read ({reason}); save it again"
        ) from None
    return open_hub_object(found, use=use, where=str(folder))


def _open(dataset: Any) -> Source:
    if not len(dataset):
        raise DataError("the dataset has no rows; give one with images")
    column = image_column(dataset.features, where="the dataset")
    if dataset.format["type"] != "custom":
        return HubDataset(dataset, column)
    items, found = DatasetItems(dataset), _labels(dataset, column)
    if found.labels is None:
        return Relabelled(items, None, missing=found.missing)
    items.give_labels(found.labels, found.class_names)
    return items


def _labels(dataset: Any, images: str) -> ColumnLabels:
    """Labels of the column that may hold them, with the names of a `ClassLabel`."""

    def numbers(column: str) -> tuple[Labels | None, tuple[str, ...] | None]:
        """Numbers of the labels in a column, -1 where unknown, and the names of the classes."""
        plain = dataset.with_format(None).select_columns([column])
        labels, names = numbered(plain[:][column], where=f"the column '{column}'")
        return labels, names or complete_names(labels, names_of(dataset.features[column]))

    return labels_beside(dataset.features, numbers, images=images)


def _library() -> ModuleType | None:
    """The package `datasets` if something has imported it."""
    library = sys.modules.get("datasets")
    return library if hasattr(library, "DatasetDict") else None
