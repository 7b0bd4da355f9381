"""Opening of any kind of data as a `Source`."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import DataLoader

from sparring.data.names import shown
from sparring.data.sources.addresses import is_address
from sparring.data.sources.files import files_below, open_images
from sparring.data.sources.formats import is_image, passed_over
from sparring.data.sources.hub import open_address
from sparring.data.sources.hub_dataset import is_saved, open_saved
from sparring.data.sources.image_source import Labels, Source, Subset
from sparring.data.sources.in_memory import open_in_memory
from sparring.data.sources.lists import open_list
from sparring.data.sources.map_style import MapStyle
from sparring.data.sources.parquet import Parquet, open_parquet
from sparring.data.sources.parts import Layout, Use, choose_part, file_layout
from sparring.data.sources.shard_paths import (
    SUFFIX,
    is_shard,
    is_shard_pattern,
    shard_paths,
)
from sparring.data.sources.shards import compressed, open_shards
from sparring.data.store import ProgressCallback
from sparring.errors import DataError
from sparring.regular_files import near_path

__all__ = ["ImageData", "Labels", "Source", "Subset", "open_source"]

Array: TypeAlias = npt.NDArray[np.generic] | Tensor
ImageData: TypeAlias = (
    str | Path | Array | Sequence[object] | MapStyle | DataLoader[Any] | tuple[object, object]
)
"""Data that a user may pass; wherever the library takes images, it takes these.

- A path: a folder of images or of `save_to_disk`, a parquet file or a folder of them, a .tar shard,
  a folder or a pattern of them, a .txt or .csv list; or `hf:NAME`, a set of the Hugging Face Hub.
- Images: an array or a tensor (N, H, W), (N, H, W, C) or (N, C, H, W); a list of paths, of PIL
  images, of arrays that may differ in size, of encoded bytes, or of dicts with `bytes` or `path`.
- (images, labels), the labels numbers or names, one per image.
- A map-style dataset: torchvision's, a `TensorDataset`, `Subset` or `ConcatDataset`, a
  `datasets.Dataset` or `DatasetDict`, any object with `__len__` and `__getitem__` whose items are
  an image, (image, label, ...), or a dict with an image; or a `DataLoader`, of which the dataset is
  taken.

docs/data.md says what happens to each.
"""

ACCEPTED = (
    "a folder of images, a .parquet file or a folder of them, .tar shards, a .txt or .csv list, "
    "hf:NAME, or images in memory"
)


def open_source(
    data: ImageData | Source,
    *,
    part: Use = "train",
    cache: str | None = None,
    progress: ProgressCallback | None = None,
) -> Source:
    """Source of the images that a user passes.

    Args:
        data: see `ImageData`; or an open source.
        part: of a set with parts such as train and test: `train` gives the images to learn from,
            `test` those to be scored, `all` every part; see `choose_part`. `Source.part` and its
            notes tell which part was taken.
        cache: folder of the index of shards; see `cache_folder`.
        progress: called after each shard that is indexed; not called for other data.

    Raises:
        DataError: if the path does not exist or holds no usable images.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, str) and is_address(data):
        return open_address(data, part=part)
    if not isinstance(data, str | Path):
        return open_in_memory(data, use=part)
    shards = partial(_open_shards, use=part, cache=cache, progress=progress)
    if is_shard_pattern(str(data)):
        return shards(shard_paths(str(data)), where=str(data))
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"no such file or folder: {path}{near_path(path)}; give {ACCEPTED}")
    if path.is_dir():
        return _open_folder(path, use=part, shards=shards)
    if is_shard(path.name):
        return shards([path.absolute()], where=str(path))
    match path.suffix.lower():
        case ".parquet":
            return open_parquet(path.parent, [path.name])
        case ".csv" | ".tsv" | ".txt":
            return open_list(path, use=part)
    raise DataError(f"{path} is not a data set; give {ACCEPTED}")


def _open_folder(root: Path, *, use: Use, shards: Callable[..., Source]) -> Source:
    if is_saved(root):
        return open_saved(root, use=use)
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
    if archives := [name for name in names if is_shard(name)]:
        return shards([(root / name).absolute() for name in archives], where=str(root))
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


def _open_shards(paths: Sequence[Path], *, where: str, **how: Any) -> Source:
    """Images of shards; compressed ones beside others are left out and told."""
    plain = [path for path in paths if path.name.lower().endswith(SUFFIX)]
    left_out = [path for path in paths if path not in set(plain)]
    if not plain:
        raise compressed(str(left_out[0]))
    found = open_shards(plain, where=where, **how)
    if left_out:
        name = shown(left_out[0].name)
        found.notes += (f"{len(left_out):,} compressed archives are left out, such as {name}",)
    return found


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
