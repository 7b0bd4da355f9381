"""Images of a set with equal content: the same encoded file, or the same values."""

import numpy as np

from sparring.data.duplicates import equal_rows
from sparring.indexing.indexed_images import IndexedImages, Rows


def representatives(images: IndexedImages) -> Rows:
    """For each image the first one of the set with equal content, which may be itself."""
    first = np.arange(len(images))
    for rows in equal_rows(images.source):
        first[rows] = min(rows)
    return first
