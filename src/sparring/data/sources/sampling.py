"""Headers of a few of a source's images, and the typical size that they give."""

from collections.abc import Mapping

import numpy as np

from sparring.data.decode import UnreadableImageError, load_header
from sparring.data.image_file import Header
from sparring.data.sources.image_source import Source
from sparring.errors import DataError

IMAGE_SIZES = (32, 64, 96, 224)
"""Sizes in pixels that `suited_size` chooses from: those of common data sets and recipes."""
PLACES, NEIGHBOURS = 8, 8
"""Number of places sampled in a source, and of images at each: few parquet row groups are read."""


def sampled_headers(source: Source) -> dict[int, Header]:
    """Headers of a sample of the images, by index.

    Raises:
        DataError: if no image of the sample can be read.
    """
    headers, reasons = {}, []
    for row in _sampled_rows(len(source)):
        try:
            headers[row] = load_header(source.read, row)
        except UnreadableImageError as error:
            reasons.append(f"{source.key(row)} ({error})")
    if not headers:
        raise DataError(
            f"none of the {len(reasons)} images looked at can be read, such as {reasons[0]}; "
            "give image files that open"
        )
    return headers


def typical_side(headers: Mapping[int, Header]) -> int:
    """Median of the longer sides in pixels."""
    return int(np.median([max(header.height, header.width) for header in headers.values()]))


def typical_size(source: Source) -> int:
    """Median of the longer sides in pixels, over a sample of headers.

    Raises:
        DataError: if no image of the sample can be read.
    """
    return typical_side(sampled_headers(source))


def suited_size(pixels: int) -> int:
    """Common image size nearest to a typical size, by ratio.

    Example:
        >>> [suited_size(pixels) for pixels in (28, 50, 240, 4000)]
        [32, 64, 224, 224]
    """
    return min(IMAGE_SIZES, key=lambda size: float(abs(np.log(size / pixels))))


def _sampled_rows(num_images: int) -> list[int]:
    starts = np.linspace(0, max(0, num_images - NEIGHBOURS), PLACES).astype(int)
    return sorted(
        {
            row
            for start in starts.tolist()
            for row in range(start, min(start + NEIGHBOURS, num_images))
        }
    )
