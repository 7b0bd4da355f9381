"""Boxes in parquet files of the Hugging Face layout.

Column `objects` holds lists `bbox` and `category`, or a list of such pairs. Boxes are [x, y, width,
height] unless the metadata names another format; categories are numbers or names.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from sparring.data.classes import canonical
from sparring.data.sources.annotations import (
    AnnotatedImages,
    ObjectAnnotation,
    refuse_corners,
    relabelled,
    size_of,
    stack_annotations,
)
from sparring.data.sources.fields import field, identifier, in_order, number, shown
from sparring.data.sources.parquet import open_parquet
from sparring.data.sources.row_groups import damage_told
from sparring.errors import DataError, unknown_name

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Found = TypeVar("Found")

COLUMN, BOX, CATEGORY = "objects", "bbox", "category"
FORMATS = {
    "xywh": "xywh",
    "coco": "xywh",
    "xyxy": "xyxy",
    "voc": "xyxy",
    "pascal_voc": "xyxy",
    "cxcywh": "cxcywh",
    "yolo": "shares cxcywh",
    "albumentations": "shares xyxy",
}
"""What the names of formats mean: x and y are the left top corner, or the second time the right
bottom one, cx and cy the centre, w and h the size, in pixels or in shares of the image."""
FORMAT_KEYS = ("format", "bbox_format", "box_format")
"""Keys that may name the format, in the metadata of `objects` or of the file."""


def open_boxes_parquet(root: Path, names: Sequence[str]) -> AnnotatedImages:
    """Images and boxes of parquet files; the classes of several files are matched by name.

    Args:
        root: folder of the files.
        names: paths relative to it.

    Raises:
        DataError: without pyarrow, for files without such a column, or with other classes.
    """
    source = open_parquet(root, names)
    import pyarrow.parquet as pq

    files = [_File(root / name, pq.ParquetFile(root / name)) for name in names]
    classes = _classes(root, files)
    sizes = torch.tensor([size_of(source, index) for index in range(len(source))], dtype=torch.long)
    marks, num_empty, image = [], 0, 0
    for file in files:
        labels = _labels(classes, file)
        for row in file.rows:
            height, width = sizes[image].tolist()
            for category, box in _objects(source.key(image), row):
                if category not in labels:
                    raise DataError(
                        f"{source.key(image)} has category {category[1]}; accepted are 0 to "
                        f"{len(classes) - 1} ({', '.join(classes)})"
                    )
                if box is None:
                    num_empty += 1
                else:
                    # An image that cannot be read has no size, and no box of it is used.
                    edges = _edges(box, file.format, (max(1, width), max(1, height)))
                    marks.append(ObjectAnnotation(image, edges, labels[category]))
            image += 1
    objects = stack_annotations(marks)
    if all(file.format == "xywh" for file in files):
        refuse_corners(objects, sizes, where=str(root / names[0]))
    note = f"{root}: {num_empty:,} objects have no box; they were left out"
    return AnnotatedImages(
        source,
        objects,
        sizes=sizes,
        class_names=classes,
        outlines="parquet files hold boxes only",
        notes=[note] if num_empty else [],
    )


class _File:
    """Boxes of one parquet file: its rows, the class names it declares, the format of its boxes."""

    def __init__(self, path: Path, table: "pq.ParquetFile") -> None:
        schema = table.schema_arrow
        _check_columns(path, schema)
        with damage_told(path):
            self.rows = [_lists(row) for row in table.read(columns=[COLUMN])[COLUMN].to_pylist()]
        features = _features(schema)
        names = _below(features, ("names",), list)
        self.declared = tuple(canonical(str(name)) for name in names) if names else None
        given = _below(features, FORMAT_KEYS, str) or _in_metadata(schema) or "xywh"
        if given.lower() not in FORMATS:
            raise DataError(f"{path}: {unknown_name('format of boxes', given, FORMATS)}")
        self.format = FORMATS[given.lower()]


def _check_columns(path: Path, schema: "pa.Schema") -> None:
    import pyarrow as pa

    if COLUMN not in schema.names:
        raise DataError(
            f"{path} has no boxes: its columns are {', '.join(schema.names)}, and '{COLUMN}' "
            "must be one"
        )
    type_ = schema.field(COLUMN).type
    entry = type_.value_type if pa.types.is_list(type_) else type_
    if (
        not pa.types.is_struct(entry)
        or min(entry.get_field_index(BOX), entry.get_field_index(CATEGORY)) < 0
    ):
        raise DataError(
            f"{path}: column '{COLUMN}' must be a struct of lists '{BOX}' and '{CATEGORY}', "
            f"got {type_}"
        )


def _lists(row: object) -> dict[str, object]:
    """Boxes and categories of a row, empty where the row or a list of it is null."""
    if isinstance(row, list):
        pairs = [entry or {} for entry in row]
        return {key: [entry.get(key) for entry in pairs] for key in (BOX, CATEGORY)}
    known = row if isinstance(row, dict) else {}
    return {key: [] if known.get(key) is None else known[key] for key in (BOX, CATEGORY)}


def _features(schema: "pa.Schema") -> object:
    """What the Hugging Face metadata says of the column."""
    try:
        tree = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][COLUMN]
        _below(tree, (), str)  # goes through all of it, as deep as it is
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tree


def _in_metadata(schema: "pa.Schema") -> str | None:
    """Format that the metadata of the file or of the column names."""
    both = (schema.field(COLUMN).metadata, schema.metadata)
    keys = [key.encode() for key in FORMAT_KEYS]
    found = [known[key] for known in both if known for key in keys if key in known]
    return found[0].decode(errors="replace") if found else None


def _below(tree: object, keys: Sequence[str], type_: type[Found]) -> Found | None:
    """First value of that type with one of the keys; versions differ in where names are."""
    if not isinstance(tree, Mapping):
        return None
    for key in keys:
        if isinstance(value := tree.get(key), type_):
            return value
    parts = (_below(part, keys, type_) for part in tree.values())
    return next((found for part in parts if (found := part)), None)


def _classes(root: Path, files: Sequence[_File]) -> tuple[str, ...]:
    """Names of all classes: as declared, else the categories themselves."""
    declared = [file.declared for file in files if file.declared is not None]
    if 0 < len(declared) < len(files):
        raise DataError(f"some parquet files in {root} name their classes and others do not")
    if declared:
        return declared[0]
    rows = [row[CATEGORY] for file in files for row in file.rows]
    categories = [value for row in rows if isinstance(row, list) for value in row]
    found = {_category(str(root), value) for value in categories if value is not None}
    if all(name.isdecimal() for name in found):
        return tuple(str(place) for place in range(max(map(int, found), default=-1) + 1))
    return tuple(in_order(list(found)))


def _labels(classes: Sequence[str], file: _File) -> dict[tuple[bool, str], int]:
    """Label of each category of a file, by whether it is a text and by its text."""
    names = classes if file.declared is None else file.declared
    labels = relabelled(classes, names)
    texts = [str(place) for place in range(len(names))] if file.declared is not None else names
    by_number = {
        (is_text, text): label
        for is_text in (False, True)
        for text, label in zip(texts, labels, strict=True)
    }
    by_name = {(True, name): label for name, label in zip(names, labels, strict=True)}
    return by_number | by_name


def _category(where: str, value: object) -> str:
    return canonical(field(identifier, value, where=where, key=CATEGORY))


def _objects(
    where: str, row: Mapping[str, Any]
) -> Iterator[tuple[tuple[bool, str], list[float] | None]]:
    """Category of each box of a row, as in `_labels`, and its numbers; None for a null box."""
    boxes, categories = row[BOX], row[CATEGORY]
    for key, values in row.items():
        if not isinstance(values, list):
            raise DataError(f"{where} has '{key}' {shown(values)}; it must be a list")
    if len(boxes) != len(categories):
        raise DataError(
            f"{where} has {len(boxes)} boxes and {len(categories)} categories; give "
            "one category per box"
        )
    for box, value in zip(boxes, categories, strict=True):
        if box is not None and not (isinstance(box, list) and len(box) in (0, 4)):
            raise DataError(f"{where}: a box is [x, y, width, height], got {shown(box)}")
        numbers = [field(number, part, where=where, key=BOX) for part in box or ()]
        known = [part for part in numbers if part is not None]
        category = isinstance(value, str), _category(where, value)
        yield category, known if len(known) == 4 else None


def _edges(box: list[float], form: str, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in pixels of a box in one of `FORMATS`."""
    x, y, third, fourth = box
    if form.endswith("cxcywh"):
        x, y, third, fourth = x - third / 2, y - fourth / 2, x + third / 2, y + fourth / 2
    elif form.endswith("xywh"):
        third, fourth = x + third, y + fourth
    width, height = size if form.startswith("shares") else (1, 1)
    (left, right), (top, bottom) = sorted((x, third)), sorted((y, fourth))
    return left * width, top * height, right * width, bottom * height
