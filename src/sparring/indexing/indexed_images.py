"""A set of images with the features that an encoder gives them: what every question is asked of."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, UInt8
from torch import Tensor

from sparring.data.decode import UnreadableImageError, load
from sparring.data.pixel_format import PixelFormat
from sparring.data.sources.image_source import Labels, Source
from sparring.errors import DataError
from sparring.reporting.gallery import Pixels, pixels

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class IndexedImages:
    """Readable images of a set, row by row, with their features.

    Attributes:
        name: the set, as the user gave it.
        source: the images.
        form: how they are read.
        features: the backbone's output, float32, finite.
        labels: class of each image, -1 where unknown; None without labels.
        num_left_out: images of the set that cannot be read, or have no given features.
        encoder: the run whose encoder it is, and its network, for people.
    """

    name: str
    source: Source
    form: PixelFormat
    features: Float[Tensor, "images channels"]
    labels: Labels | None = None
    num_left_out: int = 0
    encoder: str = ""

    def __len__(self) -> int:
        return len(self.features)

    def key(self, row: int) -> str:
        """Name by which a user recognises an image."""
        return self.source.key(int(row))

    def label(self, row: int) -> str:
        """Name of an image's class, its number if it has no name, empty if it is unknown."""
        return "" if self.labels is None else self.class_name(int(self.labels[row]))

    def class_name(self, label: int) -> str:
        """Name of a class, its number if it has no name; empty for -1, which is unknown."""
        if label < 0:
            return ""
        names = self.source.class_names
        return names[label] if names is not None and label < len(names) else str(label)

    def image(self, row: int) -> UInt8[Tensor, "bands height width"]:
        """Whole image, upright, with all of its channels.

        Raises:
            DataError: if it cannot be read any more.
        """
        try:
            return load(self.source.read, int(row), self.form)
        except UnreadableImageError as error:
            raise DataError(
                f"{self.key(row)} cannot be read any more ({error}); ask again, so that the set is "
                "read anew"
            ) from None

    def picture(self, row: int) -> Pixels:
        """Whole image (height, width, 3); the first three channels, or the first as grey.

        Raises:
            DataError: if it cannot be read any more.
        """
        return pixels(self.image(row))


def require_rows(images: IndexedImages, *, least: int, what: str) -> None:
    """Refuse a set that is too small for a question.

    Raises:
        DataError: if it has fewer than `least` readable images.
    """
    if len(images) < least:
        raise DataError(
            f"{images.name} has {len(images):,} readable image{'s' * (len(images) != 1)}, and "
            f"{what} needs at least {least}; give a larger set by --data PATH"
        )
