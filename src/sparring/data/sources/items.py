"""Single images in the forms in which people hold them, and sequences of them."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image
from torch import Tensor

from sparring.data.decode import Content
from sparring.data.pictures import file_of, picture_content
from sparring.data.sources.arrays import as_array, channels_last, why_no_image
from sparring.data.sources.image_source import MOST_IMAGE_BYTES, Source, as_bytes, stamp
from sparring.regular_files import read_once

_ENCODED = (bytes, bytearray, memoryview)
_NUM_LOCKS = 64


def kind_of(value: object) -> str:
    """What kind of image a value is: a path, a PIL image, an array, encoded bytes, or a dict with
    bytes or a path; empty if it is none."""
    if isinstance(value, str | os.PathLike):
        return "a path"
    if isinstance(value, Image.Image):
        return "a PIL image"
    if isinstance(value, np.ndarray | Tensor):
        return "an array"
    if isinstance(value, _ENCODED):
        return "encoded bytes"
    is_stored = isinstance(value, Mapping) and len(value) > 0 and set(value) <= {"bytes", "path"}
    return "a dict with bytes or a path" if is_stored else ""


class ItemReader:
    """Contents of single images, of any kind that `kind_of` knows. Thread-safe."""

    def __init__(self) -> None:
        # Pillow reads a file when its pixels are first asked for, and a picture may stand twice.
        self._locks = [Lock() for _ in range(_NUM_LOCKS)]

    def __reduce__(self) -> tuple[type["ItemReader"], tuple[()]]:
        return ItemReader, ()  # another process has locks of its own

    def content(self, value: object) -> Content:
        """Encoded bytes or values of an image.

        Raises:
            OSError: if it cannot be read, with the reason.
        """
        if isinstance(value, Image.Image):
            return self._of_picture(value)
        if isinstance(value, np.ndarray | Tensor):
            values = as_array(value)
            if reason := why_no_image(values):
                raise OSError(0, reason)
            return values if values.ndim == 2 else channels_last(values)
        if isinstance(value, _ENCODED):
            return bytes(value)
        if isinstance(value, str | os.PathLike):
            return read_once(Path(value).expanduser(), most_bytes=MOST_IMAGE_BYTES)
        if isinstance(value, Mapping) and value.get("bytes") is not None:
            return self.content(value["bytes"])
        if isinstance(value, Mapping) and value.get("path"):
            return self.content(value["path"])
        raise OSError(0, f"no image, but {described(value)}")

    def _of_picture(self, image: Image.Image) -> Content:
        with self._locks[id(image) // 64 % _NUM_LOCKS]:
            path = file_of(image)
            if path is not None:
                return read_once(path, most_bytes=MOST_IMAGE_BYTES)
            try:
                return picture_content(image)
            except OSError:
                raise
            except Exception as error:  # decoders raise all kinds of errors on malformed bytes
                raise OSError(0, f"{type(error).__name__}: {error}") from None


def described(value: object) -> str:
    """A value for a message: its type, and its shape if it has one."""
    if isinstance(value, np.ndarray | Tensor):
        return f"an array of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, list(value)[:8]))
        return f"a dict with the keys {keys or '(none)'}"
    return kind_of(value) or f"a value of type {type(value).__name__}"


class Items(Source):
    """Images that a sequence holds, all of one kind; see `kind_of`.

    Args:
        items: a value per image; they must not change while they are used.
    """

    def __init__(self, items: Sequence[object]) -> None:
        self._items, self._reader, self._fingerprint = items, ItemReader(), ""

    def __len__(self) -> int:
        return len(self._items)

    def key(self, index: int) -> str:
        return f"image {index}"

    def read(self, index: int) -> Content:
        return self._reader.content(self._items[index])

    def fingerprint(self) -> str:
        """Text that changes with any image; of pictures that are not read yet, with their files."""
        if not self._fingerprint:
            digest = hashlib.blake2b(digest_size=16)
            for row, item in enumerate(self._items):
                digest.update(self._identity(row, item) + b"\0")
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _identity(self, row: int, item: object) -> bytes:
        path = file_of(item) if isinstance(item, Image.Image) else None
        if path is not None:
            return os.fsencode(path.absolute()) + b"\0" + stamp(path)
        return content_digest(self, row)

    def _listing(self) -> Iterator[bytes]:
        for row, item in enumerate(self._items):
            yield f"{row} {_size(item)}".encode()


def content_digest(source: Source, row: int) -> bytes:
    """Digest of the content of an image and its form; of a fixed word if it cannot be read."""
    try:
        content = source.read(row)
    except OSError:
        return b"unreadable"
    form = "" if isinstance(content, bytes) else f"{content.shape}{content.dtype}"
    return hashlib.blake2b(form.encode() + as_bytes(content), digest_size=16).digest()


def _size(item: object) -> str:
    """What tells an image apart without reading it."""
    if isinstance(item, Image.Image):
        return f"{item.mode}{item.size}"
    if isinstance(item, np.ndarray | Tensor):
        return f"{item.dtype}{tuple(item.shape)}"
    if isinstance(item, Mapping):
        return _size(item.get("bytes"))
    return str(len(item)) if isinstance(item, _ENCODED) else ""
