"""Opening of any kind of data as a `Source`."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sparring.data.names import shown
from sparring.data.sources.addresses import is_address
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.files import files_below, open_images
from sparring.data.sources.formats import is_image, passed_over
from sparring.data.sources.hub import open_address
from sparring.data.sources.image_source import Labels, Source, Subset
from sparring.data.sources.lists import open_list
from sparring.data.sources.parquet import Parquet, open_parquet
from sparring.data.sources.parts import Layout, Use, choose_part, file_layout
from sparring.errors import DataError

__all__ = ["ImageData", "Labels", "Source", "Subset", "open_source"]

Array: TypeAlias = npt.NDArray[np.generic] | Tensor
ImageData: TypeAlias = str | Path | Array | tuple[Array, Array]
"""Data that a user may pass: a path, images, or images and labels."""

ACCEPTED = (
    "a folder of images, a .parquet file or a folder of them, a .txt or .csv list, or an array"
)


def open_source(data: ImageData | Source, *, part: Use = "train") -> Source:
    """Source of the images that a user passes.

    Args:
        data: path of a folder, a parquet file or folder of them, a .txt or .csv list; values of
            shape (N, H, W[, 3]) or (N, 3, H, W) as uint8 or as floats in [0, 1]; a tuple of such
            values and their labels; or an open source.
        part: of a path with parts such as train and test: `train` gives the images to learn from,
            `test` those to be scored, `all` every part; see `choose_part`. `Source.part` and its
            notes tell which part was taken.

    Raises:
        DataError: if the path does not exist or holds no usable images.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, tuple):
        return Arrays(*data)
    if isinstance(data, str) and is_address(data):
        return open_address(data, part=part)
    if not isinstance(data, str | Path):
        return Arrays(data)
    _refuse_later_formats(str(data))
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"no such file or folder: {path}; give {ACCEPTED}")
    if path.is_dir():
        return _open_folder(path, use=part)
    match path.suffix.lower():
        case ".parquet":
            return open_parquet(path.parent, [path.name])
        case ".csv" | ".tsv" | ".txt":
            return open_list(path, use=part)
    raise DataError(f"{path} is not a data set; give {ACCEPTED}")


def _open_folder(root: Path, *, use: Use) -> Source:
    names = files_below(root)
    images = [name for name in names if is_image(name)]
    tables = [name for name in names if name.lower().endswith(".parquet")]
    if images and tables:
        return _larger(root, images, tables, use=use)
    if images:
        source = open_images(root, images, use=use)
        source.notes += passed_over(names)
        return source
    if tables:
        return _part_of_tables(open_parquet(root, tables), use=use, where=root)
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


def _part_of_tables(source: Parquet, *, use: Use, where: Path) -> Source:
    """Images of parquet files whose names may say that they are parts of a set."""
    parts = np.repeat(file_layout(source.names).parts, source.lengths)
    return choose_part(source, Layout(tuple(parts.tolist())), use=use, where=str(where))


def _larger(root: Path, images: list[str], tables: list[str], *, use: Use) -> Source:
    """Images of the files or of the parquet files of a folder, whichever are more."""
    try:
        parquet = open_parquet(root, tables)
    except DataError as error:
        source = open_images(root, images, use=use)
        source.notes += (f"the parquet files beside the images are left out: {error}",)
        return source
    counts = f"{len(parquet):,} images in parquet files and {len(images):,} image files"
    if len(parquet) >= len(images):
        found = _part_of_tables(parquet, use=use, where=root)
        left_out = f"the image files, such as {shown(images[0])}, are left out"
    else:
        found = open_images(root, images, use=use)
        left_out = f"the parquet files, such as {shown(tables[0])}, are left out"
    found.notes += (f"{root} holds {counts}: {left_out}",)
    return found


def _refuse_later_formats(data: str) -> None:
    if data.endswith((".tar", ".tar.gz", ".tgz")):
        raise DataError(f"{data}: tar shards cannot be read yet; unpack them and give the folder")
