"""Image files on disk: a folder, or a text or CSV list.

Files are listed once and read one at a time.
"""

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sparring.data.classes import numbered
from sparring.data.sources.image_source import Labels, Source, stamp
from sparring.errors import DataError

LABEL_COLUMNS = ("label", "class", "target")
PATH_COLUMNS = ("path", "file", "image", "filename", "file_name", "filepath")


class Files(Source):
    """Image files below a folder.

    Args:
        root: folder.
        names: paths relative to it, or absolute paths.
        labels: class of each file, if known.
        class_names: name of each class.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        *,
        labels: Labels | None = None,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        self.class_names = class_names
        self._root, self._names, self._labels = root, names, labels

    def __len__(self) -> int:
        return len(self._names)

    def key(self, index: int) -> str:
        return self._names[index]

    def read(self, index: int) -> bytes:
        return (self._root / self._names[index]).read_bytes()

    def labels(self) -> Labels | None:
        return self._labels

    def fingerprint(self) -> str:
        """Text that changes with the folder, and with the name, size or modification time of any
        file."""
        digest = hashlib.blake2b(os.fsencode(self._root.resolve()), digest_size=16)
        for name in self._names:
            digest.update(b"\0" + os.fsencode(name))
            digest.update(stamp(os.path.join(self._root, name)))  # noqa: PTH118 - five times faster, for 100,000 files
        return digest.hexdigest()

    def _listing(self) -> Iterator[bytes]:
        for name in self._names:
            size = stamp(os.path.join(self._root, name)).partition(b"/")[0]  # noqa: PTH118
            yield os.fsencode(name) + b"\0" + size


def files_below(root: Path) -> list[str]:
    """Sorted relative paths of all files that are not hidden."""
    return sorted(_walk(root))


def open_images(root: Path, images: list[str]) -> Files:
    """Images below a folder.

    First-level folders are the classes if there are at least two and every image is in one.
    """
    folders = [name.partition(os.sep)[0] if os.sep in name else "" for name in images]
    classes = tuple(sorted(set(folders)))
    if len(classes) < 2 or "" in classes:
        return Files(root, images)
    numbers = {name: number for number, name in enumerate(classes)}
    return Files(
        root,
        images,
        labels=np.array([numbers[name] for name in folders], np.int64),
        class_names=classes,
    )


def _walk(root: Path) -> Iterator[str]:
    """Relative paths of files below a folder; links to folders are followed, each folder once."""
    seen = set()
    pending = [""]
    while pending:
        folder = pending.pop()
        state = (root / folder).stat()
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = f"{folder}{os.sep}{entry.name}" if folder else entry.name
                    if entry.is_dir():
                        pending.append(name)
                    else:
                        yield name
        except OSError as error:
            raise DataError(
                f"cannot list {root / folder}: {error.strerror}; make it readable or move it away"
            ) from None


def open_text_list(path: Path) -> Files:
    """Images listed one per line, relative to the folder of the list."""
    names = [line.strip() for line in _text(path).splitlines()]
    return Files(path.parent, _not_empty(path, [name for name in names if name]))


def open_csv(path: Path) -> Files:
    """Images of a table with a header.

    One column holds paths relative to the folder of the table; another may hold labels.
    """
    table = csv.DictReader(io.StringIO(_text(path), newline=""))
    columns = {name.strip().lower(): name for name in table.fieldnames or ()}
    paths = next((columns[name] for name in PATH_COLUMNS if name in columns), None)
    if paths is None:
        raise DataError(
            f"{path} has the columns {', '.join(columns) or '(none)'}; name one of them 'path'"
        )
    classes = next((columns[name] for name in LABEL_COLUMNS if name in columns), None)
    rows = [row for row in table if row[paths]]
    names = _not_empty(path, [row[paths].strip() for row in rows])
    if classes is None:
        return Files(path.parent, names)
    labels, class_names = numbered([row[classes] for row in rows])
    return Files(path.parent, names, labels=labels, class_names=class_names)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error.reason}); save the list as UTF-8"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _not_empty(path: Path, names: list[str]) -> list[str]:
    if not names:
        raise DataError(f"{path} lists no images; it needs one path per line")
    return names
