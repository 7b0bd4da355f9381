"""Boxes in parquet files of the Hugging Face layout.

Column `objects` holds lists `bbox` [x, y, width, height] and `category`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sparring.data.decode import UnreadableImageError, load_header_size
from sparring.data.sources.annotations import AnnotatedImages, ObjectAnnotation, stack_annotations
from sparring.data.sources.parquet import Parquet, open_parquet
from sparring.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

COLUMN, BOX, CATEGORY = "objects", "bbox", "category"


def open_boxes_parquet(root: Path, names: Sequence[str]) -> AnnotatedImages:
    """Images and boxes of parquet files.

    Args:
        root: folder of the files.
        names: paths relative to it.

    Raises:
        DataError: without pyarrow, or for files without such a column.
    """
    source = open_parquet(root, names)
    import pyarrow.parquet as pq

    tables = [pq.ParquetFile(root / name) for name in names]
    for name, table in zip(names, tables, strict=True):
        _check_columns(root / name, table.schema_arrow)
    rows = [row for table in tables for row in table.read(columns=[COLUMN])[COLUMN].to_pylist()]
    categories = _class_names(tables[0].schema_arrow) or _numbers(rows)
    marks = [
        mark
        for image, row in enumerate(rows)
        for mark in _marks(source, image, row or {}, categories)
    ]
    sizes = torch.tensor([_size(source, index) for index in range(len(source))], dtype=torch.long)
    return AnnotatedImages(
        source,
        stack_annotations(marks),
        sizes=sizes,
        class_names=categories,
        outlines="parquet files hold boxes only",
    )


def _check_columns(path: Path, schema: "pa.Schema") -> None:
    import pyarrow as pa

    if COLUMN not in schema.names:
        raise DataError(
            f"{path} has no boxes: its columns are {', '.join(schema.names)}, and '{COLUMN}' "
            "must be one"
        )
    type_ = schema.field(COLUMN).type
    if (
        not pa.types.is_struct(type_)
        or min(type_.get_field_index(BOX), type_.get_field_index(CATEGORY)) < 0
    ):
        raise DataError(
            f"{path}: column '{COLUMN}' must be a struct of lists '{BOX}' and '{CATEGORY}', "
            f"got {type_}"
        )


def _class_names(schema: "pa.Schema") -> tuple[str, ...] | None:
    """Class names from the Hugging Face metadata.

    Versions differ in where below `objects` they are.
    """
    try:
        tree = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][COLUMN]
    except (KeyError, TypeError, ValueError):
        return None
    found = _names_below(tree)
    return tuple(str(name) for name in found) if found else None


def _names_below(tree: object) -> list[object] | None:
    if not isinstance(tree, Mapping):
        return None
    names = tree.get("names")
    if isinstance(names, list):
        return names
    return next((found for part in tree.values() if (found := _names_below(part))), None)


def _numbers(rows: Iterable[Mapping[str, Any] | None]) -> tuple[str, ...]:
    """Class numbers up to the largest, as names."""
    largest = max(
        (int(number) for row in rows for number in (row or {}).get(CATEGORY) or ()), default=-1
    )
    return tuple(str(number) for number in range(largest + 1))


def _marks(
    source: Parquet, image: int, row: Mapping[str, Any], categories: Sequence[str]
) -> list[ObjectAnnotation]:
    boxes, numbers = row.get(BOX) or [], row.get(CATEGORY) or []
    if len(boxes) != len(numbers):
        raise DataError(
            f"{source.key(image)} has {len(boxes)} boxes and {len(numbers)} categories; give "
            "one category per box"
        )
    marks = []
    for box, number in zip(boxes, numbers, strict=True):
        if len(box) != 4:
            raise DataError(f"{source.key(image)}: a box is [x, y, width, height], got {box}")
        if number is None or not 0 <= number < len(categories):
            raise DataError(
                f"{source.key(image)} has category {number}; accepted are 0 to "
                f"{len(categories) - 1} ({', '.join(categories)})"
            )
        x, y, width, height = box
        marks.append(ObjectAnnotation(image, (x, y, x + width, y + height), number + 1))
    return marks


def _size(source: Parquet, index: int) -> tuple[int, int]:
    try:
        return load_header_size(source.read, index)
    except UnreadableImageError as error:
        raise DataError(
            f"{source.key(index)} cannot be read ({error}); repair it or leave the row out"
        ) from None
