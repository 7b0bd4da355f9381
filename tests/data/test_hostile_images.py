"""Images that ask for more than their bytes explain, or that a decoder would not survive."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sparring.data.decode import PixelFormat, UnreadableImageError, decode, header_size

Picture = Callable[..., Image.Image]
Encode = Callable[..., bytes]


@pytest.mark.parametrize(("height", "width"), [(1, 200_000), (200_000, 1)])
def test_one_side_is_limited_too(encode: Encode, height: int, width: int) -> None:
    content = encode(Image.new("1", (width, height)))
    for read in (decode, header_size):
        with pytest.raises(UnreadableImageError, match="limit of 131,072 along one side"):
            read(content)


def test_a_jpeg_marker_without_length_hides_no_frame(picture: Picture, encode: Encode) -> None:
    """A decoder reads on right behind such a marker; a length would lead past the true frame."""
    content = bytearray(encode(picture(20, 20), "JPEG"))
    frame = content.index(b"\xff\xc0")
    true = bytes(content[frame : frame + 19])
    content[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    length = 2 + len(content[frame : frame + 19])
    hidden = b"\xff\xd0" + length.to_bytes(2, "big")
    with pytest.raises(UnreadableImageError):
        decode(bytes(content[:frame] + hidden + content[frame : frame + 19] + true))


def png_of(values: npt.NDArray[np.uint16], *, colour: int, data: bytes | None = None) -> bytes:
    """A PNG of 16 bits per channel, with other compressed rows if they are given."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows) if data is None else data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [*parts, (b"IEND", b"")]
    )


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_a_damaged_png_of_16_bit_colours_is_unreadable(colour: int, channels: int) -> None:
    """torchvision's decoder would end the process."""
    values = np.random.default_rng(0).integers(0, 2**16, (9, 7, channels), np.uint16)
    whole = png_of(values, colour=colour)
    form = PixelFormat(value_range=(0, 65_535))
    assert decode(whole, form).shape == (3, 9, 7)
    damaged = [whole[:length] for length in range(0, len(whole), 7)]
    damaged += [png_of(values, colour=colour, data=data) for data in (b"", zlib.compress(b"\0"))]
    damaged += [png_of(values, colour=colour, data=zlib.compress(b"\7" * 9 * (1 + 14 * channels)))]
    for at in range(8, len(whole) - 12, 5):
        changed = bytearray(whole)
        changed[at] ^= 0x55
        damaged.append(bytes(changed))
    for content in damaged:
        with pytest.raises(UnreadableImageError):
            decode(content, form)


def test_a_png_too_small_for_its_pixels_is_refused_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    )
    for read in (decode, header_size):
        with pytest.raises(UnreadableImageError, match="cannot hold 81,000,000 pixels"):
            read(content)


def tiff_of(height: int, width: int, **tags: int) -> bytes:
    """A TIFF of 16-bit grey in tiles that are not there."""
    numbers = {"tile_width": 322, "tile_height": 323, "offsets": 324, "counts": 325, "bits": 258}
    entries = {256: width, 257: height, 262: 1, 259: 1}
    entries |= {numbers[name]: value for name, value in {"bits": 16, **tags}.items()}
    packed = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())]
    return b"II*\0" + struct.pack("<IH", 8, len(packed)) + b"".join(packed) + bytes(64)


@pytest.mark.parametrize(
    ("side", "tile", "message"),
    [
        (9000, (1, 1), "tiles are missing"),
        (100, (2**31, 2**31), "strips or tiles of"),
        (100, (0, 16), "strips or tiles of"),
        (10_000, (16, 16), "exceed the limit"),
    ],
)
def test_tiff_tiles_need_no_more_room_than_the_file_explains(
    side: int, tile: tuple[int, int], message: str
) -> None:
    content = tiff_of(side, side, tile_width=tile[0], tile_height=tile[1], offsets=8, counts=8)
    with pytest.raises(UnreadableImageError, match=message):
        decode(content, PixelFormat(value_range=(0, 65_535)))
