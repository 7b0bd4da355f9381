"""Sequences of images: paths, PIL images, arrays, encoded bytes, rows as parquet holds them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from sparring.data.names import shown
from sparring.data.sources.arrays import as_array, why_no_image
from sparring.data.sources.files import Files
from sparring.data.sources.image_source import Source
from sparring.data.sources.items import Items, described, kind_of
from sparring.data.sources.lists import repeated
from sparring.errors import DataError

ACCEPTED = "paths, PIL images, arrays (H, W[, C]), encoded bytes, or dicts with bytes or a path"


def open_sequence(items: Sequence[object]) -> Source:
    """Source of the images of a sequence.

    Args:
        items: a value per image, all of one kind; arrays may differ in size.

    Raises:
        DataError: for another kind of value, with the index of the first of them; if none of the
            files that it names exists.
    """
    kind = kind_of(items[0])
    for row, item in enumerate(items):
        if (found := kind_of(item)) != kind or not found:
            before = f", and those before it are each {kind}" if row else ""
            raise DataError(
                f"item {row} of the images is {described(item)}{before}; give images of one kind: "
                f"{ACCEPTED}"
            )
        if isinstance(item, np.ndarray | Tensor):
            _require_image(row, item)
    if kind == "a path":
        return image_files([os.fspath(item) for item in items])  # type: ignore[call-overload]
    return Items(items)


def image_files(paths: Sequence[str]) -> Files:
    """Source of image files; their names are relative to the folder that holds them all.

    Args:
        paths: absolute, or relative to the working folder; ~ is understood.

    Raises:
        DataError: if none of them exists, or the first is a folder.
    """
    places = [os.path.abspath(os.path.expanduser(path)) for path in paths]  # noqa: PTH100, PTH111 - for speed
    if Path(places[0]).is_dir():
        raise DataError(
            f"item 0 of the images is the folder {shown(paths[0])}; give a folder by itself, "
            "without a list around it, or a list of image files"
        )
    missing = [path for path, place in zip(paths, places, strict=True) if not _exists(place)]
    count = f"{len(missing):,} of the {len(paths):,} images of the list do not exist"
    if len(missing) == len(paths):
        raise DataError(
            f"none of the {len(paths):,} images of the list exists; the first would be "
            f"{shown(places[0])}: paths are relative to the working folder, or absolute"
        )
    root = os.path.commonpath([os.path.dirname(place) for place in places])  # noqa: PTH120 - for speed
    names = [place[len(root) :].lstrip(os.sep) for place in places]
    source = Files(Path(root), names)
    source.notes = (
        *((f"{count}, such as {shown(missing[0])}",) if missing else ()),
        *repeated(Path(root), names),
    )
    return source


def _exists(place: str) -> bool:
    return os.path.lexists(place)


def _require_image(
    row: int, item: "np.ndarray[tuple[int, ...], np.dtype[np.generic]] | Tensor"
) -> None:
    """Refuse an array that is no single image.

    Raises:
        DataError: with what it is.
    """
    if reason := why_no_image(as_array(item)):
        many = "; for a batch of images give the array itself, or (images, labels)"
        raise DataError(f"item {row} of the images is {reason}{many * (item.ndim not in (2, 3))}")
