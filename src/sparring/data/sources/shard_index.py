"""Index of a tar shard: place, size and name of each sample's image, and the place of its label.

Members are grouped into samples by the rule of the webdataset library (its version 1.0.2,
`tariterators.py`): the name up to the first dot of its last part is the sample's key, the rest is
the suffix, and neighbours of equal keys are one sample. Members whose last part begins with a dot
are hidden, and those called `__NAME__` say something about the archive; both are left out.
"""

import json
import os
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from sparring.data.sources.formats import AVIF_SUFFIXES, HEIF_SUFFIXES, IMAGE_SUFFIXES
from sparring.data.sources.tar_members import Ending, Member, members
from sparring.regular_files import open_regular

MOST_SUFFIXES = 4096
"""Suffixes whose kinds are remembered; names with a running number after a dot have many."""
MOST_LABEL_BYTES = 2**20
"""Largest member that is read for a label."""

_ABOUT_THE_ARCHIVE = re.compile(rb"__[^/]*__($|/)")
_IMAGE, _SECOND_IMAGE, _CLASS, _JSON, _OTHER = range(5)
_Part: TypeAlias = tuple[int, int, int, bytes]
"""A member of a sample: its kind, place, size and name."""


@dataclass(kw_only=True)
class ShardIndex:
    """Images of a shard in its order, and what a user should know about the rest.

    Attributes:
        stamp: size in bytes and modification time in nanoseconds of the file.
        starts: place of each image's first byte.
        sizes: size of each image in bytes.
        label_starts: place of the member with each image's label.
        label_sizes: its size in bytes; 0: none, negative: it is JSON.
        name_ends: where each image's name ends in `names`.
        names: names of all images' members, one after the other.
        damage: why the end of the file is left out; empty if it is not.
        compression: by which the whole file is compressed; empty if it is not.
        counts: number of things left out, by what they are.
        examples: name of the first of them.
    """

    stamp: tuple[int, int]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    label_starts: npt.NDArray[np.int64]
    label_sizes: npt.NDArray[np.int64]
    name_ends: npt.NDArray[np.int64]
    names: bytes
    damage: str = ""
    compression: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.starts)

    def packed(self) -> bytes:
        """The index as bytes."""
        columns = np.stack([getattr(self, name) for name in _COLUMNS])
        known = {name: getattr(self, name) for name in _PLAIN}
        head = json.dumps({**known, "rows": len(self), "bytes": len(self.names)}).encode()
        return len(head).to_bytes(8, "little") + head + columns.tobytes() + self.names

    @classmethod
    def unpacked(cls, content: memoryview) -> tuple[Self, memoryview]:
        """The index at the beginning of bytes, and the bytes after it.

        Raises:
            ValueError, KeyError, TypeError: if it is none.
        """
        end = 8 + int.from_bytes(content[:8], "little")
        head = json.loads(bytes(content[8:end]))
        rows, names_at = int(head["rows"]), end + 8 * len(_COLUMNS) * int(head["rows"])
        columns = np.frombuffer(content[end:names_at], "<i8").reshape(len(_COLUMNS), rows)
        names = bytes(content[names_at : names_at + int(head["bytes"])])
        if len(names) != head["bytes"]:
            raise ValueError("the index is cut off")
        known: dict[str, Any] = dict(zip(_COLUMNS, columns, strict=True), names=names)
        known |= {name: head[name] for name in _PLAIN}
        known["stamp"] = (int(head["stamp"][0]), int(head["stamp"][1]))
        return cls(**known), content[names_at + len(names) :]


_COLUMNS = ("starts", "sizes", "label_starts", "label_sizes", "name_ends")
_PLAIN = ("stamp", "damage", "compression", "counts", "examples")


def shard_index(path: Path) -> ShardIndex:
    """Index of a shard, by one pass over its headers.

    Args:
        path: tar archive; one that is damaged is read up to there.

    Raises:
        OSError: if it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        state, ending = os.fstat(file.fileno()), Ending()
        index = _Building()
        for sample in _samples(members(file.fileno(), ending), index):
            index.add(sample)
    index.count("links and the like", ending.num_special)
    index.count("files with holes", ending.num_sparse)
    return ShardIndex(
        stamp=(state.st_size, state.st_mtime_ns),
        **{name: np.array(column, np.int64) for name, column in zip(_COLUMNS, index.columns)},
        names=bytes(index.names),
        damage=ending.damage,
        compression=ending.compression,
        counts=index.counts,
        examples=index.examples,
    )


class _Building:
    """Index while it grows."""

    def __init__(self) -> None:
        self.columns = tuple(array("q") for _ in _COLUMNS)
        self.names = bytearray()
        self.counts: dict[str, int] = {}
        self.examples: dict[str, str] = {}

    def add(self, sample: list[_Part]) -> None:
        """Add a sample's image; the parts of a sample lie one after the other."""
        image = label = None
        further = 0
        for part in sample:
            kind = part[0]
            if kind <= _SECOND_IMAGE:
                further += image is not None
                image = part if image is None or kind < image[0] else image
            elif kind <= _JSON:
                label = part if label is None or kind < label[0] else label
        if image is None:
            self.count("samples without an image", 1, sample[0][3])
            return
        if further:
            self.count("further images of a sample", further, image[3])
        self.names += image[3]
        _, start, size, _ = label or (_OTHER, 0, 0, b"")
        size = size if size <= MOST_LABEL_BYTES else 0
        size = -size if label is not None and label[0] == _JSON else size
        row = (image[1], image[2], start, size, len(self.names))
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)

    def count(self, what: str, number: int, example: bytes = b"") -> None:
        """Count what a user should know of."""
        if number:
            self.counts[what] = self.counts.get(what, 0) + number
            self.examples.setdefault(what, os.fsdecode(example))


def _samples(found: Iterable[Member], index: _Building) -> Iterator[list[_Part]]:
    """Members by sample; a member named as another one of its sample begins a new sample."""
    kinds: dict[bytes, int] = {}
    current, sample, suffixes = None, list[_Part](), set[bytes]()
    for name, start, size in found:
        cut = name.rfind(b"/") + 1
        dot = name.find(b".", cut)
        if dot <= cut or (name[:2] == b"__" and _ABOUT_THE_ARCHIVE.match(name)):
            continue
        key, suffix = name[:dot], name[dot + 1 :]
        if key != current or suffix in suffixes:
            if sample:
                yield sample
            if key == current:
                index.count("members of equal names", 1, name)
            current, sample = key, []
            suffixes.clear()
        suffixes.add(suffix)
        if (kind := kinds.get(suffix)) is None:
            kinds = {} if len(kinds) == MOST_SUFFIXES else kinds
            kind = kinds[suffix] = _kind(suffix)
        sample.append((kind, start, size, name))
    if sample:
        yield sample


def _kind(suffix: bytes) -> int:
    """What the members with a suffix hold; also images that need a plug-in, since an index is kept
    longer than an installation."""
    text = os.fsdecode(suffix).lower()
    if f".{text}".endswith((*IMAGE_SUFFIXES, *HEIF_SUFFIXES, *AVIF_SUFFIXES)):
        return _SECOND_IMAGE if "." in text else _IMAGE
    return {"cls": _CLASS, "json": _JSON}.get(text, _OTHER)
