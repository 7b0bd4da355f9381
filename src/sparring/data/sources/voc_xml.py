"""Boxes and outlines of the Pascal VOC layout.

Files: `Annotations/*.xml`, `JPEGImages/*.jpg`, and optionally `SegmentationObject/*.png`.

VOC counts pixels from one and includes the last. Here boxes count from zero and exclude their right
and bottom edges.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sparring.data.decode import UnreadableImageError, load_header_size
from sparring.data.sources.annotations import (
    AnnotatedImages,
    ObjectAnnotation,
    Outlines,
    stack_annotations,
)
from sparring.data.sources.files import Files
from sparring.errors import DataError

_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG")
# Border between objects, and pixels of none of the 20 classes.
_VOID = 255


class _Item(NamedTuple):
    name: str
    box: tuple[float, float, float, float]
    is_difficult: bool


def open_voc(path: Path) -> AnnotatedImages:
    """Images and objects of a VOC folder.

    Args:
        path: list of images, such as `VOC2007/ImageSets/Main/trainval.txt`; or the folder `VOC2007`
            itself for all annotated images.

    Raises:
        DataError: if the data is not VOC or something is missing.
    """
    root, names = _names(path)
    trees = [_tree(root / "Annotations" / f"{name}.xml") for name in names]
    items = [
        _items(root / "Annotations" / f"{name}.xml", tree)
        for name, tree in zip(names, trees, strict=True)
    ]
    classes = tuple(sorted({item.name for found in items for item in found}))
    labels = {name: label for label, name in enumerate(classes, start=1)}
    source = Files(root / "JPEGImages", _image_files(root, names))
    marks = [
        ObjectAnnotation(image, item.box, labels[item.name], is_difficult=item.is_difficult)
        for image, found in enumerate(items)
        for item in found
    ]
    sizes = torch.tensor(
        [_size(source, index, tree) for index, tree in enumerate(trees)], dtype=torch.long
    )
    outlines = _outlines(root, names, [len(found) for found in items])
    return AnnotatedImages(
        source, stack_annotations(marks), sizes=sizes, class_names=classes, outlines=outlines
    )


def _names(path: Path) -> tuple[Path, list[str]]:
    """Folder of the set, and the names of its images."""
    if path.is_dir():
        names = sorted(file.stem for file in (path / "Annotations").glob("*.xml"))
        if not names:
            raise DataError(
                f"{path / 'Annotations'} holds no .xml file; give a VOC folder or a list such "
                "as VOC2007/ImageSets/Main/trainval.txt"
            )
        return path, names
    root = path.resolve().parents[2] if len(path.resolve().parents) > 2 else path.parent
    if not (root / "Annotations").is_dir():
        raise DataError(
            f"{path} is not a list of a VOC set: {root} has no folder Annotations; lists belong "
            "into ImageSets/Main"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise DataError(f"{path} names no images")
    return root, names


def _tree(path: Path) -> ElementTree.Element:
    try:
        tree = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except ElementTree.ParseError as error:
        raise DataError(f"{path} is not XML: {error}") from None
    if tree.tag != "annotation":
        raise DataError(f"{path} is not VOC: its root is <{tree.tag}> instead of <annotation>")
    return tree


def _items(path: Path, tree: ElementTree.Element) -> list[_Item]:
    found = []
    for entry in tree.findall("object"):
        try:
            # Direct children only: parts such as heads have their own boxes.
            box = entry.find("bndbox")
            left, top, right, bottom = (
                float(box.findtext(key))  # type: ignore[union-attr, arg-type]
                for key in ("xmin", "ymin", "xmax", "ymax")
            )
            name = str(entry.findtext("name")).strip()
        except (AttributeError, TypeError, ValueError):
            raise DataError(
                f"{path} is not VOC: an <object> needs a <name> and a <bndbox> of xmin, ymin, "
                "xmax and ymax"
            ) from None
        difficult = (entry.findtext("difficult") or "0").strip()
        found.append(_Item(name, (left - 1, top - 1, right, bottom), difficult == "1"))
    return found


def _image_files(root: Path, names: Sequence[str]) -> list[str]:
    folder = root / "JPEGImages"
    found = []
    for name in names:
        file = next(
            (name + suffix for suffix in _SUFFIXES if (folder / (name + suffix)).is_file()), None
        )
        if file is None:
            raise DataError(
                f"there is no image {name}.jpg in {folder}; put it there or take {name} out "
                "of the list"
            )
        found.append(file)
    return found


def _size(source: Files, index: int, tree: ElementTree.Element) -> tuple[int, int]:
    """Height and width from the xml; from the image file if the xml has none."""
    texts = tree.findtext("size/height"), tree.findtext("size/width")
    if all(text is not None and text.strip().isdigit() and int(text) > 0 for text in texts):
        return int(texts[0]), int(texts[1])  # type: ignore[arg-type]
    try:
        return load_header_size(source.read, index)
    except UnreadableImageError as error:
        raise DataError(
            f"{source.key(index)} cannot be read ({error}); repair the image or take it out of "
            "the list"
        ) from None


def _outlines(root: Path, names: Sequence[str], counts: Sequence[int]) -> Outlines | str:
    files = [root / "SegmentationObject" / f"{name}.png" for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        lists = "; take the lists of ImageSets/Segmentation" if len(missing) < len(files) else ""
        return (
            f"{len(missing):,} of {len(files):,} images have no file in SegmentationObject, such "
            f"as {missing[0].name}{lists}"
        )

    def masks(index: int) -> Tensor:
        """Masks of an image's objects: pixels of value k belong to the k-th object."""
        with Image.open(files[index]) as image:
            values = np.asarray(image)
        inside = values[values != _VOID]
        if values.ndim != 2 or (inside.size and int(inside.max()) > counts[index]):
            raise DataError(
                f"{files[index]} must be a palette image whose pixels number the "
                f"{counts[index]} objects of the xml from 1"
            )
        return torch.from_numpy(values[None] == np.arange(1, counts[index] + 1)[:, None, None])

    return masks
