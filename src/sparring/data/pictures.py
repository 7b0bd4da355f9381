"""Pictures that Pillow has opened, as contents that are decoded like files."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from sparring.data.decode import Content
from sparring.data.image_file import deep_values, is_deep
from sparring.data.orientation import pillow_orientation, upright_values

_AS_THEY_ARE = ("1", "L", "RGB")


def file_of(image: Image.Image) -> Path | None:
    """File of a picture that was opened and neither read nor changed since; None for others."""
    is_untouched = (
        isinstance(image, ImageFile.ImageFile)
        and getattr(image, "_im", image) is None  # until its pixels are asked for
        and not image.decoderconfig  # set by `draft`, which asks for a smaller picture
        and image.tell() == 0
    )
    name = getattr(image, "filename", "") if is_untouched else ""
    path = Path(name) if isinstance(name, str) and name else None
    return path if path is not None and path.is_file() else None


def picture_content(image: Image.Image) -> Content:
    """Values of a picture, upright; one with transparency as an encoded PNG.

    Decoded they are the pixels of the file from which the picture was read, if its format is
    lossless; for the file itself see `file_of`. Not thread-safe: Pillow reads a file when the
    pixels are first asked for.

    Raises:
        OSError: if the picture cannot be read.
    """
    image.load()
    orientation = pillow_orientation(image, b"")
    if is_deep(image):
        return upright_values(deep_values(image), orientation)
    if image.has_transparency_data:
        upright = Image.fromarray(
            np.ascontiguousarray(upright_values(np.asarray(image.convert("RGBA")), orientation))
        )
        encoded = io.BytesIO()
        upright.save(encoded, "PNG", compress_level=1)
        return encoded.getvalue()
    shown = image if image.mode in _AS_THEY_ARE else image.convert("RGB")
    return upright_values(np.array(shown), orientation)
