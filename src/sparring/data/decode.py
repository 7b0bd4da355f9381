"""Decoding of images of any mode and size to uint8 tensors, and central squares.

Transparency is composited on white; values of more than 8 bits are scaled by the range of the set.
The only error is `UnreadableImageError`; its text is the reason given in the quarantine.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from sparring.data.image_file import (
    MAX_PIXELS,
    Header,
    decode_usual_jpeg,
    read_header,
    read_values,
    reason_of,
    require_pixels,
)
from sparring.data.orientation import upright
from sparring.data.pixel_format import (
    RGB,
    Bytes,
    PixelFormat,
    UnreadableImageError,
    scaled,
    with_channels,
)
from sparring.regular_files import tried_again

__all__ = [
    "DECODE_VERSION",
    "MAX_PIXELS",
    "Content",
    "PixelFormat",
    "UnreadableImageError",
    "centre_square",
    "decode",
    "header",
    "header_size",
    "load",
    "load_header",
    "load_header_size",
    "read_content",
    "resized_crop",
    "stored_values",
]

Content: TypeAlias = bytes | npt.NDArray[np.generic]
"""An encoded file, or values of shape (height, width[, channels])."""

DECODE_VERSION = 2
"""Version in every store's key; increase it whenever the same file decodes to other pixels."""


def decode(content: Content, form: PixelFormat = RGB) -> UInt8[Tensor, "bands height width"]:
    """Pixels of an encoded image, upright.

    Args:
        content: bytes of a file, or values of shape (height, width[, channels]).
        form: number of channels, and the range of values that are not of 8 bits.

    Raises:
        UnreadableImageError: if the content is empty, truncated, not an image, or larger than
            `MAX_PIXELS`; if it has other channels, or values of which no range is known.
    """
    if isinstance(content, np.ndarray):
        require_pixels(*content.shape[:2])
        return _tensor(scaled(_with_axis(content), form), form)
    if (found := decode_usual_jpeg(content, form.channels)) is not None:
        return upright(*found)
    stored = read_values(content, form.channels)
    pixels = _tensor(scaled(stored.values, form, stored.no_data), form)
    return upright(pixels, stored.orientation)


def load(
    read: Callable[[int], Content], index: int, form: PixelFormat = RGB
) -> UInt8[Tensor, "bands height width"]:
    """Pixels of a source's image: `load(source.read, index)`.

    Raises:
        UnreadableImageError: like `decode`, and for a file that is missing or not readable.
    """
    return decode(read_content(read, index), form)


def load_header(read: Callable[[int], Content], index: int) -> Header:
    """Header of a source's image.

    Raises:
        UnreadableImageError: like `load`, as far as the header tells.
    """
    return header(read_content(read, index))


def load_header_size(read: Callable[[int], Content], index: int) -> tuple[int, int]:
    """Height and width of a source's upright image from its header.

    Raises:
        UnreadableImageError: like `load`, as far as the header tells.
    """
    found = load_header(read, index)
    return found.height, found.width


def read_content(read: Callable[[int], Content], index: int) -> Content:
    """A source's image, as stored; a read that fails by a passing fault is tried again.

    Raises:
        UnreadableImageError: for a file that is missing or not readable.
    """
    try:
        return tried_again(lambda: read(index))
    except OSError as error:
        raise UnreadableImageError(error.strerror or reason_of(error)) from None


def header(content: Content) -> Header:
    """Size and kind of an image, without its pixels.

    Raises:
        UnreadableImageError: like `decode`, as far as the header tells.
    """
    if not isinstance(content, np.ndarray):
        return read_header(content)
    channels = content.shape[2] if content.ndim == 3 else 1
    is_deep = content.dtype not in (np.dtype(np.uint8), np.dtype(np.bool_))
    height, width = content.shape[:2]
    return Header(height, width, channels, channels in (1, 3), is_deep)


def header_size(content: Content) -> tuple[int, int]:
    """Height and width of the upright image, from the header alone.

    Raises:
        UnreadableImageError: like `decode`, as far as the header tells.
    """
    found = header(content)
    return found.height, found.width


def stored_values(content: Content, channels: int) -> tuple[npt.NDArray[np.generic], float | None]:
    """Values of an image before scaling, and the value that its file states for missing pixels.

    Raises:
        UnreadableImageError: like `decode`.
    """
    if isinstance(content, np.ndarray):
        return content, None
    stored = read_values(content, channels)
    return stored.values, stored.no_data


def resized_crop(
    image: UInt8[Tensor, "bands height width"], box: tuple[int, int, int, int], *, size: int
) -> UInt8[Tensor, "bands size size"]:
    """Box of an image resized to size x size with antialiasing, channels last in memory.

    Gives the pixels of torchvision's `resized_crop`, but faster: PyTorch's kernel is several times
    as fast on channels-last memory, which decoded JPEG files already have, so that cutting out the
    box costs nearly nothing.

    Args:
        image: in any memory format.
        box: (top, left, height, width) within the image, in pixels.
        size: side of the result in pixels.
    """
    top, left, height, width = box
    cut = image[None, :, top : top + height, left : left + width].contiguous(
        memory_format=torch.channels_last
    )
    return F.interpolate(cut, (size, size), mode="bilinear", antialias=True)[0]


def centre_square(
    image: UInt8[Tensor, "bands height width"], size: int
) -> UInt8[Tensor, "bands size size"]:
    """Central square, resized with antialiasing.

    The pixels are unchanged if the image already has the size.

    Cuts before it resizes: resizing the shorter side of a 10 x 100,000 image would need gigabytes.
    """
    height, width = image.shape[-2:]
    if height == width == size:
        return image
    side = min(height, width)
    return resized_crop(image, ((height - side) // 2, (width - side) // 2, side, side), size=size)


def _with_axis(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return values[:, :, None] if values.ndim == 2 else values


def _tensor(values: Bytes, form: PixelFormat) -> Tensor:
    planes = with_channels(values, form.channels).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(planes))
