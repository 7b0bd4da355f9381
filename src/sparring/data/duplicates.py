"""Images with equal content, in one set or in two, whatever they are called and wherever they
lie."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sparring.data.dataset import Dataset, FileDataset
from sparring.data.sources.image_source import Source, as_bytes

Rows: TypeAlias = npt.NDArray[np.int64]

BLOCK = 1024
"""Decoded images looked at together."""


def known_images(learned: Dataset, scored: Dataset, *, rows: Rows, scored_rows: Rows) -> Rows:
    """For each image to score, the row of an equal image that is learned from, or -1.

    Decoded images, which are in a store or in memory, are compared by their squares. Otherwise
    encoded files are compared: first by their size and a few bytes, and those that agree by all of
    their bytes.

    Args:
        learned: images to learn from.
        scored: images to score.
        rows: indices of those that are learned from.
        scored_rows: indices of those that are scored.
    """
    if isinstance(learned, FileDataset) or isinstance(scored, FileDataset):
        first = _excerpts(learned.source, rows.tolist())
        second = _excerpts(scored.source, scored_rows.tolist())
        both = first.keys() & second.keys()
        contents = _files(learned.source, [row for key in both for row in first[key]])
        found = _files(scored.source, [row for key in both for row in second[key]])
    else:
        contents, found = _squares(learned, rows), _squares(scored, scored_rows)
    known = {content: row for row, content in contents}
    equal = {row: known[content] for row, content in found if content in known}
    return np.array([equal.get(row, -1) for row in scored_rows.tolist()], np.int64)


def equal_rows(source: Source) -> list[list[int]]:
    """Groups of images of a source with equal encoded files or equal values, in order of their
    first ones.

    Files are compared by their size and a few bytes; those that agree, by all of their bytes. An
    image that cannot be read any more equals none.

    Args:
        source: images.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for rows in _excerpts(source, range(len(source))).values():
        if len(rows) > 1:
            for row in rows:
                with suppress(OSError):
                    groups[_digest(as_bytes(source.read(row)))].append(row)
    return sorted(rows for rows in groups.values() if len(rows) > 1)


def _squares(dataset: Dataset, rows: Rows) -> Iterator[tuple[int, bytes]]:
    """Rows with a digest of the decoded square of each."""
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for row, square in zip(block.tolist(), dataset.images(block).numpy(), strict=True):
            yield row, _digest(square.tobytes())


def _excerpts(source: Source, rows: Iterable[int]) -> dict[bytes, list[int]]:
    """Rows of each excerpt; images that cannot be read are left out."""
    found: dict[bytes, list[int]] = defaultdict(list)
    for row in rows:
        try:
            found[_digest(source.excerpt(row))].append(row)
        except OSError:
            continue
    return found


def _files(source: Source, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Rows with a digest of the encoded file of each."""
    for row in rows:
        yield row, _digest(as_bytes(source.read(row)))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
