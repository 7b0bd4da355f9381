"""Inspection of every image of a source: what the findings about a data set are drawn from."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from sparring.data.decode import UnreadableImageError, load
from sparring.data.sources.image_source import Labels, Source, Subset
from sparring.data.sources.pixel_survey import surveyed_format
from sparring.data.sources.sampling import sampled_headers
from sparring.seeding import generator

SIDE = 32
"""Side in pixels of the thumbnails, on which images that look alike are found."""
LOOKED_AT = 20_000
"""Largest number of images that are decoded; of a larger set as many are drawn at random."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was seen of the images that were looked at, row by row.

    Attributes:
        source: those images.
        num_images: number of images of the whole set.
        sizes: height and width in pixels; 0 where an image cannot be read.
        hashes: hash of each image's size and pixels; empty where it cannot be read.
        thumbnails: whole images squeezed to `SIDE` x `SIDE`.
        reasons: why an image cannot be read, by its row.
        notes: how the data were understood, a line each.
        num_clipped: images with values outside the range that becomes black to white.
    """

    source: Source
    num_images: int
    sizes: npt.NDArray[np.int64]
    hashes: tuple[bytes, ...]
    thumbnails: UInt8[Tensor, "images bands side side"]
    reasons: dict[int, str]
    notes: tuple[str, ...] = ()
    num_clipped: int = 0

    @property
    def labels(self) -> Labels | None:
        """Class of each image, -1 where unknown; None without labels."""
        return self.source.labels()

    @property
    def is_whole(self) -> bool:
        """Whether every image of the set was looked at."""
        return len(self.hashes) == self.num_images

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """Whether each image could be read."""
        found: npt.NDArray[np.bool_] = self.sizes[:, 0] > 0
        return found


def inspect_images(
    source: Source,
    *,
    limit: int = LOOKED_AT,
    channels: int = 3,
    value_range: tuple[float, float] | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Every image of a source, decoded once; a random part of a larger source.

    Args:
        source: the images.
        limit: largest number of images to decode.
        channels: channels that every image shall have.
        value_range: values that become black and white in images of more than 8 bits; None: from a
            sample.
        workers: decoding threads.
        progress: called with the number of images done and their total.

    Raises:
        DataError: if no image of a sample can be read.
    """
    notes: list[str] = []
    form = surveyed_format(
        source,
        sampled_headers(source),
        channels=channels,
        given=value_range,
        report=notes.append,
    )
    num_images = len(source)
    if num_images > limit:
        order = torch.randperm(num_images, generator=generator(0, "inspection"))[:limit]
        source = Subset(source, order.sort().values.numpy())
    sizes, hashes = np.zeros((len(source), 2), np.int64), [b""] * len(source)
    thumbnails = torch.zeros(len(source), channels, SIDE, SIDE, dtype=torch.uint8)
    reasons: dict[int, str] = {}

    def see(row: int) -> None:
        """Note down one image."""
        try:
            image = load(source.read, row, form)
        except UnreadableImageError as error:
            reasons[row] = str(error)
            return
        sizes[row] = image.shape[-2:]
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        hashes[row] = hashlib.blake2b(f"{image.shape}".encode() + pixels.tobytes()).digest()[:16]
        thumbnails[row] = F.interpolate(image[None], (SIDE, SIDE), mode="bilinear", antialias=True)

    with ThreadPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(see, range(len(source))), start=1):
            if progress is not None:
                progress(done, len(source))
    return Inspection(
        source=source,
        num_images=num_images,
        sizes=sizes,
        hashes=tuple(hashes),
        thumbnails=thumbnails,
        reasons=dict(sorted(reasons.items())),
        notes=(*source.notes, *notes),
        num_clipped=form.clipped.count,
    )
