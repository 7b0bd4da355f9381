"""Image files as stored: their header, and their values before any scaling.

Ordinary JPEG is decoded by torchvision (2 to 3 times faster than Pillow with its copy), and so are
16-bit colours of PNG, which Pillow cuts to 8; `tiff` reads what measuring instruments write.
Everything else, and every JPEG that torchvision refuses, is decoded by Pillow. Of an animation the
first frame is used.
"""

import io
import re
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torchvision.io  # noqa: F401  (registers torch.ops.image)
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sparring.data.orientation import UPRIGHT, orientation_of, pillow_orientation, upright_size
from sparring.data.pixel_format import UnreadableImageError, Values, picture_values
from sparring.data.png import complete_png, deep_colours, require_possible
from sparring.data.tiff import Tiff, open_tiff, tiff_orientation, tiff_values
from sparring.data.tiff_messages import with_messages

MAX_PIXELS, MAX_SIDE = 89_478_485, 2**17
"""Most pixels of a decoded image, Pillow's own limit, 256 MiB as RGB, and along one side. Checked
in the header, before decompression."""
MAX_VALUE_BYTES = 2**30
"""Most bytes of the bands and pages that are read of one TIFF file."""

# Called by their registered names: the Python wrappers are deprecated from torchvision 0.29 on and
# warn at every call.
_decode_jpeg = getattr(torch.ops.image, "decode_jpeg", None)
_decode_png = getattr(torch.ops.image, "decode_png", None)
_JPEG_MODES = {1: 1, 3: 3}  # torchvision.io.ImageReadMode by channels: grey, RGB
_UNCHANGED = 0
_FRAME_MARKERS = frozenset(
    (0xC0, 0xC1, 0xC2)
)  # baseline, extended and progressive: what libjpeg decodes
_OTHER_FRAMES = frozenset((0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))
_APP1, _PIXELS_MARKER = 0xE1, 0xDA


@dataclass(frozen=True)
class Header:
    """What an image file says before its pixels.

    Attributes:
        height: in pixels of the upright image.
        width: in pixels of the upright image.
        channels: number of channels as stored; 4 with transparency.
        is_picture: whether the channels are grey or colours, perhaps with transparency.
        is_deep: whether the values are not of 8 bits, so that they need a range.
        pages: number of pages of one channel each, 1 in all formats but TIFF.
    """

    height: int
    width: int
    channels: int
    is_picture: bool = True
    is_deep: bool = False
    pages: int = 1

    def fits(self, channels: int) -> bool:
        """Whether an image of so many channels can be made of it without inventing any."""
        if self.channels == channels or (self.pages == channels and self.channels == 1):
            return True
        return self.is_picture and channels in (1, 3)


@dataclass(frozen=True)
class Stored:
    """Values of an image file, (height, width, channels), before scaling and turning."""

    values: Values
    orientation: int = UPRIGHT
    no_data: float | None = None


@with_messages
def read_header(content: bytes) -> Header:
    """Header of an image file.

    Raises:
        UnreadableImageError: if the content is empty, not an image, or larger than `MAX_PIXELS`.
    """
    jpeg, tiff = _jpeg_header(content), open_tiff(content)
    if jpeg is not None:
        require_pixels(jpeg.height, jpeg.width)
        size = upright_size(jpeg.height, jpeg.width, jpeg.orientation)
        return Header(*size, 1 if jpeg.channels == 1 else 3)
    if tiff is not None:
        page = tiff.pages[0]
        require_pixels(page.height, page.width)
        size = upright_size(page.height, page.width, tiff_orientation(page))
        num_pages = len(tiff.pages) if page.samples == 1 else 1
        return Header(*size, page.samples, page.is_picture, page.is_deep, num_pages)
    with _open(content) as image:
        size = upright_size(image.height, image.width, pillow_orientation(image, content))
        num = 1 if image.mode in ("1", "L") or is_deep(image) else 3
        num = 4 if image.has_transparency_data else num
        return Header(*size, num, is_deep=is_deep(image) or deep_colours(content) is not None)


@with_messages
def read_values(content: bytes, channels: int) -> Stored:
    """Values of an image file; pictures of 8 bits have so many channels already.

    Raises:
        UnreadableImageError: if the content is empty, truncated, not an image, larger than
            `MAX_PIXELS`, or a picture that cannot have so many channels.
    """
    jpeg, tiff = _jpeg_header(content), open_tiff(content)
    try:
        if tiff is not None and (found := _measured(content, tiff, channels)) is not None:
            return found
        if deep_colours(content) is not None and _decode_png is not None:
            with _open(content) as image:
                turned = pillow_orientation(image, content)
            encoded = torch.frombuffer(bytearray(complete_png(content)), dtype=torch.uint8)
            planes: Tensor = _decode_png(encoded, _UNCHANGED, False)
            return Stored(planes.permute(1, 2, 0).numpy(), turned)
        with _open(content) as image:
            image.load()
            require_pixels(image.height, image.width)  # pictures of ICO and GIF may be larger
            turned = pillow_orientation(image, content) if jpeg is None else jpeg.orientation
            return Stored(_values(image, channels), turned)
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders raise all kinds of errors on malformed bytes
        raise UnreadableImageError(reason_of(error)) from None


def decode_usual_jpeg(content: bytes, channels: int) -> tuple[Tensor, int] | None:
    """Pixels and orientation of a JPEG that torchvision decodes; None for anything else.

    Raises:
        UnreadableImageError: if the image is larger than `MAX_PIXELS`.
    """
    header = _jpeg_header(content)
    if header is None or header.channels not in _JPEG_MODES or channels not in _JPEG_MODES:
        return None
    require_pixels(header.height, header.width)
    try:
        encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        assert _decode_jpeg is not None
        return _decode_jpeg(encoded, _JPEG_MODES[channels], False), header.orientation
    except (AssertionError, RuntimeError):
        # Pillow reads some files that torchvision refuses, and says what is wrong with others.
        return None


def require_pixels(height: int, width: int) -> None:
    """Refuse images without pixels or with too many.

    Raises:
        UnreadableImageError: for such a size.
    """
    if height * width > MAX_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels exceed the limit of {MAX_PIXELS:,}")
    if max(height, width) > MAX_SIDE:
        raise UnreadableImageError(
            f"{width} x {height} pixels exceed the limit of {MAX_SIDE:,} along one side"
        )
    if min(height, width) < 1:
        raise UnreadableImageError("image without pixels")


def reason_of(error: Exception) -> str:
    """Text of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@cache
def reads_heif() -> bool:
    """Whether Pillow's plug-in for HEIC and HEIF is installed; it is then registered."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@dataclass(frozen=True)
class _Jpeg:
    """What a JPEG says before its pixels; `channels` is 0 for what only Pillow decodes."""

    height: int
    width: int
    channels: int
    orientation: int


def _jpeg_header(content: bytes) -> _Jpeg | None:
    """Header of a JPEG; None for anything else, and without a size."""
    if content[:2] != b"\xff\xd8":
        return None
    at, frame, exif = 2, None, b""
    while at + 9 < len(content) and content[at] == 0xFF and content[at + 1] != _PIXELS_MARKER:
        marker = content[at + 1]
        if marker == 0xFF:  # padding before a marker
            at += 1
            continue
        if marker in _WITHOUT_LENGTH:  # decoders go on elsewhere than a length would say
            return None
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in _FRAME_MARKERS or marker in _OTHER_FRAMES:
            height, width = (
                int.from_bytes(content[at + first : at + first + 2], "big") for first in (5, 7)
            )
            is_usual = marker in _FRAME_MARKERS and content[at + 4] == 8
            frame = (height, width, content[at + 9] if is_usual else 0)
        elif marker == _APP1 and not exif and content[at + 4 : at + 10] == b"Exif\0\0":
            exif = content[at + 4 : at + 2 + length]
        at += 2 + length
    return None if frame is None else _Jpeg(*frame, orientation_of(exif))


def _measured(content: bytes, tiff: Tiff, channels: int) -> Stored | None:
    """Values of a TIFF that is no picture of 8 bits; None for one that Pillow decodes."""
    page = tiff.pages[0]
    is_stack = channels not in (1, 3) and page.samples == 1 and len(tiff.pages) == channels
    if not (is_stack or page.is_deep or not page.is_picture or page.samples == channels > 4):
        return None
    pages = tiff.pages if is_stack else (page,)
    for each in pages:
        require_pixels(each.height, each.width)
    num_bytes = sum(each.height * each.width * each.samples * each.bits // 8 for each in pages)
    if num_bytes > MAX_VALUE_BYTES:
        raise UnreadableImageError(
            f"bands of {num_bytes:,} bytes exceed the limit of {MAX_VALUE_BYTES:,}"
        )
    values = np.concatenate([tiff_values(content, tiff, each) for each in pages], axis=2)
    return Stored(values, tiff_orientation(page), page.no_data)


_PILLOW = re.compile(r"PIL\.")


def _silence_pillow_warnings() -> None:
    # `catch_warnings` is not thread-safe, so a narrow filter is installed whenever it is missing.
    if not any(entry[3] == _PILLOW for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)


def _open(content: bytes) -> Image.Image:
    if not content:
        raise UnreadableImageError("empty file")
    _silence_pillow_warnings()
    if content[4:8] == b"ftyp":  # the family of HEIC
        reads_heif()
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image that Pillow knows") from None
    except Exception as error:  # decoders raise all kinds of errors on malformed bytes
        raise UnreadableImageError(reason_of(error)) from None
    require_pixels(image.height, image.width)
    require_possible(content, image.height * image.width)
    return image


def is_deep(image: Image.Image) -> bool:
    """Whether the values of an opened picture are not of 8 bits."""
    return image.mode[:1] in ("I", "F")


def deep_values(image: Image.Image) -> Values:
    """Values (height, width, 1) of an opened picture of more than 8 bits."""
    is_16_bit = image.mode.startswith("I;16") or image.format == "PPM"
    values = np.asarray(image)
    return (values.astype(np.uint16) if is_16_bit else values)[:, :, None]


def _values(image: Image.Image, channels: int) -> Values:
    return deep_values(image) if is_deep(image) else picture_values(image, channels)
