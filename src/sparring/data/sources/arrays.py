"""Images already in memory: numpy arrays and torch tensors."""

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sparring.data.classes import Labels, numbered
from sparring.data.pixel_format import MOST_CHANNELS
from sparring.data.sources.image_source import Source
from sparring.errors import DataError

NUMBERS = "buif"
"""Kinds of NumPy types that hold pixels."""
HASHED_IMAGES = 1024
"""Images hashed at once, so that a non-contiguous array is never copied whole."""


class Arrays(Source):
    """Images of an array, which is not copied.

    Args:
        images: numbers of shape (N, H, W), (N, H, W, C) or (N, C, H, W), with C from 1 to 16. Where
            the last axis is not of 1 or 3, the shorter of the two is that of the channels.
        labels: class of each image, as numbers or as names; see `numbered`.

    Raises:
        DataError: for another shape or type, or if the number of labels is not that of the
            images.
    """

    def __init__(self, images: npt.NDArray[np.generic] | Tensor, labels: object = None) -> None:
        values = as_array(images)
        if values.ndim == 4:
            values = channels_last(values)
        if (
            values.ndim not in (3, 4)
            or (values.ndim == 4 and values.shape[3] > MOST_CHANNELS)
            or 0 in values.shape
        ):
            raise DataError(
                f"images of shape {tuple(images.shape)}; accepted are (N, H, W), (N, H, W, C) "
                f"and (N, C, H, W) with C up to {MOST_CHANNELS}, none empty"
            )
        if values.dtype.kind not in NUMBERS:
            raise DataError(f"images of type {values.dtype}; accepted are numbers: convert them")
        self._values = values
        self._labels: Labels | None = None
        if labels is not None:
            self._labels, self.class_names = labels_of(labels, len(values))

    def give_labels(self, labels: Labels | None, names: tuple[str, ...] | None) -> None:
        """Take these labels, and their names if known."""
        self._labels, self.class_names = labels, names

    def __len__(self) -> int:
        return len(self._values)

    def key(self, index: int) -> str:
        return f"image {index}"

    def read(self, index: int) -> npt.NDArray[np.generic]:
        values: npt.NDArray[np.generic] = self._values[index]
        return values

    def labels(self) -> Labels | None:
        return self._labels

    def fingerprint(self) -> str:
        """Text that changes with any value, with the shape and with the type of the images."""
        digest = hashlib.blake2b(
            f"{self._values.shape}{self._values.dtype}".encode(), digest_size=16
        )
        for start in range(0, len(self._values), HASHED_IMAGES):
            digest.update(
                np.ascontiguousarray(self._values[start : start + HASHED_IMAGES]).tobytes()
            )
        return digest.hexdigest()

    def _listing(self) -> Iterator[bytes]:
        yield self.fingerprint().encode()

    def squares(self, size: int, channels: int = 3) -> npt.NDArray[np.uint8] | None:
        """All images as uint8 (N, channels, size, size) if they already have this size and type.

        Otherwise None.
        """
        if self._values.dtype != np.uint8 or self._values.shape[1:3] != (size, size):
            return None
        images = self._values[..., None] if self._values.ndim == 3 else self._values
        if images.shape[3] not in (1, channels):
            return None
        planes = np.broadcast_to(images.transpose(0, 3, 1, 2), (len(images), channels, size, size))
        return np.ascontiguousarray(planes.view(np.uint8))


def as_array(images: npt.NDArray[np.generic] | Tensor) -> npt.NDArray[np.generic]:
    """Values as an array in the host's memory; a tensor there is not copied."""
    if isinstance(images, np.ndarray):
        return images
    tensor = images.detach().cpu()
    values: npt.NDArray[np.generic] = (
        tensor.float() if tensor.is_floating_point() else tensor
    ).numpy()
    return values


def channels_last(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Values (..., height, width, channels) of values whose channels may stand first.

    Where the last axis is not of 1 or 3, the shorter of the two is that of the channels.
    """
    first, last = values.shape[-3], values.shape[-1]
    return np.moveaxis(values, -3, -1) if last not in (1, 3) and first <= last else values


def why_no_image(values: npt.NDArray[np.generic]) -> str:
    """Why these values are no single image; empty if they are one."""
    if values.dtype.kind not in NUMBERS:
        return f"an array of type {values.dtype}; accepted are numbers"
    is_image = values.ndim in (2, 3) and 0 not in values.shape
    if not is_image or (values.ndim == 3 and channels_last(values).shape[2] > MOST_CHANNELS):
        return (
            f"an array of shape {tuple(values.shape)}; accepted are (H, W), (H, W, C) and "
            f"(C, H, W) with C up to {MOST_CHANNELS}, none empty"
        )
    return ""


def labels_of(labels: object, num_images: int) -> tuple[Labels, tuple[str, ...] | None]:
    """Labels that a user gives beside images, and their names; see `numbered`.

    Raises:
        DataError: if they are not one label per image.
    """
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else _label_array(labels)
    if values.shape != (num_images,):
        raise DataError(
            f"labels of shape {values.shape} for {num_images} images; give one label per image"
        )
    return numbered(values.tolist())


def _label_array(labels: object) -> npt.NDArray[np.generic]:
    """Labels as they are given: NumPy would write numbers beside names as text."""
    return np.array(labels, dtype=object if isinstance(labels, list | tuple) else None)
