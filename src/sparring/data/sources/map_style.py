"""Map-style datasets: objects with `__len__` and `__getitem__`, as PyTorch's loaders take them.

What torchvision's own classes hold without a transform is read directly, so that results equal
those of the files. Of any other object the items are read, its transform included.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Protocol

import numpy as np
from torch import Tensor

from sparring.data.classes import Labels, complete_names, label_columns, numbered
from sparring.data.decode import Content
from sparring.data.image_file import reason_of
from sparring.data.sources.arrays import Arrays, labels_of
from sparring.data.sources.image_source import Relabelled, Source, as_bytes
from sparring.data.sources.items import ItemReader, content_digest, described, kind_of
from sparring.data.sources.lists import PATH_COLUMNS, first_column
from sparring.data.sources.torchvision_sets import held_by_torchvision, is_torchvisions
from sparring.errors import DataError

LOOKED_AT = 8
"""Items that are read twice when a dataset is opened."""
IMAGE_KEY = "image"
"""Field of a dict that holds the image if it is there, as in parquet; else the first that fits."""
_MOST_FRACTION, _MOST_NORMALISED = 1.5, 20.0
"""Floating values below 0 or above the first, and none beyond the second, look normalised."""


class MapStyle(Protocol):
    """A dataset: so many items, by index from 0 on."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


def open_map_style(data: MapStyle) -> Source:
    """Source of the images of a dataset.

    Args:
        data: its items are an image, a tuple (image, label, ...), or a dict with an image and
            perhaps a label. Threads read the items, one at a time; a dataset whose attribute
            `thread_safe` is true is read by several at once.

    Raises:
        DataError: if its items are something else, or the first of them cannot be read.
    """
    source = held_by_torchvision(data) or DatasetItems(data)
    given = _given_labels(data, len(source))
    if given is None:
        return source
    labels, names = given
    if isinstance(source, DatasetItems) and source.contradicts(labels, names):
        source.notes += (
            "the targets or labels that the dataset names are not those of its items, which are "
            "used instead",
        )
        return source
    if isinstance(source, Arrays | DatasetItems):
        source.give_labels(labels, names)
        return source
    return Relabelled(source, labels, names)


class DatasetItems(Source):
    """Items of a dataset, which are read anew at every use.

    Args:
        data: dataset.

    Raises:
        DataError: if its first items are no images, or cannot be read.
    """

    is_costly = True

    def __init__(self, data: MapStyle) -> None:
        self._data, self._reader, self._fingerprint = data, ItemReader(), ""
        self._lock: AbstractContextManager[object] = (
            nullcontext() if getattr(data, "thread_safe", False) else Lock()
        )
        self._seen: dict[int, object] = {}
        self._given: Labels | None = None
        self._field, self._label = self._fields()
        self._look_twice()

    def __len__(self) -> int:
        return len(self._data)

    def key(self, index: int) -> str:
        return f"item {index}"

    def read(self, index: int) -> Content:
        """Image of an item; its label is kept, since nothing else may read the item again."""
        item = self._item(index)
        if self._label is not None and self._given is None:
            self._seen[index] = _taken(item, self._label)
        return self._reader.content(_taken(item, self._field))

    def give_labels(self, labels: Labels, names: tuple[str, ...] | None) -> None:
        """Take labels that are known without a read of the items."""
        self._given, self.class_names = labels, names

    def contradicts(self, labels: Labels, names: tuple[str, ...] | None) -> bool:
        """Whether the items that were looked at have other labels than these.

        Args:
            labels: class of each image.
            names: name of each label, if they were names; then items may number them.
        """
        pairs = []
        for row, own in self._seen.items():
            try:
                number, name = numbered([_single(own)])
            except DataError:  # such as a one-hot row
                continue
            if labels[row] >= 0 and (name is not None or number[0] >= 0):
                pairs.append((int(labels[row]), name[0] if name else int(number[0])))
        if names is None and all(isinstance(own, int) for _, own in pairs):
            return any(given != own for given, own in pairs)
        distinct = set(pairs)
        sides = ({given for given, _ in distinct}, {own for _, own in distinct})
        return any(len(side) < len(distinct) for side in sides)

    def labels(self) -> Labels | None:
        """Class of each image; the items that were not read yet are read for it."""
        if self._given is not None or self._label is None:
            return self._given
        for row in range(len(self)):
            if row not in self._seen:
                try:
                    self._seen[row] = _taken(self._item(row), self._label)
                except OSError:
                    self._seen[row] = None
        try:
            values = [_single(self._seen[row]) for row in range(len(self))]
            self._given, names = numbered(values, where="the labels of the dataset's items")
        except DataError as error:
            self.labels_missing, self._label = str(error), None
            return None
        self.class_names = names or complete_names(self._given, _classes(self._data))
        return self._given

    def fingerprint(self) -> str:
        """Text that changes with any image; every item is read for it, once."""
        if not self._fingerprint:
            digest = hashlib.blake2b(digest_size=16)
            for row in range(len(self)):
                digest.update(content_digest(self, row))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _item(self, index: int) -> object:
        """An item.

        Raises:
            OSError: if the dataset raises anything, with the reason.
        """
        try:
            with self._lock:
                return self._data[index]
        except OSError:
            raise
        except Exception as error:  # of the user's code
            raise OSError(0, f"{type(error).__name__}: {reason_of(error)}") from None

    def _fields(self) -> tuple[int | str | None, int | str | None]:
        """Where an item holds the image, and where the label; None for the item itself, and for no
        label."""
        reasons = []
        for row in self._looked_at():
            try:
                item = self._item(row)
            except OSError as error:
                reasons.append(f"item {row} ({error.strerror or reason_of(error)})")
                continue
            return self._fields_of(row, item)
        raise DataError(
            f"none of the {len(reasons)} items looked at can be read, such as {reasons[0]}; give a "
            "dataset whose items open"
        )

    def _fields_of(self, row: int, item: object) -> tuple[int | str | None, int | str | None]:
        if isinstance(item, Mapping) and kind_of(item) == "":
            field = _image_field(item)
            if field is not None:
                found = label_columns(str(name) for name in item if name != field)
                if not found:
                    self.labels_missing = (
                        f"the items of the dataset have the fields {', '.join(map(str, item))}, "
                        "and none is called label, class or the like"
                    )
                return field, next(iter(found), None)
        elif isinstance(item, Sequence) and not isinstance(item, str | bytes):
            if item and kind_of(item[0]):
                return 0, 1 if len(item) > 1 else None
        elif kind_of(item):
            self.labels_missing = "the items of the dataset are images alone"
            return None, None
        raise DataError(
            f"item {row} of the dataset is {_shown(item)}; an item is an image, a tuple (image, "
            "label, ...), or a dict with an image: leave out a transform that makes several views "
            "of it, since views are drawn here"
        )

    def _look_twice(self) -> None:
        """Note what the user should know about the dataset's transform.

        Raises:
            DataError: if none of the items looked at holds an image.
        """
        lows, highs, reasons, num_read = [], [], [], 0
        for row in self._looked_at():
            try:
                first, second = self.read(row), self.read(row)
            except OSError as error:
                reasons.append(f"item {row} ({error.strerror or reason_of(error)})")
                continue
            num_read += 1
            if as_bytes(first) != as_bytes(second):
                self.is_random = True
            if isinstance(first, np.ndarray) and first.dtype.kind == "f":
                lows.append(float(np.nanmin(first)))
                highs.append(float(np.nanmax(first)))
        if not num_read:
            raise DataError(
                f"none of the {len(reasons)} items looked at can be read, such as {reasons[0]}; "
                "give a dataset whose items are images"
            )
        if self.is_random:
            self.notes += (
                "two reads of an item of the dataset differ: its transform is random, on top of "
                "the views that are drawn here, and such a run cannot be resumed on equal images; "
                "leave random transforms out",
            )
        if lows and _look_normalised(min(lows), max(highs)):
            self.notes += (
                f"items of the dataset have values from {min(lows):.3g} to {max(highs):.3g}, as "
                "if it normalised them; leave that out and give values in [0, 1] or bytes, since "
                "the encoder normalises by itself",
            )

    def _looked_at(self) -> list[int]:
        places = np.linspace(0, len(self) - 1, min(LOOKED_AT, len(self)))
        return [int(place) for place in places]


def _look_normalised(low: float, high: float) -> bool:
    return (low < 0 or high > _MOST_FRACTION) and max(-low, high) < _MOST_NORMALISED


def _taken(item: object, field: int | str | None) -> object:
    """A field of an item, or the item itself.

    Raises:
        OSError: if the item lacks it.
    """
    if field is None:
        return item
    try:
        return item[field]  # type: ignore[index]
    except (IndexError, KeyError, TypeError):
        raise OSError(0, f"no field {field!r}, but {_shown(item)}") from None


def _image_field(item: Mapping[str, object]) -> str | None:
    """Field of a dict that holds the image; None without one."""
    if kind_of(item.get(IMAGE_KEY)):
        return IMAGE_KEY
    fitting = [name for name, value in item.items() if _is_image(value)]
    path = first_column(PATH_COLUMNS, [str(name) for name in item])
    is_path = path is not None and kind_of(item[path]) == "a path"
    return next(iter(fitting), path if is_path else None)


def _is_image(value: object) -> bool:
    """Whether a field of a dict is an image by itself; text may be anything."""
    if isinstance(value, np.ndarray | Tensor):
        return value.ndim in (2, 3)
    return kind_of(value) not in ("", "a path")


def _single(label: object) -> object:
    """A label of an item.

    Raises:
        DataError: for several values, such as a one-hot row.
    """
    if getattr(label, "ndim", 0) or isinstance(label, list | tuple | Mapping):
        raise DataError(
            f"the labels of the dataset's items are such as {described(label)}; a label is a whole "
            "number or a name"
        )
    return label


def _shown(item: object) -> str:
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {', '.join(type(part).__name__ for part in item[:4])}"
    return described(item)


def _given_labels(data: MapStyle, num_images: int) -> tuple[Labels, tuple[str, ...] | None] | None:
    """Labels in an attribute of the dataset, `targets` or `labels`, and their names; None without
    such, or if a transform changes them."""
    if getattr(data, "target_transform", None) is not None:
        return None
    held = {name: getattr(data, name, None) for name in ("targets", "labels")}
    if isinstance(samples := getattr(data, "samples", None), list) and is_torchvisions(
        data, "folder"
    ):
        held = {"samples": [label for _, label in samples]}  # in which its items' labels stand
    for values in held.values():
        if not isinstance(values, list | tuple | np.ndarray | Tensor) or len(values) != num_images:
            continue
        try:
            labels, names = labels_of(values, num_images)
        except (DataError, ValueError):  # boxes, several labels an image
            continue
        return labels, names or complete_names(labels, _classes(data))
    return None


def _classes(data: MapStyle) -> tuple[str, ...] | None:
    """Names in the attribute `classes`; None without such."""
    names = getattr(data, "classes", None)
    is_list = isinstance(names, Iterable) and not isinstance(names, str)
    found = tuple(names) if is_list else ()  # type: ignore[arg-type]
    return found if found and all(isinstance(name, str) for name in found) else None
