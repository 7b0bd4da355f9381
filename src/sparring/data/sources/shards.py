"""Images in tar shards of the webdataset convention, read at any place.

Nothing is extracted: an image's bytes are read from its place in the shard, which an index tells
(`shard_index.py`). Names of members are names only.
"""

import errno
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from sparring.data.classes import (
    LABEL_COLUMNS,
    Labels,
    complete_names,
    label_columns,
    numbered,
)
from sparring.data.cores import free_cores
from sparring.data.names import shown
from sparring.data.sources.image_source import EXCERPT_BYTES, MOST_IMAGE_BYTES, Source
from sparring.data.sources.parts import Layout, Use, choose_part, file_layout
from sparring.data.sources.shard_cache import indexed
from sparring.data.sources.shard_index import ShardIndex
from sparring.data.sources.shard_paths import is_streamed_shard
from sparring.data.store import ProgressCallback, cache_folder
from sparring.errors import DataError
from sparring.regular_files import open_regular, read_text

DECODED_AT_MOST = 100_000
"""Images up to which `data.store=auto` decodes shards before the first step: half a minute."""
CLASS_NAMES = ("classes.txt", "classnames.txt")
"""Files beside the shards with the names of classes 0, 1, ..., one per line."""
OPEN_SHARDS = 64
"""Most shards that are open at once, unless `ulimit -n` allows less."""
LABELS_AT_ONCE = 512
"""Labels that are read per task."""


class Shards(Source):
    """Images of tar shards.

    Args:
        root: folder, relative to which shards are named.
        paths: of the shards, below it.
        indexes: index of each shard.

    Attributes:
        names: path of each shard relative to `root`.
        lengths: number of images of each shard.
    """

    most_decoded = DECODED_AT_MOST

    def __init__(self, root: Path, paths: Sequence[Path], indexes: Sequence[ShardIndex]) -> None:
        self._root, self._paths = root, paths
        self.names = [os.path.relpath(path, root) for path in paths]
        self.lengths = np.array([len(index) for index in indexes], np.int64)
        self._stamps = [index.stamp for index in indexes]
        self._firsts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._starts, self._sizes, self._label_starts, self._label_sizes = (
            np.concatenate([getattr(index, name) for index in indexes])
            for name in ("starts", "sizes", "label_starts", "label_sizes")
        )
        lengths = np.concatenate([np.diff(index.name_ends, prepend=0) for index in indexes])
        self._name_ends = np.cumsum(lengths)
        self._member_names = b"".join(index.names for index in indexes)
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        self._lock = Lock()
        self._labels: Labels | None = None
        self.notes = _notes(self.names, indexes)
        if not self._label_sizes.any():
            self.labels_missing = "no sample has a member .cls or .json"

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def key(self, index: int) -> str:
        shard = self._shard(index)
        return shown(f"{self.names[shard]}/{os.fsdecode(self._member(index))}")

    def read(self, index: int) -> bytes:
        """Encoded image, by one read of its place in the shard."""
        size = int(self._sizes[index])
        if size > MOST_IMAGE_BYTES:
            raise OSError(errno.EFBIG, f"larger than {MOST_IMAGE_BYTES / 2**30:g} GiB")
        return self._content(self._shard(index), int(self._starts[index]), size)

    def excerpt(self, index: int) -> bytes:
        """Size of the image and bytes of its middle, which alone are read."""
        size, start = int(self._sizes[index]), int(self._starts[index])
        middle = size // 2
        count = min(EXCERPT_BYTES, size - middle)
        return b"%d/" % size + self._content(self._shard(index), start + middle, count)

    def labels(self) -> Labels | None:
        """Class of each image, from its sample's `.cls` or a field of its `.json`, read once."""
        if self._labels is None and not self.labels_missing:
            try:
                labels, names = numbered(self._values(np.arange(len(self))), where="the shards")
            except DataError as error:
                self.labels_missing = str(error)
                return None
            if not (labels >= 0).any():
                self.labels_missing = (
                    f"no .cls holds a class, and no .json a field {LABEL_COLUMNS[0]} or the like"
                )
                return None
            self.class_names = names or complete_names(labels, self._given_names())
            self._labels = labels
        return self._labels

    def labels_of(self, rows: npt.NDArray[np.int64]) -> Labels | None:
        """Classes of some images, of which alone the labels are read."""
        if self._labels is not None or self.labels_missing:
            return super().labels_of(rows)
        try:
            return numbered(self._values(rows))[0]
        except DataError:
            return super().labels_of(rows)

    def fingerprint(self) -> str:
        """Text that changes with the path, size or modification time of any shard."""
        digest = hashlib.blake2b(digest_size=16)
        for path, (size, time) in zip(self._paths, self._stamps, strict=True):
            digest.update(os.fsencode(path.resolve()) + f"\0{size}/{time}\0".encode())
        return digest.hexdigest()

    def _listing(self) -> Iterator[bytes]:
        for shard, name in enumerate(self.names):
            rows = slice(self._firsts[shard], self._firsts[shard + 1])
            ends = self._name_ends[rows]
            first = self._name_end(int(self._firsts[shard]) - 1)
            yield os.fsencode(name)
            yield self._member_names[first : int(ends[-1]) if len(ends) else first]
            yield self._sizes[rows].tobytes() + (ends - first).tobytes()

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self._firsts, index, side="right")) - 1

    def _member(self, index: int) -> bytes:
        return self._member_names[self._name_end(index - 1) : self._name_end(index)]

    def _name_end(self, index: int) -> int:
        return int(self._name_ends[index]) if index >= 0 else 0

    def _content(self, shard: int, start: int, size: int) -> bytes:
        """Bytes of a shard.

        Raises:
            OSError: if it cannot be read, is not the one that was indexed, or has been cut off.
        """
        with self._lock:
            if shard not in self._open:
                while len(self._open) >= _open_at_most():
                    self._open.popitem(last=False)
                self._open[shard] = _OpenShard(self._paths[shard], self._stamps[shard])
            self._open.move_to_end(shard)
            opened = self._open[shard]
        content = os.pread(opened.number, size, start)
        if len(content) != size:
            raise OSError(errno.ENODATA, "the shard has been cut off since it was indexed")
        return content

    def _values(self, rows: npt.NDArray[np.int64]) -> list[object]:
        """What the labels of images are, as they are written; None where there is none."""
        blocks = [rows[at : at + LABELS_AT_ONCE] for at in range(0, len(rows), LABELS_AT_ONCE)]
        with ThreadPoolExecutor(free_cores(), "sparring-labels") as pool:
            return [value for values in pool.map(self._values_of, blocks) for value in values]

    def _values_of(self, rows: npt.NDArray[np.int64]) -> list[object]:
        shards = np.searchsorted(self._firsts, rows, side="right") - 1
        places = (shards, self._label_starts[rows], self._label_sizes[rows])
        return [self._value(*place) for place in zip(*(part.tolist() for part in places))]

    def _value(self, shard: int, start: int, size: int) -> object:
        try:
            content = self._content(shard, start, abs(size)) if size else b""
        except OSError:
            return None
        return content if size >= 0 else _field(content)

    def _given_names(self) -> tuple[str, ...] | None:
        """Names of the classes in a file beside the shards."""
        for folder in dict.fromkeys((self._root, *(path.parent for path in self._paths))):
            for name in CLASS_NAMES:
                if (folder / name).is_file():
                    lines = read_text(folder / name, errors="surrogateescape").splitlines()
                    return tuple(shown(line.strip()) for line in lines if line.strip())
        return None


class _OpenShard:
    """A shard's descriptor, closed when nobody reads from it any more.

    Raises:
        OSError: if the shard is not the one that was indexed.
    """

    def __init__(self, path: Path, stamp: tuple[int, int]) -> None:
        self.number = -1
        with open_regular(path) as file:
            state = os.fstat(file.fileno())
            if (state.st_size, state.st_mtime_ns) != stamp:
                raise OSError(errno.EINVAL, "the shard has changed since it was indexed")
            self.number = os.dup(file.fileno())

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


def open_shards(
    paths: Sequence[Path],
    *,
    where: str,
    use: Use = "train",
    cache: str | None = None,
    progress: ProgressCallback | None = None,
) -> Source:
    """Source of tar shards; of shards whose names say that they are parts, those that suit a use.

    Args:
        paths: of the shards, absolute.
        where: what the set is called in messages.
        use: what the images are wanted for; chooses a part.
        cache: folder of the index; see `cache_folder`.
        progress: called after each shard that is indexed.

    Raises:
        DataError: if a shard cannot be read, is compressed, or none holds an image.
    """
    indexes = indexed(paths, cache=cache_folder(cache), workers=free_cores(), progress=progress)
    for path, index in zip(paths, indexes, strict=True):
        if index.compression:
            raise compressed(str(path))
    whole = Shards(Path(os.path.commonpath([path.parent for path in paths])), paths, indexes)
    if not len(whole):
        notes = f"; {whole.notes[0]}" if whole.notes else ""
        raise DataError(
            f"{where} holds no image that is read here{notes}; in a shard each image is a member "
            "that ends in .jpg, .png, .webp or the like"
        )
    parts = np.array(file_layout(whole.names).parts, object)
    layout = Layout(tuple(np.repeat(parts, whole.lengths)))
    return choose_part(whole, layout, use=use, where=where)


def compressed(data: str) -> DataError:
    """Error for a compressed archive."""
    streamed = (
        ", or train on it in order with --set data.streaming=true --set data.num_images=N"
        if is_streamed_shard(data)
        else ""
    )
    return DataError(
        f"{data}: images at any place of a compressed archive cannot be read; unpack it to a .tar "
        f"file (gunzip or the like){streamed}"
    )


def _open_at_most() -> int:
    """Number of shards that may be open: a quarter of the files that this process may open."""
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return OPEN_SHARDS if allowed < 0 else max(1, min(OPEN_SHARDS, allowed // 4))


def _field(content: bytes) -> object:
    """First field of a JSON object that is called like a label; None without one."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, dict):
        return None
    found = label_columns(tree)
    return tree[found[0]] if found else None


def _notes(names: Sequence[str], indexes: Sequence[ShardIndex]) -> tuple[str, ...]:
    """Lines about what the shards hold besides the images that are used."""
    notes = []
    damaged = [(name, index) for name, index in zip(names, indexes, strict=True) if index.damage]
    if damaged:
        name, index = damaged[0]
        notes.append(
            f"{len(damaged):,} of the {len(names):,} shards cannot be read to the end, such as "
            f"{shown(name)} after {len(index):,} images: {shown(index.damage)}"
        )
    for what in dict.fromkeys(what for index in indexes for what in index.counts):
        number = sum(index.counts.get(what, 0) for index in indexes)
        name, index = next((n, i) for n, i in zip(names, indexes, strict=True) if what in i.counts)
        example = "/".join(filter(None, (name, index.examples[what])))
        notes.append(f"{number:,} {what} are left out, such as in {shown(example)}")
    return tuple(notes)
