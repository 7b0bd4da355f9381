"""Features of sets that a run's encoder has looked at already, kept in the run folder.

`features/ENCODER-SET/` holds `features.npy` (float32), `rows.npy` (which images of the set could be
read) and `about.json`. The name says what they are of: a digest of the encoder's tensors, and one
of everything that says which images these are and how they are read. So another checkpoint, a
changed image or another image size is never answered from old features.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparring.data.decode import DECODE_VERSION
from sparring.data.pixel_format import PixelFormat
from sparring.data.sources.image_source import Source
from sparring.errors import StorageError
from sparring.files import new_folder, not_written, publish

FOLDER = "features"
"""Name in the run folder; it may be removed at any time."""
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class KeptFeatures:
    """Features of the readable images of a source.

    Attributes:
        features: the backbone's output; mapped from the disk when they were read from there.
        rows: index of each image in the source.
        form: how the images are read.
    """

    features: Float[Tensor, "images channels"]
    rows: npt.NDArray[np.int64]
    form: PixelFormat


def encoder_digest(encoder: nn.Module) -> str:
    """Digest of every tensor of an encoder with its name: equal for equal weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(encoder.state_dict().items()):
        content = value.detach().cpu().contiguous()
        digest.update(f"{name}/{content.dtype}/{tuple(content.shape)}/".encode())
        digest.update(content.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def set_digest(source: Source, *, image_size: int, reading: object) -> str:
    """Digest of which images these are, and of how they are read.

    Args:
        source: images; their fingerprint changes whenever one is added, removed or changed.
        image_size: side in pixels of the squares that the encoder sees.
        reading: settings that say how they are read, as text.
    """
    text = f"{VERSION}/{source.fingerprint()}/{len(source)}/{image_size}/{DECODE_VERSION}/{reading}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def read_kept(folder: Path, encoder: str, images: str) -> KeptFeatures | None:
    """Kept features; None if there are none, or they are damaged.

    Args:
        folder: run folder.
        encoder: see `encoder_digest`.
        images: see `set_digest`.
    """
    place = folder / FOLDER / f"{encoder}-{images}"
    try:
        about = json.loads((place / "about.json").read_bytes())
        features = np.load(place / "features.npy", mmap_mode="c", allow_pickle=False)
        rows = np.load(place / "rows.npy", allow_pickle=False)
        found = about["value_range"]
        form = PixelFormat(int(about["channels"]), None if found is None else (found[0], found[1]))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    is_whole = (
        (features.ndim, features.dtype, rows.dtype) == (2, np.float32, np.int64)
        and rows.shape == features.shape[:1] == (about.get("images"),)
        and len(rows) > 0
    )
    if not is_whole:
        return None
    return KeptFeatures(features=torch.from_numpy(features), rows=rows, form=form)


def keep(folder: Path, encoder: str, images: str, found: KeptFeatures) -> None:
    """Keep features, and remove those of the run's earlier checkpoints.

    Raises:
        StorageError: if the run folder cannot be written; nothing is left behind.
    """
    place = folder / FOLDER / f"{encoder}-{images}"
    about = {
        "images": len(found.rows),
        "channels": found.form.channels,
        "value_range": found.form.value_range,
    }
    try:
        for old in _others(folder / FOLDER, encoder, place):
            shutil.rmtree(old, ignore_errors=True)
        with new_folder(place) as part:
            np.save(part / "features.npy", found.features.numpy(), allow_pickle=False)
            np.save(part / "rows.npy", found.rows, allow_pickle=False)
            (part / "about.json").write_text(json.dumps(about))
            publish(part, place)
    except OSError as error:
        if read_kept(folder, encoder, images) is None:  # else another process was faster
            raise not_written(place, error) from None


def keep_if_possible(folder: Path, encoder: str, images: str, found: KeptFeatures) -> str:
    """Keep features where the run folder can be written; returns a line about a failure."""
    try:
        keep(folder, encoder, images, found)
    except StorageError as error:
        return f"the features are not kept, so the next question computes them again: {error}"
    return ""


def _others(folder: Path, encoder: str, place: Path) -> Iterator[Path]:
    """Kept features of other checkpoints, and damaged ones in the same place."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            is_old = not path.name.startswith((encoder, "."))
            if path.is_dir() and not path.is_symlink() and (is_old or path == place):
                yield path
