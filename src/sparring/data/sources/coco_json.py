"""Boxes and outlines of a COCO json with `images`, `annotations` and `categories`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparring.data.decode import UnreadableImageError, load_header_size
from sparring.data.sources.annotations import (
    AnnotatedImages,
    ObjectAnnotation,
    Outlines,
    stack_annotations,
)
from sparring.data.sources.files import Files
from sparring.data.sources.run_lengths import mask_of
from sparring.errors import DataError

Table = list[dict[str, Any]]


def open_coco(path: Path) -> AnnotatedImages:
    """Images and objects of a COCO json.

    Images are searched next to the json, in `images/` there, and in the folder named after the
    split next to the json's own folder: `annotations/instances_val2017.json` goes with `val2017/`.
    Labels are the categories in the order of their ids.

    Args:
        path: the json file.

    Raises:
        DataError: if the file is not COCO or contradicts itself, or if images are missing.
    """
    images, annotations, categories = _read(path)
    labels = _labels(path, categories)
    source = Files(*_found(path, [str(image["file_name"]) for image in images]))
    numbers = {image["id"]: number for number, image in enumerate(images)}
    if len(numbers) < len(images):
        raise DataError(f"{path}: two images have the same id; give each its own")
    for annotation in annotations:
        _check(path, annotation, numbers, labels)
    annotations.sort(key=lambda annotation: numbers[annotation["image_id"]])
    sizes = _sizes(source, images)
    return AnnotatedImages(
        source,
        stack_annotations([_mark(annotation, numbers, labels) for annotation in annotations]),
        sizes=sizes,
        class_names=tuple(
            str(category["name"])
            for category in sorted(categories, key=lambda category: category["id"])
        ),
        outlines=_outlines(annotations, numbers, sizes, source),
    )


def _read(path: Path) -> tuple[Table, Table, Table]:
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:  # also for bytes that are not text
        raise DataError(f"{path} is not JSON: {error}") from None
    keys = ("images", "annotations", "categories")
    parts = [tree.get(key) if isinstance(tree, dict) else None for key in keys]
    required = ({"id", "file_name"}, {"image_id", "category_id", "bbox"}, {"id", "name"})
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
                    f"{', '.join(sorted(fields))}, unlike {_shown(entry)}"
                )
    if not parts[0]:
        raise DataError(f"{path} names no images")
    return parts[0], parts[1], parts[2]  # type: ignore[return-value]


def _labels(path: Path, categories: Table) -> dict[int, int]:
    """Label of each category id, from 1 on."""
    labels = {
        category["id"]: label
        for label, category in enumerate(
            sorted(categories, key=lambda category: category["id"]), start=1
        )
    }
    if len(labels) < len(categories):
        raise DataError(f"{path}: two categories have the same id; give each its own")
    return labels


def _check(
    path: Path, annotation: dict[str, Any], numbers: Mapping[int, int], labels: Mapping[int, int]
) -> None:
    if annotation["category_id"] not in labels:
        raise DataError(
            f"{path}: annotation {_shown(annotation)} has a category that 'categories' lacks; "
            f"it lists {_listed(labels)}"
        )
    if annotation["image_id"] not in numbers:
        raise DataError(
            f"{path}: annotation {_shown(annotation)} belongs to an image that 'images' lacks"
        )
    box = annotation["bbox"]
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(value, int | float) for value in box)
    ):
        raise DataError(
            f"{path}: annotation {_shown(annotation)} has no bbox [x, y, width, height]"
        )


def _mark(
    annotation: dict[str, Any], numbers: Mapping[int, int], labels: Mapping[int, int]
) -> ObjectAnnotation:
    x, y, width, height = annotation["bbox"]
    return ObjectAnnotation(
        image=numbers[annotation["image_id"]],
        box=(x, y, x + width, y + height),
        label=labels[annotation["category_id"]],
        area=float(annotation.get("area", float("nan"))),
        is_crowd=bool(annotation.get("iscrowd", False)),
    )


def _found(path: Path, names: Sequence[str]) -> tuple[Path, list[str]]:
    """Folder that holds the images, and their names in it."""
    split = path.stem.rpartition("_")[2]
    folders = [path.parent, path.parent / "images", path.parent.parent / split]
    # Some files include the folder in the image names, others do not.
    for folder in folders:
        if (folder / names[0]).is_file():
            missing = [name for name in names if not (folder / name).is_file()]
            if missing:
                raise DataError(
                    f"{len(missing):,} of the {len(names):,} images of {path} are not in "
                    f"{folder}, such as {missing[0]}"
                )
            return folder, list(names)
    raise DataError(
        f"the images of {path}, such as {names[0]}, are in none of "
        f"{', '.join(map(str, folders))}; put them into one of these"
    )


def _sizes(source: Files, images: Table) -> Tensor:
    """Height and width of each image from the json; from the file if the json has none."""

    def size(index: int, image: dict[str, Any]) -> tuple[int, int]:
        """Height and width of one image."""
        if "height" in image and "width" in image:
            return int(image["height"]), int(image["width"])
        try:
            return load_header_size(source.read, index)
        except UnreadableImageError as error:
            raise DataError(
                f"{source.key(index)} cannot be read ({error}); repair the image or take it out "
                "of the annotations"
            ) from None

    return torch.tensor(
        [size(index, image) for index, image in enumerate(images)], dtype=torch.long
    )


def _outlines(
    annotations: Table, numbers: Mapping[int, int], sizes: Tensor, source: Files
) -> Outlines | str:
    bare = [annotation for annotation in annotations if not annotation.get("segmentation")]
    if bare:
        return (
            f"{len(bare):,} of {len(annotations):,} annotations have no 'segmentation', such as "
            f"{_shown(bare[0])}"
        )
    by_image: dict[int, list[Any]] = {}
    for annotation in annotations:
        by_image.setdefault(numbers[annotation["image_id"]], []).append(annotation["segmentation"])

    def masks(index: int) -> Tensor:
        """Filled outlines of one image's objects, (objects, height, width)."""
        height, width = sizes[index].tolist()
        try:
            found = [
                mask_of(outline, height=height, width=width) for outline in by_image.get(index, [])
            ]
        except DataError as error:
            raise DataError(f"{source.key(index)}: {error}") from None
        return torch.stack(found) if found else torch.zeros(0, height, width, dtype=torch.bool)

    return masks


def _shown(entry: object) -> str:
    """Short text for an entry: its id if it has one."""
    if isinstance(entry, dict) and "id" in entry:
        more = (
            f" (category {entry['category_id']}, image {entry.get('image_id')})"
            if "category_id" in entry
            else ""
        )
        return f"{entry['id']}{more}"
    text = repr(entry)
    return text if len(text) < 80 else f"{text[:80]}..."


def _listed(labels: Mapping[int, int]) -> str:
    shown = ", ".join(str(number) for number in list(labels)[:10])
    return shown + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")
