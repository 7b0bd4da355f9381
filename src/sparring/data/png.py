"""PNG files: whether they can hold their pixels, and those of 16 bits per colour whether they are
complete, before a decoder reads them.

torchvision's decoder, the only one here that keeps the 16 bits, ends the process at a file that is
cut off (0.29). So the file is taken apart first, and what is not needed is left out.
"""

import struct
import zlib
from collections.abc import Iterator

from sparring.data.pixel_format import UnreadableImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 4: 2, 6: 4}
_HEADER, _TRANSPARENCY, _DATA, _END = b"IHDR", b"tRNS", b"IDAT", b"IEND"
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row, and the steps to the next ones, of each pass of an interlaced file."""
_MOST_FILTER = 4
_MOST_PIXELS_PER_BYTE = 8 * 1032
"""Eight pixels of one bit in a byte, of which deflate makes at most 1032 from one."""


def deep_colours(content: bytes) -> int | None:
    """Channels of a PNG with 16 bits per colour; None for anything else, also for 16-bit grey."""
    if content[:8] != _SIGNATURE or len(content) < 26 or content[24] != 16:
        return None
    return _CHANNELS.get(content[25])


def require_possible(content: bytes, num_pixels: int) -> None:
    """Refuse a PNG that is too small for its pixels, before room is made for them.

    Raises:
        UnreadableImageError: if it is.
    """
    if content[:8] == _SIGNATURE and num_pixels > len(content) * _MOST_PIXELS_PER_BYTE:
        raise UnreadableImageError(
            f"the file is cut off: {len(content):,} bytes cannot hold {num_pixels:,} pixels"
        )


def complete_png(content: bytes) -> bytes:
    """A file of `deep_colours`, without all parts that do not change its pixels.

    Raises:
        UnreadableImageError: if it is cut off or damaged.
    """
    header, transparency = b"", b""
    data: list[bytes] = []
    for kind, body in _parts(content):
        if kind == _HEADER and not header:
            header = body
        elif kind == _TRANSPARENCY and not data:
            transparency = body
        elif kind == _DATA:
            data.append(body)
        elif kind[0:1].isupper() and kind not in (_END, b"PLTE"):
            raise UnreadableImageError(f"an unknown part of PNG, {kind!r}, or one at a wrong place")
    if len(header) != struct.calcsize(">IIBBBBB") or header[10:12] != b"\0\0" or header[12] > 1:
        raise UnreadableImageError("the header of the PNG is damaged")
    joined = b"".join(data)
    _check_rows(joined, header)
    is_transparent = len(transparency) == 6 and header[9] == 2
    parts = [(_HEADER, header), *([(_TRANSPARENCY, transparency)] * is_transparent)]
    parts += [(_DATA, joined), (_END, b"")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def _parts(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each part up to the end mark."""
    at, kind = len(_SIGNATURE), b""
    while kind != _END:
        if at + 12 > len(content):
            raise UnreadableImageError("the file is cut off")
        (length,) = struct.unpack_from(">I", content, at)
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        end = content[at + 8 + length : at + 12 + length]
        if len(end) < 4:
            raise UnreadableImageError("the file is cut off")
        if kind[:1].isupper() and zlib.crc32(kind + body) != int.from_bytes(end, "big"):
            raise UnreadableImageError("the checksum of a part of the PNG differs")
        yield kind, body
        at += 12 + length


def _check_rows(data: bytes, header: bytes) -> None:
    """Require that the compressed rows are all there, each with a filter that exists."""
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    pixel_bytes = depth // 8 * _CHANNELS[colour]
    sizes = [
        (-(-(width - x) // across), -(-(height - y) // down))
        for x, y, across, down in (_PASSES if header[12] else ((0, 0, 1, 1),))
    ]
    sizes = [(columns, rows) for columns, rows in sizes if columns > 0 and rows > 0]
    needed = sum(rows * (1 + columns * pixel_bytes) for columns, rows in sizes)
    expander = zlib.decompressobj()
    try:
        found = expander.decompress(data, needed + 1)
    except zlib.error as error:
        raise UnreadableImageError(f"the pixels of the PNG are damaged: {error}") from None
    if len(found) != needed or not expander.eof or expander.unused_data:
        raise UnreadableImageError("the pixels of the PNG are cut off or too many")
    at = 0
    for columns, rows in sizes:
        stride = 1 + columns * pixel_bytes
        if max(found[at : at + rows * stride : stride]) > _MOST_FILTER:
            raise UnreadableImageError("the pixels of the PNG are damaged: a filter is unknown")
        at += rows * stride
