"""Image files on disk, and folders of them.

Files are listed once and read one at a time.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sparring.data.classes import Labels, named
from sparring.data.names import shown
from sparring.data.sources.image_source import EXCERPT_BYTES, MOST_IMAGE_BYTES, Source, stamp
from sparring.data.sources.parts import Layout, Use, choose_part, folder_layout
from sparring.errors import DataError
from sparring.regular_files import open_regular, read_once

_OF_SYSTEMS = {
    "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found",
}  # fmt: skip
"""Folders of Synology, Windows, macOS and Linux: thumbnails and deleted files, no photographs."""


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
        return shown(self._names[index])

    def identity(self, index: int) -> str:
        """The file itself, by whatever links its path leads there."""
        return os.path.realpath(self._path(index))

    def read(self, index: int) -> bytes:
        return read_once(self._path(index), most_bytes=MOST_IMAGE_BYTES)

    def excerpt(self, index: int) -> bytes:
        """Size of the file and bytes of its middle, which alone are read."""
        with open_regular(self._path(index)) as file:
            size = os.fstat(file.fileno()).st_size
            return b"%d/" % size + os.pread(file.fileno(), EXCERPT_BYTES, size // 2)

    def _path(self, index: int) -> Path:
        return self._root / self._names[index]

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
    """Sorted relative paths of all files that are not hidden, nor in folders of a system."""
    return sorted(_walk(root))


def open_images(root: Path, images: list[str], *, use: Use = "train") -> Source:
    """Images below a folder.

    Class folders are the classes if there are at least two and every image is in one: the folders
    of the first level, or those of the next one if the first are parts such as train and test.

    Args:
        root: folder.
        images: paths relative to it.
        use: what the images are wanted for; chooses a part.
    """
    layout = folder_layout(images)
    folders, reason = _class_folders(images, layout)
    labels, class_names = named(folders)
    if len(class_names) < 2:
        whole = Files(root, images)
        reason = reason or f"all images are in one class folder, '{class_names[0]}'"
    else:
        whole = Files(root, images, labels=labels, class_names=class_names)
    whole.labels_missing = reason
    return choose_part(whole, layout, use=use, where=str(root))


def _class_folders(images: list[str], layout: Layout) -> tuple[list[str | None], str]:
    """Class folder of each image, None for the parts with an image outside; and such an image."""
    strays: dict[str, str] = {}
    for image, part, folder in zip(images, layout.parts, layout.classes, strict=True):
        if not folder:
            strays.setdefault(part, image)
    folders = [
        None if part in strays else folder
        for part, folder in zip(layout.parts, layout.classes, strict=True)
    ]
    stray = next(iter(strays.values()), "")
    return folders, f"{shown(stray)} is in no class folder" if stray else ""


def _walk(root: Path) -> Iterator[str]:
    """Relative paths of files below a folder; links to folders are followed, each folder once, and
    by its own path if that is below the root too."""
    seen = set()
    pending, linked = [""], list[str]()
    while pending or linked:
        folder = (pending or linked).pop()
        try:
            state = (root / folder).stat()
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in _OF_SYSTEMS:
                        continue
                    name = f"{folder}{os.sep}{entry.name}" if folder else entry.name
                    if _is_folder(entry):
                        (linked if entry.is_symlink() else pending).append(name)
                    else:
                        yield name
        except OSError as error:
            raise DataError(
                f"cannot list {root / folder}: {error.strerror}; make it readable or move it away"
            ) from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False
