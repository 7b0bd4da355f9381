"""Images with a segmentation mask each: the class id of every pixel.

A mask is a lossless picture of ids: a grey PNG, or one with a palette, whose indices are the ids. A
picture of colours is not a mask.
"""

import io

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from sparring.data.decode import Content, UnreadableImageError, header_size, load
from sparring.data.pixel_format import RGB
from sparring.data.sources.image_source import Source
from sparring.errors import DataError

# Pillow modes whose values are whole numbers and not colours.
_ID_MODES = ("1", "L", "P", "I", "I;16")


class SegmentationImages:
    """Images and their masks by index, at their own sizes.

    Args:
        images: the images.
        masks: pictures of class ids, as many as images and in the same order.
        class_names: name of each id, if known.

    Attributes:
        form: how the images are read; the range of their values may be set after opening.
    """

    def __init__(
        self, images: Source, masks: Source, *, class_names: tuple[str, ...] | None = None
    ) -> None:
        assert len(images) == len(masks)
        self.class_names = class_names
        self._images, self._masks = images, masks
        self.form = RGB

    def __len__(self) -> int:
        return len(self._images)

    def key(self, index: int) -> str:
        """Name that a user recognises the image by: a path, or `voc.parquet#12`."""
        return self._images.key(index)

    def image(self, index: int) -> UInt8[Tensor, "3 height width"]:
        """Pixels of an image.

        Raises:
            DataError: if it cannot be read.
        """
        try:
            return load(self._images.read, index, self.form)
        except UnreadableImageError as error:
            raise DataError(
                f"{self.key(index)} cannot be read ({error}); repair it, or remove it and its mask"
            ) from None

    def mask(self, index: int) -> Int[Tensor, "height width"]:
        """Class id of each pixel of an image, int64.

        Raises:
            DataError: if the mask is missing, cannot be read, or is not a picture of ids.
        """
        try:
            content = self._masks.read(index)
            if isinstance(content, bytes) and not content:
                raise DataError(
                    f"{self.key(index)} has no mask; every image needs one: add it, or remove "
                    "the image"
                )
            return torch.from_numpy(_ids(content))
        except (OSError, UnreadableImageError) as error:
            raise DataError(f"the mask of {self.key(index)} cannot be used: {error}") from None

    def checked_mask(self, index: int) -> Int[Tensor, "height width"]:
        """Mask of an image that can be read and has the same size.

        Raises:
            DataError: like `mask` and `image`, and if the sizes differ.
        """
        ids, image = self.mask(index), self.image(index)
        if image.shape[1:] == ids.shape:
            return ids
        sizes = [f"{width} x {height}" for height, width in (image.shape[1:], ids.shape)]
        raise DataError(
            f"{self.key(index)} has {sizes[0]} pixels and its mask {sizes[1]}; both must have "
            "the same size: resize the mask by 'nearest'"
        )

    @property
    def source(self) -> Source:
        """The images without their masks."""
        return self._images

    def fingerprint(self) -> str:
        """Text that changes whenever an image or a mask is added, removed or changed."""
        return f"{self._images.fingerprint()}/{self._masks.fingerprint()}"


def _ids(content: Content) -> npt.NDArray[np.int64]:
    """Class ids of an encoded mask or an array."""
    if isinstance(content, np.ndarray):
        return content.astype(np.int64)
    header_size(content)  # refuses decompression bombs before decoding
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.format == "JPEG":
                raise UnreadableImageError("a JPEG blurs class ids; save masks as PNG")
            if picture.mode not in _ID_MODES:
                raise UnreadableImageError(
                    f"a picture of colours ({picture.mode}); masks are PNGs of class ids, "
                    "grey or with a palette"
                )
            return np.array(picture).astype(np.int64)
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImageError(" ".join(str(error).split())) from None
