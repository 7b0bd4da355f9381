"""Boxes and outlines of the Pascal VOC layout.

Files: `Annotations/*.xml`, `JPEGImages/*.jpg`, and optionally `SegmentationObject/*.png`.

VOC counts pixels from one and includes the last. Here boxes count from zero and exclude their right
and bottom edges.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import torch
from torch import Tensor

from sparring.data.classes import canonical
from sparring.data.decode import (
    UnreadableImageError,
    load_header_size,
)
from sparring.data.orientation import upright
from sparring.data.sources.annotations import (
    AnnotatedImages,
    ObjectAnnotation,
    Outlines,
    size_of,
    stack_annotations,
)
from sparring.data.sources.fields import field, mark, number
from sparring.data.sources.files import Files
from sparring.data.sources.segmentation_images import ids_of
from sparring.data.stored_picture import as_stored, stored_orientation
from sparring.errors import DataError
from sparring.regular_files import read_bytes, read_text

_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG")
# Border between objects, and pixels of none of the 20 classes.
_VOID = 255
_EDGES = ("xmin", "ymin", "xmax", "ymax")


class _Item(NamedTuple):
    name: str
    box: tuple[float, float, float, float]
    is_difficult: bool
    is_turned: bool
    """Whether the left and right or top and bottom edges were exchanged."""


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
    turned = sum(item.is_turned for found in items for item in found)
    note = f"{path}: {turned:,} boxes end before they begin; their edges were exchanged"
    return AnnotatedImages(
        source,
        stack_annotations(marks),
        sizes=sizes,
        class_names=classes,
        outlines=_outlines(root, names, [len(found) for found in items], source, sizes),
        notes=[note] if turned else [],
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
        lines = read_text(path, encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    names = listed_names(
        lines, is_image=lambda name: (root / "Annotations" / f"{name}.xml").is_file()
    )
    if not names:
        raise DataError(f"{path} names no images")
    return root, names


def listed_names(lines: Sequence[str], *, is_image: Callable[[str], bool]) -> list[str]:
    """Names in a VOC list, one a line, each once: a mark of the class (-1, 0 or 1) may follow, and
    a name may have spaces."""
    names = [line.strip() for line in lines if line.strip()]
    return list(
        dict.fromkeys(
            name if is_image(name) else re.sub(r"\s+(-1|0|1)$", "", name) for name in names
        )
    )


def _tree(path: Path) -> ElementTree.Element:
    try:
        tree = ElementTree.fromstring(read_bytes(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # also for its encoding
        raise DataError(f"{path} is not XML: {error}") from None
    if tree.tag != "annotation":
        raise DataError(f"{path} is not VOC: its root is <{tree.tag}> instead of <annotation>")
    return tree


def _items(path: Path, tree: ElementTree.Element) -> list[_Item]:
    found = []
    for place, entry in enumerate(tree.findall("object"), start=1):
        where = f"{path}: object {place}"
        # Direct children only: parts such as heads have their own boxes.
        box, name = entry.find("bndbox"), canonical(entry.findtext("name") or "")
        texts = {key: box.findtext(key) if box is not None else None for key in _EDGES}
        edges = [field(number, text, where=where, key=key) for key, text in texts.items()]
        known = [edge for edge in edges if edge is not None]
        if not name or len(known) < len(_EDGES):
            raise DataError(
                f"{path} is not VOC: object {place} needs a <name> and a <bndbox> of xmin, ymin, "
                "xmax and ymax"
            )
        (left, right), (top, bottom) = sorted(known[::2]), sorted(known[1::2])
        found.append(
            _Item(
                name,
                (left - 1, top - 1, right, bottom),
                field(mark, entry.findtext("difficult"), where=where, key="difficult"),
                [left, top, right, bottom] != known,
            )
        )
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
    return size_of(source, index)


def _outlines(
    root: Path, names: Sequence[str], counts: Sequence[int], source: Files, sizes: Tensor
) -> Outlines | str:
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
        try:
            values = ids_of(read_bytes(files[index]))
        except (OSError, UnreadableImageError) as error:
            raise DataError(f"{files[index]} cannot be used: {error}") from None
        inside = values[values != _VOID]
        if inside.size and int(inside.max()) > counts[index]:
            raise DataError(
                f"{files[index]} must be a palette image whose pixels number the "
                f"{counts[index]} objects of the xml from 1"
            )
        whole = torch.from_numpy(values)
        size = tuple(sizes[index].tolist())
        if whole.shape != size:  # one of both is for the picture as stored
            turned = upright if load_header_size(source.read, index) == size else as_stored
            whole = turned(whole, stored_orientation(source.read, index))
        if whole.shape != size:
            raise DataError(
                f"{files[index]} has {values.shape[1]} x {values.shape[0]} pixels and its image "
                f"{size[1]} x {size[0]}"
            )
        return whole == torch.arange(1, counts[index] + 1)[:, None, None]

    return masks
