"""Images with a mask each: the class id of every pixel, and the layouts in which such pairs are kept.

A mask is a lossless picture of ids: a grey PNG, or one with a palette, whose indices are the ids. A picture of colours is none.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from sparring.data.arrays import Arrays
from sparring.data.decode import Content, UnreadableImageError, header_size, load
from sparring.data.files import Files, files_below, is_image
from sparring.data.image_source import Source
from sparring.data.parquet import Parquet, open_parquet
from sparring.data.source import ImageData
from sparring.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ACCEPTED = (
    "a folder with images/ and masks/ (PNGs of the same names), a .parquet file with the columns image and mask, "
    "or the list VOC2012/ImageSets/Segmentation/train.txt"
)
MASK_COLUMNS = ("mask", "annotation", "label")
"""Columns of a parquet file that may hold the masks, first found first taken."""
NAMES_FILE = "classes.txt"
"""Beside `images` and `masks`: the names of class 0, 1, ..., one per line."""
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Of the VOC challenge 2012, in the order of their ids (Everingham et al. 2010)."""
VOC_MASKS = ("SegmentationClass", "SegmentationClassAug")
"""Folders of a VOC mask, first found first taken; the second is where the masks of Hariharan et al. 2011 usually lie."""

# Other modes are colours, or values that are no whole numbers.
_ID_MODES = ("1", "L", "P", "I", "I;16")


class Masked:
    """Images and their masks by index, at their own sizes.

    Args:
        images: pictures.
        masks: as many pictures of class ids, in the same order.
        class_names: name of each id, if known.
    """

    def __init__(self, images: Source, masks: Source, *, class_names: tuple[str, ...] | None = None) -> None:
        assert len(images) == len(masks)
        self.class_names = class_names
        self._images, self._masks = images, masks

    def __len__(self) -> int:
        return len(self._images)

    def key(self, index: int) -> str:
        """What a user recognises: a path, `voc.parquet#12`."""
        return self._images.key(index)

    def image(self, index: int) -> UInt8[Tensor, "3 height width"]:
        """Pixels of an image.

        Raises:
            DataError: if it cannot be read.
        """
        try:
            return load(self._images.read, index)
        except UnreadableImageError as error:
            raise DataError(f"{self.key(index)} cannot be read ({error}); mend it, or remove it and its mask") from None

    def mask(self, index: int) -> Int[Tensor, "height width"]:
        """Class id of each pixel of an image, int64.

        Raises:
            DataError: if it cannot be read, is no picture of ids, or has another size than the image.
        """
        ids = torch.from_numpy(self._decoded(index))
        if self._size(index) != ids.shape and self.image(index).shape[1:] != ids.shape:  # the header knows of no EXIF rotation
            image, mask = (f"{size[1]} x {size[0]}" for size in (self.image(index).shape[1:], ids.shape))
            raise DataError(
                f"{self.key(index)} has {image} pixels and its mask {mask}; both must have one size: resize the mask by 'nearest'"
            )
        return ids

    def fingerprint(self) -> str:
        """Text that changes whenever an image or a mask is added, removed or changed."""
        return f"{self._images.fingerprint()}/{self._masks.fingerprint()}"

    def _size(self, index: int) -> tuple[int, int]:
        try:
            return header_size(self._images.read(index))
        except (OSError, UnreadableImageError):
            return 0, 0  # `image` tells the reason

    def _decoded(self, index: int) -> npt.NDArray[np.int64]:
        try:
            content = self._masks.read(index)
            if isinstance(content, bytes) and not content:
                raise DataError(f"{self.key(index)} has no mask; every image needs one: add it, or remove the image")
            return _ids(content)
        except (OSError, UnreadableImageError) as error:
            raise DataError(f"the mask of {self.key(index)} cannot be used: {error}") from None


def open_masked(data: ImageData | Source) -> Masked:
    """Images with masks of whatever a user hands over.

    Args:
        data: path of a folder with `images`, `masks` and perhaps `classes.txt`; of a parquet file or a folder of them; of a list below
            `ImageSets/Segmentation` of a VOC folder; or arrays (images, masks), the masks whole numbers of shape (N, H, W).

    Raises:
        DataError: if there is no such path, nothing of this kind in it, or an image without a mask.
    """
    if isinstance(data, tuple):
        return _open_arrays(*data)
    if not isinstance(data, str | Path):
        raise DataError(f"images of type {type(data).__name__} come without masks; give {ACCEPTED}, or arrays (images, masks)")
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
    """Masks that are in memory already."""

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
        head = f"{self._masks.shape}{self._masks.dtype}".encode()
        return hashlib.blake2b(head + np.ascontiguousarray(self._masks).tobytes(), digest_size=16).hexdigest()


def _open_arrays(images: npt.NDArray[np.generic] | Tensor, masks: npt.NDArray[np.generic] | Tensor) -> Masked:
    values = masks.detach().cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
    if values.ndim != 3 or len(values) != len(images) or not (np.issubdtype(values.dtype, np.integer) or values.dtype == bool):
        raise DataError(
            f"masks of shape {values.shape} and type {values.dtype} for {len(images)} images; give whole numbers of shape (N, H, W)"
        )
    return Masked(Arrays(images), _MaskArrays(values))


def _open_parquet(root: Path, names: Sequence[str]) -> Masked:
    images = open_parquet(root, names)
    import pyarrow.parquet as pq

    tables = [pq.ParquetFile(root / name) for name in names]
    for name, table in zip(names, tables, strict=True):
        columns = [column for column in MASK_COLUMNS if column in table.schema_arrow.names]
        if not any(_holds_files(table.schema_arrow.field(column).type) for column in columns):
            found = ", ".join(table.schema_arrow.names)
            raise DataError(f"{root / name} has the columns {found} and no masks; segmentation needs a column 'mask' of PNGs of class ids")
    schema = tables[0].schema_arrow
    column = next(name for name in MASK_COLUMNS if name in schema.names and _holds_files(schema.field(name).type))
    return Masked(images, Parquet(root, names, tables, column=column), class_names=_names_in(schema, column))


def _holds_files(type_: "pa.DataType") -> bool:
    import pyarrow as pa

    is_struct = pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0
    return is_struct or pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


def _names_in(schema: "pa.Schema", column: str) -> tuple[str, ...] | None:
    """Class names beside the mask's feature in the Hugging Face metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _open_folder(root: Path) -> Masked:
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return _open_pairs(root)
    if (root / "JPEGImages").is_dir():
        raise DataError(f"{root} is a VOC folder; name one of its lists, such as {root / 'ImageSets' / 'Segmentation' / 'train.txt'}")
    tables = [name for name in files_below(root) if name.lower().endswith(".parquet")]
    if not tables:
        raise DataError(f"{root} holds no images with masks; give {ACCEPTED}")
    return _open_parquet(root, tables)


def _open_pairs(root: Path) -> Masked:
    images = [name for name in files_below(root / "images") if is_image(name)]
    masks = {str(PurePath(name).with_suffix("")): name for name in files_below(root / "masks") if name.lower().endswith(".png")}
    if not images or not masks:
        empty = root / ("masks" if images else "images")
        raise DataError(f"{empty} holds no {'.png masks' if images else 'images'}; give {ACCEPTED}")
    found = _paired(images, lambda name: masks.get(str(PurePath(name).with_suffix(""))), where=root / "masks")
    names_file = root / NAMES_FILE
    names = tuple(line.strip() for line in names_file.read_text(encoding="utf-8-sig").splitlines()) if names_file.is_file() else None
    return Masked(Files(root / "images", images), Files(root / "masks", found), class_names=names)


def _open_voc(path: Path) -> Masked:
    root = path.parents[2]
    stems = [line.split()[0] for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not stems:
        raise DataError(f"{path} lists no images; it needs one name per line, such as 2007_000032")

    def mask_of(stem: str) -> str | None:
        return next((name for folder in VOC_MASKS if (root / (name := f"{folder}/{stem}.png")).is_file()), None)

    found = _paired(stems, mask_of, where=root / VOC_MASKS[0])
    return Masked(Files(root, [f"JPEGImages/{stem}.jpg" for stem in stems]), Files(root, found), class_names=VOC_CLASSES)


def _paired(images: Sequence[str], mask_of: Callable[[str], str | None], *, where: Path) -> list[str]:
    """Mask of each image; none may be missing."""
    found = {name: mask_of(name) for name in images}
    missing = [name for name, mask in found.items() if mask is None]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(images):,} images have no mask in {where}, such as {missing[0]}; add the masks or remove them"
        )
    return [mask for name in images if (mask := found[name]) is not None]


def _ids(content: Content) -> npt.NDArray[np.int64]:
    """Class ids of an encoded or a plain mask."""
    if isinstance(content, np.ndarray):
        return content.astype(np.int64)
    header_size(content)  # no bomb is unpacked
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.format == "JPEG":
                raise UnreadableImageError("a JPEG blurs class ids; save masks as PNG")
            if picture.mode not in _ID_MODES:
                raise UnreadableImageError(f"a picture of colours ({picture.mode}); masks are PNGs of class ids, grey or with a palette")
            return np.array(picture).astype(np.int64)
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImageError(" ".join(str(error).split())) from None
