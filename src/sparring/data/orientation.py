"""Orientation of an image: where EXIF says how a picture is held, in any file format.

Only EXIF counts, wherever it stands in the file: any APP1 segment of a JPEG, a PNG's eXIf chunk
before or after the pixels, WebP and AVIF, the tags of a TIFF.
"""

import struct

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

UPRIGHT = 1
TRANSPOSED = frozenset((5, 6, 7, 8))
"""Orientations that exchange height and width."""
_MIRRORED = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
"""Axes, 0 of height and 1 of width, that an orientation mirrors after the exchange."""
_TAG = 0x0112
_LONG = 4  # TIFF's number for 32-bit values; a camera writes 16-bit ones


def orientation_of(exif: bytes) -> int:
    """Orientation, 1 to 8, that an EXIF block states; 1 if it states none.

    Args:
        exif: a TIFF header and its tags, with or without `Exif` before them.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, entry)
            if tag == _TAG:
                (value,) = struct.unpack_from(
                    f"{order}{'I' if kind == _LONG else 'H'}", exif, entry + 8
                )
                return _known(value)
    except struct.error:  # cut off
        pass
    return UPRIGHT


def pillow_orientation(image: Image.Image, content: bytes) -> int:
    """Orientation, 1 to 8, of a file that Pillow opened and that is not a JPEG.

    Args:
        image: its pixels need not be loaded.
        content: the whole file.
    """
    if image.format == "TIFF":  # Pillow turns these itself, and gives the size after that
        return UPRIGHT
    exif = image.info.get("exif") or (_png_exif(content) if image.format == "PNG" else b"")
    if not exif and (text := image.info.get("Raw profile type exif")):  # as ImageMagick writes it
        digits = "".join(text.split("\n")[3:])
        exif = bytes.fromhex(digits) if len(digits) % 2 == 0 else b""
    return orientation_of(exif)


def upright(image: Tensor, orientation: int) -> Tensor:
    """The image (..., height, width) as it is to be seen."""
    if orientation in TRANSPOSED:
        image = image.transpose(-2, -1)
    mirrored = _MIRRORED.get(orientation)
    return image if mirrored is None else image.flip(tuple(axis - 2 for axis in mirrored))


def upright_values(values: npt.NDArray[np.generic], orientation: int) -> npt.NDArray[np.generic]:
    """Values (height, width[, channels]) of an image as it is to be seen."""
    if orientation in TRANSPOSED:
        values = values.swapaxes(0, 1)
    return np.flip(values, _MIRRORED.get(orientation, ()))


def upright_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Height and width of the image as it is to be seen."""
    return (width, height) if orientation in TRANSPOSED else (height, width)


def _known(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _png_exif(content: bytes) -> bytes:
    """Data of the eXIf chunk, which may stand after the pixels; empty without one."""
    at = 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] == b"eXIf":
            return content[at + 8 : at + 8 + length]
        at += 12 + length
    return b""
