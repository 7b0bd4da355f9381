"""TIFF files of measurements: any number of bands or pages, and deep colour, which Pillow cannot
hold.

Bands are of 8 to 64 bits, whole or floating, in strips or tiles, next to one another or apart.
Compression other than deflate is undone by Pillow, strip by strip.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparring.data.orientation import UPRIGHT
from sparring.data.pixel_format import UnreadableImageError, Values

Tags: TypeAlias = dict[int, tuple[Any, ...]]

_FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR = 273, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 317, 322, 323, 324, 325
_EXTRA, _KIND, _NO_DATA, _ORIENTATION = 338, 339, 42113, 274
_SIGNED = (2, 3)
_MOST_PAGES = 64
_MOST_CHUNK_BYTES = 2**30
_GREY, _COLOUR = (0, 1), (2,)
_UNCOMPRESSED, _DEFLATE = 1, (8, 32946)
_APART = 2
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3


@dataclass(frozen=True)
class TiffPage:
    """One picture of a TIFF file.

    Attributes:
        height: in pixels as stored.
        width: in pixels as stored.
        samples: number of bands.
        bits: bits of each band.
        is_picture: whether the bands are grey or red, green and blue, and at most transparency.
        tags: all tags by number.
    """

    height: int
    width: int
    samples: int
    bits: int
    is_picture: bool
    tags: Tags

    @property
    def is_deep(self) -> bool:
        """Whether the values are grey, colours or bands of other values than 8 bits."""
        is_plain = self.bits <= 8 and self.tags.get(_KIND, (1,))[0] not in _SIGNED
        return self.tags.get(_PHOTOMETRIC, (1,))[0] in (*_GREY, *_COLOUR) and not is_plain

    @property
    def no_data(self) -> float | None:
        """Value of a missing pixel, as GDAL states it."""
        text = self.tags.get(_NO_DATA, (b"",))[0]
        try:
            return float(text.strip(b"\0 ")) if text else None
        except ValueError:
            return None


@dataclass(frozen=True)
class Tiff:
    """A TIFF file: the order of its bytes, `<` or `>`, and its pages."""

    order: Literal["<", ">"]
    pages: tuple[TiffPage, ...]


def open_tiff(content: bytes) -> Tiff | None:
    """Pages of a TIFF file of grey values, colours or bands; None for anything else."""
    orders: dict[bytes, Literal["<", ">"]] = {b"II*\0": "<", b"MM\0*": ">"}
    order = orders.get(content[:4])
    if order is None:
        return None
    try:
        pages = tuple(_page(tags) for tags in _directories(content, order))
    except (struct.error, KeyError, IndexError):
        return None
    return Tiff(order, pages) if pages else None


def tiff_orientation(page: TiffPage) -> int:
    """Orientation of a page, 1 to 8."""
    found = page.tags.get(_ORIENTATION, (UPRIGHT,))[0]
    return found if found in range(1, 9) else UPRIGHT


def tiff_values(content: bytes, tiff: Tiff, page: TiffPage) -> Values:
    """Values (height, width, samples) of a page, as stored.

    Raises:
        UnreadableImageError: if the file is cut off, or its compression or type is another.
    """
    kind = {1: "u", 2: "i", 3: "f"}.get(int(page.tags.get(_KIND, (1,))[0]))
    if kind is None or page.bits not in (8, 16, 32, 64):
        raise UnreadableImageError(f"bands of {page.bits} bits; 8, 16, 32 and 64 are read")
    if page.samples > 1 and page.tags.get(_PHOTOMETRIC, (1,))[0] not in (*_GREY, *_COLOUR):
        raise UnreadableImageError("bands that are neither grey values nor colours")
    dtype = np.dtype(f"{kind}{page.bits // 8}")
    values = np.zeros((page.height, page.width, page.samples), dtype)
    for place, band, chunk in _chunks(content, tiff, page, dtype):
        part = values[place][..., band]
        part[...] = chunk[: part.shape[0], : part.shape[1]]
    return values


def _directories(content: bytes, order: str) -> Iterator[Tags]:
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    left = 2 * len(content)  # directories that all point to the same bytes would fill any memory
    for _ in range(_MOST_PAGES):
        if not at:
            return
        (count,) = struct.unpack_from(f"{order}H", content, at)
        tags: Tags = {}
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", content, entry)
            if kind not in _FORMATS:
                continue
            form = f"{order}{number}{_FORMATS[kind]}"
            size = struct.calcsize(form)
            left -= size
            if left < 0:
                raise IndexError
            is_here = size <= 4
            place = entry + 8 if is_here else struct.unpack_from(f"{order}I", content, entry + 8)[0]
            tags[tag] = struct.unpack_from(form, content, place)
        yield tags
        (at,) = struct.unpack_from(f"{order}I", content, at + 2 + 12 * count)


def _page(tags: Tags) -> TiffPage:
    samples, extra = int(tags.get(_SAMPLES, (1,))[0]), tags.get(_EXTRA, ())
    kind = tags.get(_PHOTOMETRIC, (1,))[0]
    colours = samples - len(extra)
    is_seen = (kind in _GREY and colours == 1) or (kind in _COLOUR and colours == 3)
    # A fourth sample of which nothing is said is taken for transparency, as Pillow does.
    is_alpha = extra in ((), (1,), (2,), (999,)) and (is_seen or (kind in _COLOUR and samples == 4))
    return TiffPage(
        height=int(tags[_HEIGHT][0]),
        width=int(tags[_WIDTH][0]),
        samples=samples,
        bits=int(tags.get(_BITS, (1,))[0]),
        is_picture=is_alpha or kind not in (*_GREY, *_COLOUR),
        tags=tags,
    )


_Chunk: TypeAlias = tuple[tuple[slice, slice], "slice | int", Values]


def _chunks(content: bytes, tiff: Tiff, page: TiffPage, dtype: np.dtype[Any]) -> Iterator[_Chunk]:
    """Strips or tiles, each with its place in the image and its bands."""
    tags = page.tags
    is_tiled = _TILE_OFFSETS in tags
    height = int(tags[_TILE_HEIGHT][0] if is_tiled else tags.get(_ROWS, (page.height,))[0])
    width = int(tags[_TILE_WIDTH][0] if is_tiled else page.width)
    height = height if is_tiled else min(height, page.height)
    offsets, counts = (
        (tags[_TILE_OFFSETS], tags[_TILE_COUNTS]) if is_tiled else (tags[_OFFSETS], tags[_COUNTS])
    )
    is_apart = tags.get(_PLANAR, (1,))[0] == _APART
    samples = 1 if is_apart else page.samples
    if height < 1 or width < 1 or height * width * samples * dtype.itemsize > _MOST_CHUNK_BYTES:
        raise UnreadableImageError(f"strips or tiles of {width} x {height} pixels")
    num_places = -(-page.height // height) * -(-page.width // width)
    if len(offsets) != num_places * (page.samples if is_apart else 1):
        raise UnreadableImageError("strips or tiles are missing")
    places = [(y, x) for y in range(0, page.height, height) for x in range(0, page.width, width)]
    for number, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        band, place = divmod(number, len(places))
        top, left = places[place]
        rows = height if is_tiled else min(height, page.height - top)
        stored = content[offset : offset + count]
        plain = _expanded(stored, tags, row_bytes=width * samples * dtype.itemsize, rows=rows)
        chunk = _undone(plain, tags, (rows, width, samples), dtype.newbyteorder(tiff.order))
        where = (slice(top, top + rows), slice(left, left + width))
        yield where, band if is_apart else slice(None), chunk[..., 0] if is_apart else chunk


def _expanded(stored: bytes, tags: Tags, *, row_bytes: int, rows: int) -> bytes:
    """Bytes of a strip or tile without its compression."""
    compression = int(tags.get(_COMPRESSION, (1,))[0])
    if compression == _UNCOMPRESSED:
        return stored
    if compression in _DEFLATE:
        try:
            expander = zlib.decompressobj()
            return expander.decompress(stored, row_bytes * rows)
        except zlib.error as error:
            raise UnreadableImageError(str(error)) from None
    entries = {
        _WIDTH: row_bytes,
        _HEIGHT: rows,
        _BITS: 8,
        _COMPRESSION: compression,
        _PHOTOMETRIC: 1,
        _OFFSETS: 0,
        _SAMPLES: 1,
        _ROWS: rows,
        _COUNTS: len(stored),
    }
    entries[_OFFSETS] = 8 + 2 + 12 * len(entries) + 4
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())
    )
    grey = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0) + stored
    with Image.open(io.BytesIO(grey)) as image:
        return image.tobytes()


def _undone(plain: bytes, tags: Tags, shape: tuple[int, int, int], stored: np.dtype[Any]) -> Values:
    """Values of a strip or tile, from differences if the file holds these."""
    rows, width, samples = shape
    size = rows * width * samples * stored.itemsize
    if len(plain) < size:
        raise UnreadableImageError("the file is cut off")
    predictor = int(tags.get(_PREDICTOR, (1,))[0])
    if predictor == _FLOAT_DIFFERENCES:
        steps: npt.NDArray[np.uint8] = np.frombuffer(plain, np.uint8, size)
        whole = steps.reshape(rows, -1, samples).cumsum(axis=1, dtype=np.uint8)
        planes = whole.reshape(rows, stored.itemsize, width * samples).transpose(0, 2, 1)
        values = np.ascontiguousarray(planes).view(stored.newbyteorder(">"))
        return values.astype(stored.newbyteorder("=")).reshape(shape)
    values = np.frombuffer(plain, stored, size // stored.itemsize).reshape(shape)
    values = values.astype(stored.newbyteorder("="))
    if predictor == _DIFFERENCES:
        values = values.cumsum(axis=1, dtype=values.dtype)
    return values
