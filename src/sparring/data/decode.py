"""Decoding of images of any mode and size to uint8 RGB tensors, and central squares.

Ordinary JPEG is decoded by torchvision (2 to 3 times faster than Pillow with its copy). Everything
else, and every JPEG that torchvision refuses, is decoded by Pillow. Transparency is composited on
white; of an animation the first frame is used. The only error is `UnreadableImageError`; its text
is the reason given in the quarantine.
"""

import io
import re
import warnings
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import torchvision.io  # noqa: F401  (registers torch.ops.image)
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sparring.data.orientation import pillow_orientation, upright_size

Content: TypeAlias = bytes | npt.NDArray[np.generic]
"""An encoded file, or values of shape (height, width[, channels])."""

DECODE_VERSION = 1
"""Version in every store's key; increase it whenever the same file decodes to other pixels."""

MAX_PIXELS = 89_478_485
"""Most pixels of a decoded image: Pillow's own limit, 256 MiB as RGB. Checked in the header, before
decompression."""

# Called by its registered name: the Python wrapper is deprecated from torchvision 0.29 on and warns
# at every call.
_decode_jpeg = getattr(torch.ops.image, "decode_jpeg", None)
_RGB = 3  # torchvision.io.ImageReadMode.RGB
_FRAME_MARKERS = frozenset(
    (0xC0, 0xC1, 0xC2)
)  # baseline, extended and progressive: what libjpeg decodes
_OTHER_FRAMES = frozenset((0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))


class UnreadableImageError(Exception):
    """A file that cannot be decoded as an image; the text is the reason.

    Never leaves the data package.
    """


def decode(content: Content) -> UInt8[Tensor, "3 height width"]:
    """Pixels of an encoded image, upright and in RGB.

    Args:
        content: bytes of a file, or uint8 or floating values in [0, 1] of shape (height, width[, 1
            or 3]).

    Raises:
        UnreadableImageError: if the content is empty, truncated, not an image, or larger than
            `MAX_PIXELS`.
    """
    if isinstance(content, np.ndarray):
        return _from_values(content)
    frame = _jpeg_frame(content)
    if frame is not None and frame[2] in (1, 3) and _decode_jpeg is not None:
        _check_pixels(*frame[:2])
        try:
            encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            image: Tensor = _decode_jpeg(encoded, _RGB, True)
            return image
        except RuntimeError:
            # Pillow reads some files that torchvision refuses, and says what is wrong with others.
            pass
    return _decode_with_pillow(content)


def load(read: Callable[[int], Content], index: int) -> UInt8[Tensor, "3 height width"]:
    """Pixels of a source's image: `load(source.read, index)`.

    Raises:
        UnreadableImageError: like `decode`, and for a file that is missing or not readable.
    """
    return decode(_content(read, index))


def load_header_size(read: Callable[[int], Content], index: int) -> tuple[int, int]:
    """Height and width of a source's image from its header.

    Raises:
        UnreadableImageError: like `load`, as far as the header tells.
    """
    return header_size(_content(read, index))


def _content(read: Callable[[int], Content], index: int) -> Content:
    try:
        return read(index)
    except OSError as error:
        raise UnreadableImageError(error.strerror or _reason(error)) from None


def header_size(content: Content) -> tuple[int, int]:
    """Height and width of the upright image, from the header alone.

    Raises:
        UnreadableImageError: like `decode`, as far as the header tells.
    """
    if isinstance(content, np.ndarray):
        return content.shape[0], content.shape[1]
    if (frame := _jpeg_frame(content)) is not None:
        _check_pixels(*frame[:2])
        if b"Exif" not in content:
            return frame[:2]
    with _open(content) as image:
        return upright_size(image.height, image.width, pillow_orientation(image, content))


def resized_crop(
    image: UInt8[Tensor, "3 height width"], box: tuple[int, int, int, int], *, size: int
) -> UInt8[Tensor, "3 size size"]:
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
    image: UInt8[Tensor, "3 height width"], size: int
) -> UInt8[Tensor, "3 size size"]:
    """Central square, resized with antialiasing.

    The pixels are unchanged if the image already has the size.

    Cuts before it resizes: resizing the shorter side of a 10 x 100,000 image would need gigabytes.
    """
    height, width = image.shape[-2:]
    if height == width == size:
        return image
    side = min(height, width)
    return resized_crop(image, ((height - side) // 2, (width - side) // 2, side, side), size=size)


def _check_pixels(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels exceed the limit of {MAX_PIXELS:,}")
    if height * width == 0:
        raise UnreadableImageError("image without pixels")


def _jpeg_frame(content: bytes) -> tuple[int, int, int] | None:
    """Height, width and channels of an 8-bit JPEG.

    None for anything else, which is left to Pillow.
    """
    if content[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _FRAME_MARKERS:
            size = (
                int.from_bytes(content[at + 5 : at + 7], "big"),
                int.from_bytes(content[at + 7 : at + 9], "big"),
            )
            return (*size, content[at + 9]) if content[at + 4] == 8 else None
        if marker in _OTHER_FRAMES:
            return None
        # 0xFF is padding before a marker; any other segment here states its length.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


_PILLOW = re.compile(r"PIL\.")


def _silence_pillow_warnings() -> None:
    # `catch_warnings` is not thread-safe, so a narrow filter is installed whenever it is missing.
    if not any(entry[3] == _PILLOW for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)


def _open(content: bytes) -> Image.Image:
    if not content:
        raise UnreadableImageError("empty file")
    _silence_pillow_warnings()
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image that Pillow knows") from None
    except Exception as error:  # decoders raise all kinds of errors on malformed bytes
        raise UnreadableImageError(_reason(error)) from None
    _check_pixels(image.height, image.width)
    return image


def _decode_with_pillow(content: bytes) -> Tensor:
    with _open(content) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _from_values(_rgb_values(upright))
        except UnreadableImageError:
            raise
        except Exception as error:
            raise UnreadableImageError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _rgb_values(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return np.rint(np.asarray(image) / 257).astype(np.uint8)
    if image.mode in ("I", "F"):
        return _scaled(np.asarray(image).astype(np.float64))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Bytes of 32-bit grey values, scaled by the smallest common range that holds them.

    The ranges are 1 (fractions), 255 and 65535, otherwise the values' own range.

    Pillow clips at 255 instead, which turns most such images white.
    """
    if not np.isfinite(values).all():
        raise UnreadableImageError("values that are not finite")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        values, top = values - low, high - low
    elif high <= 1 and bool((values % 1).any()):
        top = 1.0
    else:
        top = 65535.0 if high > 255 else 255.0
    return np.rint(values / max(top, np.finfo(np.float64).tiny) * 255).astype(np.uint8)


def _from_values(values: npt.NDArray[np.generic]) -> Tensor:
    if values.dtype != np.uint8:
        values = np.rint(np.clip(values.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    if values.ndim == 2:
        values = values[:, :, None]
    _check_pixels(*values.shape[:2])
    image = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    return image.expand(3, -1, -1).contiguous()
