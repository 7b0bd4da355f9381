"""Images with a segmentation mask each: the class id of every pixel.

A mask is a lossless picture of ids: a grey PNG, or one with a palette, whose indices are the ids. A
picture of colours is not a mask. Masks belong to the upright image; one of the size of the picture
as stored is turned with it.
"""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from sparring.data.decode import (
    Content,
    UnreadableImageError,
    header_size,
    load,
    load_header_size,
)
from sparring.data.orientation import upright
from sparring.data.pixel_format import RGB
from sparring.data.sources.image_source import Source, UnreadableItemError
from sparring.data.stored_picture import stored_orientation
from sparring.errors import DataError

# Pillow modes whose values are whole numbers and not colours.
_ID_MODES = ("1", "L", "P", "I", "I;16")


class SegmentationImages:
    """Images and their masks by index, at their own sizes.

    Args:
        images: the images.
        masks: pictures of class ids, as many as images and in the same order.
        class_names: name of each id, if known.
        notes: what a user should read about how the data were understood, a line each.

    Attributes:
        form: how the images are read; the range of their values may be set after opening.
    """

    def __init__(
        self,
        images: Source,
        masks: Source,
        *,
        class_names: tuple[str, ...] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        assert len(images) == len(masks)
        self.class_names, self.notes = class_names, (*images.notes, *masks.notes, *notes)
        self._images, self._masks = images, masks
        self._ids_of_colours: dict[tuple[int, int, int], tuple[int, str]] = {}
        self.form = RGB

    def __len__(self) -> int:
        return len(self._images)

    def key(self, index: int) -> str:
        """Name that a user recognises the image by: a path, or `voc.parquet#12`."""
        return self._images.key(index)

    def image(self, index: int) -> UInt8[Tensor, "3 height width"]:
        """Pixels of an image.

        Raises:
            UnreadableItemError: if it cannot be read.
        """
        try:
            return load(self._images.read, index, self.form)
        except UnreadableImageError as error:
            raise self._unreadable(index, error) from None

    def mask(self, index: int) -> Int[Tensor, "height width"]:
        """Class id of each pixel of an image, int64.

        Raises:
            UnreadableItemError: if the image cannot be read.
            DataError: if the mask is missing, cannot be read, is not a picture of ids, or has
                another size than the image.
        """
        try:
            ids = torch.from_numpy(ids_of(self._content(index)))
        except (OSError, UnreadableImageError) as error:
            raise DataError(f"the mask of {self.key(index)} cannot be used: {error}") from None
        try:
            size = load_header_size(self._images.read, index)
            if size == ids.shape[::-1] != ids.shape:
                ids = upright(ids, stored_orientation(self._images.read, index))
        except UnreadableImageError as error:
            raise self._unreadable(index, error) from None
        if ids.shape == size:
            return ids
        sizes = [f"{width} x {height}" for height, width in (size, ids.shape)]
        raise DataError(
            f"{self.key(index)} has {sizes[0]} pixels and its mask {sizes[1]}; both must have "
            "the same size: resize the mask by 'nearest'"
        )

    @property
    def source(self) -> Source:
        """The images without their masks."""
        return self._images

    def checked_mask(self, index: int) -> Int[Tensor, "height width"]:
        """Mask of an image that can be read, in whose palette a colour has the same id as in the
        masks checked before.

        Raises:
            DataError: like `mask` and `image`, and for a colour of another id.
        """
        self.image(index)
        ids = self.mask(index)
        for id_, colour in colours_of(self._masks.read(index)).items():
            other, key = self._ids_of_colours.setdefault(colour, (id_, self.key(index)))
            if other != id_:
                raise DataError(
                    f"the palettes of the masks differ: the colour {colour} is id {other} in the "
                    f"mask of {key} and id {id_} in that of {self.key(index)}; save all masks with "
                    "one palette, or as grey PNGs of ids"
                )
        return ids

    def _content(self, index: int) -> Content:
        """The mask of an image as stored."""
        content = self._masks.read(index)
        if isinstance(content, bytes) and not content:
            raise DataError(
                f"{self.key(index)} has no mask; every image needs one: add it, or remove the image"
            )
        return content

    def _unreadable(self, index: int, error: Exception) -> UnreadableItemError:
        return UnreadableItemError(
            f"{self.key(index)} cannot be read ({error}); repair it, or remove it and its mask"
        )

    def fingerprint(self) -> str:
        """Text that changes whenever an image or a mask is added, removed or changed."""
        return f"{self._images.fingerprint()}/{self._masks.fingerprint()}"

    def content_fingerprint(self) -> str:
        """Text that is equal for equal images and masks wherever they lie."""
        return f"{self._images.content_fingerprint()}/{self._masks.content_fingerprint()}"


def ids_of(content: Content) -> npt.NDArray[np.int64]:
    """Class ids of an encoded mask or an array.

    Raises:
        UnreadableImageError: if it is not a picture of ids.
    """
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


def colours_of(content: Content) -> dict[int, tuple[int, int, int]]:
    """Colour of each id that a mask with a palette shows; without ids that share a colour."""
    if isinstance(content, np.ndarray):
        return {}
    with Image.open(io.BytesIO(content)) as picture:
        palette = picture.getpalette("RGB") if picture.mode == "P" else None
        if palette is None:
            return {}
        shown = [value for value, count in enumerate(picture.histogram()) if count]
    colours = {
        id_: (palette[3 * id_], palette[3 * id_ + 1], palette[3 * id_ + 2])
        for id_ in shown
        if 3 * id_ + 2 < len(palette)
    }
    known = list(colours.values())
    return {id_: colour for id_, colour in colours.items() if known.count(colour) == 1}
