"""Several sources as one."""

from collections.abc import Sequence

import numpy as np

from sparring.data.classes import joined
from sparring.data.decode import Content
from sparring.data.sources.image_source import Labels, Source
from sparring.errors import DataError


class ConcatenatedSource(Source):
    """Images of several sources, one source after the other; classes are matched by name.

    Args:
        parts: the sources.
        names: what stands before the keys of each; None: nothing.
    """

    def __init__(self, parts: Sequence[Source], names: Sequence[str] | None = None) -> None:
        self._parts, self._names = parts, names
        self.notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
        self.is_costly = any(part.is_costly for part in parts)
        self.is_random = any(part.is_random for part in parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def place(self, index: int) -> tuple[int, int]:
        """Number of the source that holds an image, and the image's index there."""
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return part, index - int(self._starts[part])

    def key(self, index: int) -> str:
        """Key in the source that holds the image, after the name of that source."""
        part, row = self.place(index)
        before = "" if self._names is None else f"{self._names[part]}/"
        return before + self._parts[part].key(row)

    def identity(self, index: int) -> str:
        """What the source that holds the image tells of it; see `Source`."""
        part, row = self.place(index)
        found = self._parts[part].identity(row)
        # A key of a source is none of all of them.
        return found if found != self._parts[part].key(row) else self.key(index)

    def read(self, index: int) -> Content:
        part, row = self.place(index)
        return self._parts[part].read(row)

    def excerpt(self, index: int) -> bytes:
        part, row = self.place(index)
        return self._parts[part].excerpt(row)

    def labels(self) -> Labels | None:
        """Class of each image, matched by name; None if no source has labels, or if one names its
        classes and another one numbers them."""
        found = [(part, part.labels()) for part in self._parts]
        if all(labels is None for _, labels in found):
            self.labels_missing = next((p.labels_missing for p, _ in found if p.labels_missing), "")
            return None
        classes = [
            (np.full(len(part), -1) if labels is None else labels, part.class_names)
            for part, labels in found
        ]
        where = self._names or [f"part {number}" for number in range(len(found))]
        try:
            labels, self.class_names = joined(classes, where=where)
        except DataError as error:
            self.labels_missing = str(error)
            return None
        return labels

    def fingerprint(self) -> str:
        return "+".join(part.fingerprint() for part in self._parts)

    def content_fingerprint(self) -> str:
        return "+".join(part.content_fingerprint() for part in self._parts)
