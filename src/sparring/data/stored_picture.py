"""Pictures as their files store them, before EXIF turns them upright.

Some annotations were made for these.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from torch import Tensor

from sparring.data.decode import Content
from sparring.data.orientation import UPRIGHT, pillow_orientation, upright


def stored_orientation(read: Callable[[int], Content], index: int) -> int:
    """EXIF's orientation, 1 to 8, of a source's image that can be read; 1 where none is found."""
    content = read(index)
    if isinstance(content, np.ndarray):
        return UPRIGHT
    try:
        with Image.open(io.BytesIO(content)) as image:
            return pillow_orientation(image, content)
    except Exception:  # whatever a decoder raises on a damaged header
        return UPRIGHT


def as_stored(values: Tensor, orientation: int) -> Tensor:
    """Values (..., height, width) of an upright picture as the file stores them."""
    return upright(values, {6: 8, 8: 6}.get(orientation, orientation))
