"""Opening of any kind of data as a `Source`."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sparring.data.sources.arrays import Arrays
from sparring.data.sources.files import files_below, open_csv, open_images, open_text_list
from sparring.data.sources.formats import is_image, passed_over
from sparring.data.sources.image_source import Labels, Source, Subset
from sparring.data.sources.parquet import open_parquet
from sparring.errors import DataError

__all__ = ["ImageData", "Labels", "Source", "Subset", "open_source"]

Array: TypeAlias = npt.NDArray[np.generic] | Tensor
ImageData: TypeAlias = str | Path | Array | tuple[Array, Array]
"""Data that a user may pass: a path, images, or images and labels."""

ACCEPTED = (
    "a folder of images, a .parquet file or a folder of them, a .txt or .csv list, or an array"
)


def open_source(data: ImageData | Source) -> Source:
    """Source of the images that a user passes.

    Args:
        data: path of a folder, a parquet file or folder of them, a .txt or .csv list; values of
            shape (N, H, W[, 3]) or (N, 3, H, W) as uint8 or as floats in [0, 1]; a tuple of such
            values and their labels; or an open source.

    Raises:
        DataError: if the path does not exist or holds no usable images.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, tuple):
        return Arrays(*data)
    if not isinstance(data, str | Path):
        return Arrays(data)
    _refuse_later_formats(str(data))
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"no such file or folder: {path}; give {ACCEPTED}")
    if path.is_dir():
        return _open_folder(path)
    match path.suffix.lower():
        case ".parquet":
            return open_parquet(path.parent, [path.name])
        case ".csv":
            return open_csv(path)
        case ".txt":
            return open_text_list(path)
    raise DataError(f"{path} is not a data set; give {ACCEPTED}")


def _open_folder(root: Path) -> Source:
    names = files_below(root)
    if images := [name for name in names if is_image(name)]:
        source = open_images(root, images)
        source.notes += passed_over(names)
        return source
    if tables := [name for name in names if name.lower().endswith(".parquet")]:
        return open_parquet(root, tables)
    found = (
        f"{len(names):,} file{'s' * (len(names) > 1)}, such as {names[0]}, but no image"
        if names
        else "nothing"
    )
    if lines := passed_over(names):
        raise DataError(f"{root} holds no image that is read here; {lines[0]}")
    raise DataError(
        f"{root} holds {found}; give a folder with files ending in .jpg, .png, .webp or the like"
    )


def _refuse_later_formats(data: str) -> None:
    if data.startswith("hf:"):
        raise DataError(
            f"{data}: sets of the Hugging Face Hub cannot be read yet; download the parquet "
            "files and give their folder"
        )
    if data.endswith((".tar", ".tar.gz", ".tgz")):
        raise DataError(f"{data}: tar shards cannot be read yet; unpack them and give the folder")
