"""Columns of sets of the package `datasets`: which one holds the images, which one the labels, and
what a value of them is. Sets with random access and streams follow the same rules.

Nothing here imports the package; an object of it shows that it is imported already.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from sparring.data.decode import Content
from sparring.data.sources.image_source import MOST_IMAGE_BYTES
from sparring.data.sources.items import ItemReader
from sparring.data.sources.label_column import ColumnLabels, Numbers, column_labels
from sparring.data.sources.map_style import IMAGE_KEY
from sparring.errors import DataError

_ARRAYS = ("Array2D", "Array3D")
_BINARY = ("binary", "large_binary")
_NO_LABELS = ("Image", "Audio")


def image_column(columns: Mapping[str, Any], *, where: str) -> str:
    """Column that holds the images: pictures before arrays before bytes, and among equals `image`
    before others.

    Args:
        columns: feature of each column; an example of the set where it has no features.
        where: what the set is called in messages.

    Raises:
        DataError: if there is none, with the columns that there are.
    """
    for holds_images in (_is_picture, is_array, _is_encoded):
        fitting = [name for name, feature in columns.items() if holds_images(feature)]
        if fitting:
            return IMAGE_KEY if IMAGE_KEY in fitting else fitting[0]
    shown = ", ".join(f"{name} ({_kind(feature)})" for name, feature in columns.items())
    raise DataError(
        f"{where} has the columns {shown[:300]}, and none holds images; give a set with a column "
        "of images, such as dataset.cast_column(NAME, datasets.Image()) makes"
    )


def labels_beside(columns: Mapping[str, Any], numbers: Numbers, *, images: str) -> ColumnLabels:
    """Labels of the first column that may hold them; pictures and sounds are none.

    Args:
        columns: feature of each column, or an example.
        numbers: see `column_labels`.
        images: column of the images.
    """

    def of_fitting(column: str) -> Any:
        """What `numbers` finds in a column of a type that may hold labels."""
        feature = columns[column]
        if _is_feature(feature) and type(feature).__name__ not in ("ClassLabel", "Value"):
            raise DataError(
                f"column '{column}' is of the type {str(feature)[:80]}; a column of labels holds "
                "one whole number or name per row"
            )
        return numbers(column)

    others = [
        name
        for name, feature in columns.items()
        if name != images and type(feature).__name__ not in _NO_LABELS
    ]
    return column_labels(others, of_fitting)


def names_of(feature: Any) -> tuple[str, ...] | None:
    """Names of the numbers of a column; None if it has none."""
    return tuple(map(str, getattr(feature, "names", None) or ())) or None


def stored_rows(dataset: Any, column: str) -> Any:
    """Set without its format, whose pictures stay encoded files."""
    rows, feature = dataset.with_format(None), (dataset.features or {}).get(column)
    if type(feature).__name__ == "Image":
        from datasets import Image as ImageFeature

        return rows.cast_column(
            column, ImageFeature(mode=getattr(feature, "mode", None), decode=False)
        )
    return rows.with_format("numpy") if is_array(feature) else rows


def stored_content(value: Any, feature: Any, reader: ItemReader) -> Content:
    """Image of a row as it is stored: an encoded file, or values.

    Args:
        value: of the row.
        feature: of its column; the dtype of an array counts, which streams do not keep.
        reader: of images by their kind.

    Raises:
        OSError: if it is no image, or names a file that cannot be read.
    """
    if isinstance(value, Mapping) and value.get("bytes") is None:
        path = str(value.get("path") or "")
        if "://" in path:
            return _remote(path)
    if type(feature).__name__ in _ARRAYS and value is not None:
        value = np.asarray(value, feature.dtype)
    return reader.content(value)


def is_array(feature: Any) -> bool:
    """Whether a feature, or an example's value, is that of an image as an array."""
    if isinstance(feature, np.ndarray | Tensor):
        return feature.ndim in (2, 3)
    return type(feature).__name__ in _ARRAYS


def _remote(path: str) -> bytes:
    """Content of a file on the Hub or a server."""
    from datasets.utils.file_utils import xopen

    with xopen(path, "rb") as file:
        content: bytes = file.read(MOST_IMAGE_BYTES + 1)
    return content


def _is_picture(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return "bytes" in feature
    return isinstance(feature, Image.Image) or (
        _is_feature(feature) and type(feature).__name__ == "Image"
    )


def _is_encoded(feature: Any) -> bool:
    return isinstance(feature, bytes) or str(getattr(feature, "dtype", "")) in _BINARY


def _is_feature(value: Any) -> bool:
    """Whether a value is the type of a column, and not an example."""
    return type(value).__module__.partition(".")[0] == "datasets"


def _kind(feature: Any) -> str:
    return str(feature) if _is_feature(feature) else type(feature).__name__
