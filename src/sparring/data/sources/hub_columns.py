"""Columns of a set of the library `datasets`: which one holds the images, which one the labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sparring.data.classes import label_columns
from sparring.data.decode import Content
from sparring.data.sources.image_source import MOST_IMAGE_BYTES
from sparring.errors import DataError
from sparring.regular_files import read_once


def image_column(columns: Mapping[str, Any], *, where: str) -> str:
    """Column that holds the images: `image` if it can, otherwise the first that can.

    Args:
        columns: feature of each column; an example of the set where it has no features.
        where: what the set is called in messages.

    Raises:
        DataError: if there is none, with the columns that there are.
    """
    fitting = [name for name, feature in columns.items() if _holds_images(feature)]
    if not fitting:
        raise DataError(
            f"{where} has the columns {', '.join(columns)}, and none holds images; give a set "
            "with a column of images"
        )
    return "image" if "image" in fitting else fitting[0]


def label_column(columns: Mapping[str, Any], *, image: str) -> tuple[str, tuple[str, ...] | None]:
    """Column that holds the labels, and the names of its numbers if known; empty without one."""
    found = label_columns(name for name in columns if name != image)
    if not found:
        return "", None
    names = getattr(columns[found[0]], "names", None)
    return found[0], tuple(map(str, names)) if names else None


def without_decoding(dataset: Any, column: str) -> Any:
    """Set whose images stay encoded files."""
    from datasets import Image as ImageFeature

    if isinstance((dataset.features or {}).get(column), ImageFeature):
        return dataset.cast_column(column, ImageFeature(decode=False))
    return dataset


def stored_content(value: Any) -> Content:
    """Image of a row, as it is stored: an encoded file, or values.

    Raises:
        OSError: if the row names a file that cannot be read.
    """
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        return content if content is not None else _file(str(path or ""))
    if isinstance(value, Image.Image):
        return np.asarray(value.convert("RGB") if value.mode in ("P", "CMYK") else value)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return np.asarray(value)


def _file(path: str) -> bytes:
    """Content of a file that a row names, on this machine or on the Hub."""
    if "://" not in path:
        return read_once(Path(path), most_bytes=MOST_IMAGE_BYTES)
    from datasets.utils.file_utils import xopen

    with xopen(path, "rb") as file:
        content: bytes = file.read(MOST_IMAGE_BYTES + 1)
    return content


def _holds_images(feature: Any) -> bool:
    """Whether a feature, or an example's value, is that of an image."""
    if isinstance(feature, Mapping):
        return "bytes" in feature
    if isinstance(feature, Image.Image | bytes):
        return True
    if isinstance(feature, np.ndarray):
        return feature.ndim in (2, 3)
    kind = type(feature).__name__
    is_binary = str(getattr(feature, "dtype", "")) in ("binary", "large_binary")
    return kind in ("Image", "Array3D", "Array2D") or is_binary
