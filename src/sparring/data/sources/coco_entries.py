"""Entries of a COCO json, read whatever the types of their fields and in whatever order they are.

Ids are compared as texts. An entry that is listed twice counts once, objects of images that are not
listed are left out, and both are told; what has no single meaning is refused.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.data.classes import canonical, listed
from sparring.data.run_lengths import box_of
from sparring.data.sources.annotations import ObjectAnnotation
from sparring.data.sources.fields import clipped, field, identifier, in_order, mark, number, shown
from sparring.errors import DataError
from sparring.regular_files import read_bytes

Table = list[dict[str, Any]]
_LEFT_OUT = {
    "elsewhere": "{:,} annotations belong to images that 'images' lacks; they were left out",
    "empty": "{:,} annotations have neither a box nor an outline; they were left out",
    "repeated": "{:,} annotations of images listed more than once are repeated; each counts once",
    "turned": "{:,} boxes have a negative width or height; their corners were exchanged",
}
"""Lines about annotations that are not as they should be, by a short name."""


@dataclass(frozen=True)
class CocoImage:
    """An image as the json lists it."""

    name: str
    size: tuple[int, int] | None
    """Height and width in pixels, if the json has both."""


@dataclass(frozen=True)
class CocoObject:
    """An object as the json annotates it."""

    name: str
    """How messages call it: by its id, category and image."""
    annotation: ObjectAnnotation
    outline: object
    """Polygons or run lengths, not checked; None or empty where there are none."""


@dataclass(frozen=True)
class CocoEntries:
    """All entries, the objects in the order of their images."""

    images: tuple[CocoImage, ...]
    class_names: tuple[str, ...]
    objects: tuple[CocoObject, ...]
    notes: tuple[str, ...]


def read_entries(path: Path) -> CocoEntries:
    """Entries of a COCO json.

    Raises:
        DataError: if the file is not COCO or contradicts itself.
    """
    images, annotations, categories = _tables(path)
    places, numbers, image_notes = _images(path, images)
    class_names, labels, class_notes = _classes(path, categories)
    objects, object_notes = _objects(path, annotations, numbers, labels)
    notes = (*image_notes, *class_notes, *object_notes)
    return CocoEntries(places, class_names, objects, tuple(f"{path}: {note}" for note in notes))


def _tables(path: Path) -> tuple[Table, Table, Table]:
    try:
        tree = json.loads(read_bytes(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:  # also for bytes that are not text
        raise DataError(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise DataError(f"{path} is not COCO: its lists are nested too deeply") from None
    keys = ("images", "annotations", "categories")
    parts = [tree.get(key) if isinstance(tree, dict) else None for key in keys]
    required = ({"id", "file_name"}, {"image_id", "category_id"}, {"id", "name"})
    for key, part, fields in zip(keys, parts, required, strict=True):
        if not isinstance(part, list):
            raise DataError(
                f"{path} is not COCO: it needs lists 'images', 'annotations' and "
                f"'categories', and '{key}' is none"
            )
        for entry in part:
            if not isinstance(entry, dict) or not fields <= entry.keys():
                raise DataError(
                    f"{path} is not COCO: every entry of '{key}' needs "
                    f"{', '.join(sorted(fields))}, unlike {_called(entry)}"
                )
    if not parts[0]:
        raise DataError(f"{path} names no images")
    if parts[1] and not any({"bbox", "segmentation"} & entry.keys() for entry in parts[1]):
        raise DataError(f"{path} has no boxes: no entry of 'annotations' has a 'bbox'")
    return parts[0], parts[1], parts[2]  # type: ignore[return-value]


def _images(
    path: Path, images: Table
) -> tuple[tuple[CocoImage, ...], dict[str, tuple[int, bool]], list[str]]:
    """Images, their number by id and whether they are listed twice, and notes."""
    found: dict[str, CocoImage] = {}
    names: dict[str, str] = {}
    for image in images:
        where = f"{path}: image {_called(image)}"
        key = field(identifier, image["id"], where=where, key="id")
        if not isinstance(name := image["file_name"], str) or not name.strip():
            raise DataError(f"{where} has 'file_name' {shown(name)}; it must be a path")
        if names.setdefault(key, name) != name:
            raise DataError(
                f"{path}: two images have the same id {clipped(key)}; give each its own"
            )
        size = _size(image, where)
        known = found.get(name)
        if known and known.size and size and known.size != size:
            raise DataError(f"{where}, {clipped(name)}, is listed twice with different sizes")
        found[name] = known if known and known.size else CocoImage(name, size)
    rows = {name: row for row, name in enumerate(found)}
    repeated = _repeated([image["file_name"] for image in images])
    numbers = {key: (rows[name], name in repeated) for key, name in names.items()}
    count = len(images) - len(found)
    notes = [f"{count:,} images are listed more than once; each counts once"] if count else []
    return tuple(found.values()), numbers, notes


def _repeated(names: Sequence[str]) -> set[str]:
    """Names that are listed more than once."""
    return {name for name, count in Counter(names).items() if count > 1}


def _size(image: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    """Height and width of an image, if both are given and positive."""
    height, width = (
        int(field(number, image.get(key), where=where, key=key) or 0) for key in ("height", "width")
    )
    return (height, width) if min(height, width) >= 1 else None


def _classes(path: Path, categories: Table) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """Names of the classes in the order of their ids, the label of each id from 1 on, and notes."""
    names: dict[str, str] = {}
    for category in categories:
        where = f"{path}: category {_called(category)}"
        key = field(identifier, category["id"], where=where, key="id")
        name = canonical(field(identifier, category["name"], where=where, key="name"))
        if names.setdefault(key, name) != name:
            raise DataError(
                f"{path}: two categories have the same id {clipped(key)}; give each its own"
            )
    ordered = in_order(list(names))
    classes = tuple(dict.fromkeys(names[key] for key in ordered))
    labels = {name: label for label, name in enumerate(classes, start=1)}
    notes = []
    if shared := _repeated([names[key] for key in ordered]):
        notes.append(f"several categories are called {listed(sorted(shared))}: taken as one class")
    return classes, {key: labels[name] for key, name in names.items()}, notes


def _objects(
    path: Path,
    annotations: Table,
    numbers: Mapping[str, tuple[int, bool]],
    labels: Mapping[str, int],
) -> tuple[tuple[CocoObject, ...], list[str]]:
    """Objects in the order of their images, and notes."""
    found: list[CocoObject] = []
    counts = dict.fromkeys(_LEFT_OUT, 0)
    seen: set[object] = set()
    for entry in annotations:
        where = f"{path}: annotation {_called(entry)}"
        label = labels.get(field(identifier, entry["category_id"], where=where, key="category_id"))
        if label is None:
            raise DataError(
                f"{where} has a category that 'categories' lacks; it lists {_first(labels)}"
            )
        key = field(identifier, entry["image_id"], where=where, key="image_id")
        if key not in numbers:
            counts["elsewhere"] += 1
            continue
        row, is_repeated = numbers[key]
        corners = _corners(entry, where)
        if corners is None:
            counts["empty"] += 1
            continue
        box, is_turned = corners
        counts["turned"] += is_turned
        area = field(number, entry.get("area"), where=where, key="area")
        annotation = ObjectAnnotation(
            image=row,
            box=box,
            label=label,
            area=area if area is not None and area > 0 else float("nan"),
            is_crowd=field(mark, entry.get("iscrowd"), where=where, key="iscrowd"),
        )
        if is_repeated:
            if (row, box, label) in seen:
                counts["repeated"] += 1
                continue
            seen.add((row, box, label))
        found.append(CocoObject(_called(entry), annotation, entry.get("segmentation")))
    found.sort(key=lambda each: each.annotation.image)
    notes = [sentence.format(counts[key]) for key, sentence in _LEFT_OUT.items() if counts[key]]
    return tuple(found), notes


def _corners(
    entry: Mapping[str, Any], where: str
) -> tuple[tuple[float, float, float, float], bool] | None:
    """Left, top, right and bottom of an object, and whether its corners were exchanged; without a
    box those of its outline, None if it has neither."""
    box = entry.get("bbox")
    values: list[float | None] = [None]
    if box is not None and box != []:
        if not isinstance(box, list) or len(box) != 4:
            raise DataError(f"{where} has no bbox [x, y, width, height], got {shown(box)}")
        values = [field(number, value, where=where, key="bbox") for value in box]
    known = [value for value in values if value is not None]
    if len(known) < 4:
        around = box_of(entry.get("segmentation"))
        return None if around is None else (around, False)
    x, y, width, height = known
    (left, right), (top, bottom) = sorted((x, x + width)), sorted((y, y + height))
    return (left, top, right, bottom), width < 0 or height < 0


def _called(entry: object) -> str:
    """Short text for an entry: its id if it has one."""
    if isinstance(entry, dict) and "id" in entry:
        more = (
            f" (category {shown(entry['category_id'])}, image {shown(entry.get('image_id'))})"
            if "category_id" in entry
            else ""
        )
        return f"{shown(entry['id'])}{more}"
    return shown(entry)


def _first(labels: Mapping[str, int]) -> str:
    text = ", ".join(map(clipped, in_order(list(labels))[:10]))
    return text + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")
