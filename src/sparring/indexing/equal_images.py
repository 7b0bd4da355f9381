"""Images of a set with equal content: the same encoded file, or the same values."""

import numpy as np

from sparring.data.duplicates import equal_rows
from sparring.data.sources.image_source import Source
from sparring.indexing.indexed_images import IndexedImages, Rows


def representatives(images: IndexedImages) -> Rows:
    """For each image the most original one of the set with equal content, which may be itself."""
    first = np.arange(len(images))
    for rows in equal_rows(images.source):
        first[rows] = min(rows, key=lambda row: originality(images.source, row))
    return first


def originality(source: Source, row: int) -> tuple[int, int]:
    """Smaller for an image that is rather the original of equal ones: a shorter path, then earlier.

    `a/1 (1).jpg` or `backup/old/a/1.jpg` are rather copies of `a/1.jpg` than the reverse. A link
    and its file are one image, see `Source.identity`.
    """
    return len(source.key(row)), row
