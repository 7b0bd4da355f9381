"""Images with the boxes and outlines of a COCO json: where the images are, and masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparring.data.run_lengths import check_outline, mask_of
from sparring.data.sources.annotations import (
    AnnotatedImages,
    Outlines,
    refuse_corners,
    size_of,
    stack_annotations,
)
from sparring.data.sources.coco_entries import CocoObject, read_entries
from sparring.data.sources.fields import clipped
from sparring.data.sources.files import Files
from sparring.errors import DataError


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
    entries = read_entries(path)
    source = Files(*_found(path, [image.name for image in entries.images]))
    sizes = torch.tensor(
        [image.size or size_of(source, row) for row, image in enumerate(entries.images)],
        dtype=torch.long,
    )
    objects = stack_annotations([each.annotation for each in entries.objects])
    refuse_corners(objects, sizes, where=str(path))
    return AnnotatedImages(
        source,
        objects,
        sizes=sizes,
        class_names=entries.class_names,
        outlines=_outlines(entries.objects, sizes),
        notes=entries.notes,
    )


def _found(path: Path, names: Sequence[str]) -> tuple[Path, list[str]]:
    """Folder that holds the images, and their names in it."""
    split = path.stem.rpartition("_")[2]
    folders = [path.parent, path.parent / "images", path.parent.parent / split]
    # Some files include the folder in the image names, others do not.
    for folder in folders:
        if _is_file(folder / names[0]):
            missing = [name for name in names if not _is_file(folder / name)]
            if missing:
                raise DataError(
                    f"{len(missing):,} of the {len(names):,} images of {path} are not in "
                    f"{folder}, such as {clipped(missing[0])}"
                )
            return folder, list(names)
    raise DataError(
        f"the images of {path}, such as {clipped(names[0])}, are in none of "
        f"{', '.join(map(str, folders))}; put them into one of these"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _outlines(objects: Sequence[CocoObject], sizes: Tensor) -> Outlines | str:
    """Masks of the objects of an image; the reason if an object has no outline.

    Objects whose box has no area are left out anyway and need none.
    """
    by_image: dict[int, list[Any]] = {}
    bare, wrong = [], []
    for each in objects:
        left, top, right, bottom = each.annotation.box
        needs_outline = left < right and top < bottom
        row = each.annotation.image
        by_image.setdefault(row, []).append(each.outline if needs_outline else None)
        height, width = sizes[row].tolist()
        if needs_outline and not each.outline:
            bare.append(each.name)
        elif needs_outline and height:
            try:
                check_outline(each.outline, height=height, width=width)
            except DataError as error:
                wrong.append(f"{each.name}: {error}")
    for found, words in ((bare, "no 'segmentation'"), (wrong, "no usable outline")):
        if found:
            return (
                f"{len(found):,} of {len(objects):,} annotations have {words}, such as {found[0]}"
            )

    def masks(index: int) -> Tensor:
        """Filled outlines of one image's objects, (objects, height, width)."""
        height, width = sizes[index].tolist()
        filled = torch.zeros(len(by_image.get(index, [])), height, width, dtype=torch.bool)
        for place, outline in enumerate(by_image.get(index, [])):
            if outline is not None:
                filled[place] = mask_of(outline, height=height, width=width)
        return filled

    return masks
