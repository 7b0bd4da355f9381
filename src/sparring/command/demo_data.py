"""Images of the demo: Fashion-MNIST, found or downloaded.

Written as one folder per class, like a user's own images.

Source: Xiao et al. 2017, arXiv:1708.07747; MIT licence.
"""

import gzip
import io
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparring.errors import DataError
from sparring.files import new_folder, not_written, publish

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Folder into which the Debian package `dataset-fashion-mnist` puts the files."""
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Image file and label file of each part; compressed files end in .gz."""
CLASSES = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PADDING = 2
"""Black pixels around the 28 x 28 images: networks for small images halve the resulting 32 without
remainder."""
TIMEOUT_SECONDS = 10.0
"""Seconds without an answer after which the machine counts as offline."""


def find_files(given: Path | None, own: Path) -> Path:
    """Folder that holds the four files, downloaded if necessary.

    Args:
        given: folder named by the user; None looks in `own`, then in the system's folder, then
            downloads into `own`.
        own: the demo's folder for the files.

    Raises:
        DataError: if the files are not there and cannot be downloaded; says what to do.
    """
    if given is not None:
        found = _complete(given)
        if found is None:
            raise DataError(
                f"{given} does not hold Fashion-MNIST; it needs the four files "
                f"{', '.join(_names())}, with or without .gz"
            )
        return found
    for place in (own, SYSTEM_FOLDER):
        if (found := _complete(place)) is not None:
            return found
    try:
        download(own)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Fashion-MNIST could not be downloaded ({str(error).splitlines()[0]}); on Debian "
            "or Ubuntu run scripts/demo-data, "
            f"else put its four files into {own} or name their folder with --data"
        ) from None
    return own


def download(folder: str | Path) -> None:
    """Download the four files from torchvision's mirror; files already there are kept."""
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import download_url

    Path(folder).mkdir(parents=True, exist_ok=True)
    with _timeout(TIMEOUT_SECONDS):
        for name, checksum in FashionMNIST.resources:
            download_url(f"{FashionMNIST.mirrors[0]}{name}", folder, name, checksum)


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Give new connections this timeout; torchvision has no argument for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _names() -> list[str]:
    return [name for pair in FILES.values() for name in pair]


def _complete(folder: Path) -> Path | None:
    """The folder or torchvision's subfolder of it that holds all four files; otherwise None."""
    for place in (folder, folder / "FashionMNIST" / "raw"):
        if all(_path(place, name).is_file() for name in _names()):
            return place
    return None


def _path(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def read_part(
    folder: Path, part: str, num_images: int, *, first: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Some images of a part, (images, 32, 32), and their labels.

    The files are in random order.

    Args:
        folder: of the files.
        part: `train` or `test`.
        num_images: number of images.
        first: number of the first one.

    Raises:
        DataError: if a file is damaged.
    """
    images, labels = (_read_idx(_path(folder, name)) for name in FILES[part])
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(
            f"the {part} files in {folder} do not belong together; remove them and run the "
            "demo again"
        )
    border = (PADDING, PADDING)
    chosen = slice(first, first + num_images)
    return np.pad(images[chosen], ((0, 0), border, border)), labels[chosen]


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Array of an idx file.

    Format: two zeros, type 8 (bytes), number of axes, each axis as a big-endian int32, values.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        if content[:3] != b"\0\0\x08":
            raise ValueError("not an idx file of bytes")
        start = 4 + 4 * content[3]
        shape = np.frombuffer(content[4:start], ">i4")
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); remove it and run the demo again") from None


def write_class_folders(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], folder: Path
) -> None:
    """Write each image as a PNG file in the folder of its class.

    The whole folder appears at once or not at all.

    Raises:
        StorageError: if the disk is full or not writable.
    """
    from PIL import Image

    if folder.exists():
        return
    try:
        with new_folder(folder) as part:
            for name in CLASSES:
                (part / name).mkdir()
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                content = io.BytesIO()
                Image.fromarray(image).save(content, "PNG", compress_level=1)
                (part / CLASSES[label] / f"{number:05}.png").write_bytes(content.getvalue())
            publish(part, folder)
    except OSError as error:
        raise not_written(folder, error) from None
