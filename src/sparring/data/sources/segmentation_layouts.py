"""Layouts of images with segmentation masks: parquet files, two folders, VOC 2012, and arrays."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sparring.data.classes import canonical
from sparring.data.sources.files import Files, files_below
from sparring.data.sources.formats import is_image
from sparring.data.sources.image_source import Source
from sparring.data.sources.in_memory import open_in_memory
from sparring.data.sources.parquet import Parquet, open_parquet
from sparring.data.sources.parts import require_one_part
from sparring.data.sources.segmentation_images import SegmentationImages
from sparring.data.sources.source import ImageData
from sparring.data.sources.voc_xml import listed_names
from sparring.errors import DataError
from sparring.regular_files import read_text

if TYPE_CHECKING:
    import pyarrow as pa

ACCEPTED = (
    "a folder with images/ and masks/ (PNGs of the same names), a .parquet file with the "
    "columns image and mask, "
    "or the list VOC2012/ImageSets/Segmentation/train.txt"
)
MASK_COLUMNS = ("mask", "annotation", "label")
"""Parquet columns that may hold the masks, in order of preference."""
NAMES_FILE = "classes.txt"
"""File next to `images` and `masks` with the names of classes 0, 1, ..., one per line."""
VOC_CLASSES = (
    *(
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
    ),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Classes of the VOC challenge 2012 in the order of their ids (Everingham et al. 2010)."""
VOC_MASKS = ("SegmentationClass", "SegmentationClassAug")
"""Folders of VOC masks, in order of preference; the second usually holds the masks of Hariharan et
al. 2011."""


def open_segmentation_images(data: ImageData | Source) -> SegmentationImages:
    """Images with segmentation masks.

    Args:
        data: path of a folder with `images`, `masks` and optionally `classes.txt`; of a parquet
            file or a folder of them; of a list below `ImageSets/Segmentation` of a VOC folder; or
            (images, masks), the images in any form of `ImageData`, the masks integers of shape
            (N, H, W).

    Raises:
        DataError: if the path does not exist or holds nothing of this kind, or an image has no
            mask.
    """
    if isinstance(data, tuple):
        return _open_in_memory(*data)
    if not isinstance(data, str | Path):
        raise DataError(
            f"images of type {type(data).__name__} come without masks; give {ACCEPTED}, or "
            "(images, masks)"
        )
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"no such file or folder: {path}; give {ACCEPTED}")
    if path.suffix.lower() == ".parquet":
        return _open_parquet(path.parent, [path.name])
    if path.is_dir():
        return _open_folder(path)
    if path.suffix.lower() == ".txt" and path.parts[-3:-1] == ("ImageSets", "Segmentation"):
        return _open_voc(path)
    raise DataError(f"{path} holds no images with masks; give {ACCEPTED}")


class _MaskArrays(Source):
    """Masks already in memory."""

    def __init__(self, masks: npt.NDArray[np.generic]) -> None:
        self._masks = masks

    def __len__(self) -> int:
        return len(self._masks)

    def key(self, index: int) -> str:
        return f"mask {index}"

    def read(self, index: int) -> npt.NDArray[np.generic]:
        mask: npt.NDArray[np.generic] = self._masks[index]
        return mask

    def fingerprint(self) -> str:
        """Text that changes with any value, the shape or the type of the masks."""
        head = f"{self._masks.shape}{self._masks.dtype}".encode()
        return hashlib.blake2b(
            head + np.ascontiguousarray(self._masks).tobytes(), digest_size=16
        ).hexdigest()


def _open_in_memory(images: object, masks: object = None, *others: object) -> SegmentationImages:
    if masks is None or others:
        raise DataError(f"images come without masks; give (images, masks), or {ACCEPTED}")
    source = open_in_memory(images)
    try:
        values = masks.detach().cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
    except ValueError:
        raise DataError(
            "masks of several sizes; give whole numbers of shape (N, H, W), or files"
        ) from None
    if (
        values.ndim != 3
        or len(values) != len(source)
        or not (np.issubdtype(values.dtype, np.integer) or values.dtype == bool)
    ):
        raise DataError(
            f"masks of shape {values.shape} and type {values.dtype} for {len(source)} images; "
            "give whole numbers of shape (N, H, W)"
        )
    return SegmentationImages(source, _MaskArrays(values))


def _open_parquet(root: Path, names: Sequence[str]) -> SegmentationImages:
    open_parquet(root, names)  # raises for unreadable files
    import pyarrow.parquet as pq

    tables = [pq.ParquetFile(root / name) for name in names]
    columns = {
        _columns(root / name, table.schema_arrow) for name, table in zip(names, tables, strict=True)
    }
    if len(columns) > 1:
        raise DataError(
            f"the parquet files in {root} name their images or masks differently: "
            f"{sorted(columns)}; give them one by one"
        )
    image, mask = columns.pop()
    named = {_names_in(table.schema_arrow, mask) for table in tables}
    if len(named) > 1:
        first, second = sorted(map(str, named))[:2]
        raise DataError(
            f"the parquet files in {root} name the ids of their masks differently: {first} and "
            f"{second}; give them one by one, or with the same names"
        )
    images, masks = (Parquet(root, names, tables, column=column) for column in (image, mask))
    return SegmentationImages(images, masks, class_names=named.pop())


def _columns(path: Path, schema: "pa.Schema") -> tuple[str, str]:
    """Columns of the images and of the masks."""
    found = [field.name for field in schema if _holds_files(field.type)]
    masks = [name for name in MASK_COLUMNS if name in found]
    images = sorted((name for name in found if name not in masks), key=lambda name: name != "image")
    if not masks or not images:
        raise DataError(
            f"{path} has the columns {', '.join(schema.names)}; segmentation needs 'image' "
            "and 'mask', the masks as PNGs of class ids"
        )
    return images[0], masks[0]


def _holds_files(type_: "pa.DataType") -> bool:
    import pyarrow as pa

    is_struct = pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0
    return is_struct or pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


def _names_in(schema: "pa.Schema", column: str) -> tuple[str, ...] | None:
    """Class names of the mask column in the Hugging Face metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _open_folder(root: Path) -> SegmentationImages:
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return _open_pairs(root)
    if (root / "JPEGImages").is_dir():
        raise DataError(
            f"{root} is a VOC folder; name one of its lists, such as "
            f"{root / 'ImageSets' / 'Segmentation' / 'train.txt'}"
        )
    tables = [name for name in files_below(root) if name.lower().endswith(".parquet")]
    if not tables:
        raise DataError(f"{root} holds no images with masks; give {ACCEPTED}")
    require_one_part(root, tables)
    return _open_parquet(root, tables)


def _open_pairs(root: Path) -> SegmentationImages:
    images = [name for name in files_below(root / "images") if is_image(name)]
    masks = {
        _stem(name): name for name in files_below(root / "masks") if name.lower().endswith(".png")
    }
    if not images or not masks:
        empty = root / ("masks" if images else "images")
        raise DataError(f"{empty} holds no {'.png masks' if images else 'images'}; give {ACCEPTED}")
    found = _paired(images, lambda name: masks.get(_stem(name)), where=root / "masks")
    names_file = root / NAMES_FILE
    return SegmentationImages(
        Files(root / "images", images),
        Files(root / "masks", found),
        class_names=_names_of(names_file) if names_file.is_file() else None,
        notes=_pairing_notes(root, images, masks.values(), found),
    )


def _stem(name: str) -> str:
    """Name without its ending, as names of images and masks are compared."""
    return canonical(str(PurePath(name).with_suffix("")))


def _pairing_notes(
    root: Path, images: Sequence[str], masks: Collection[str], found: Sequence[str]
) -> list[str]:
    """Lines about masks without an image, and about one mask of several images."""
    notes = []
    if lonely := sorted(set(masks) - set(found)):
        notes.append(
            f"{root}: {len(lonely):,} of {len(masks):,} masks have no image and are not used, such "
            f"as {lonely[0]}"
        )
    if count := len(found) - len(set(found)):
        twice = next(name for name, mask in zip(images, found) if found.count(mask) > 1)
        notes.append(
            f"{root}: {count:,} images share their mask with another of the same name but another "
            f"ending, such as {twice}"
        )
    return notes


def _names_of(path: Path) -> tuple[str, ...]:
    """Names of a list, one a line; an empty line, which is no name, stands for its number."""
    try:
        lines = read_text(path, encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; save it as UTF-8 text") from None
    return tuple(line.strip() or str(number) for number, line in enumerate(lines))


def _open_voc(path: Path) -> SegmentationImages:
    root = path.parents[2]
    try:
        lines = read_text(path, encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    stems = listed_names(
        lines, is_image=lambda name: (root / "JPEGImages" / f"{name}.jpg").is_file()
    )
    if not stems:
        raise DataError(f"{path} lists no images; it needs one name per line, such as 2007_000032")

    def mask_of(stem: str) -> str | None:
        """Path of an image's mask; None if there is none."""
        return next(
            (name for folder in VOC_MASKS if (root / (name := f"{folder}/{stem}.png")).is_file()),
            None,
        )

    found = _paired(stems, mask_of, where=root / VOC_MASKS[0])
    return SegmentationImages(
        Files(root, [f"JPEGImages/{stem}.jpg" for stem in stems]),
        Files(root, found),
        class_names=VOC_CLASSES,
    )


def _paired(
    images: Sequence[str], mask_of: Callable[[str], str | None], *, where: Path
) -> list[str]:
    """Mask of each image; raises DataError if one is missing."""
    found = {name: mask_of(name) for name in images}
    missing = [name for name, mask in found.items() if mask is None]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(images):,} images have no mask in {where}, such as "
            f"{missing[0]}; add the masks or remove them"
        )
    return [mask for name in images if (mask := found[name]) is not None]
