"""Form in which images are held: how many channels, and which values are black and white.

Images of 8 bits keep their values. Those of more bits, and floating values, are scaled by one range
for all images of a set: `value_range` finds it in a sample.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

Values: TypeAlias = npt.NDArray[np.generic]
Bytes: TypeAlias = npt.NDArray[np.uint8]

MOST_CHANNELS = 16
BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Depths of sensors; whole numbers are scaled by the smallest that holds the sample."""
NO_DATA = (-9999.0, -99999.0, -32767.0, -32768.0, float(np.finfo(np.float32).min))
"""Values that stand for a missing pixel in files of measurements, besides NaN and GDAL's tag."""
TAIL = 0.1
"""Per cent of the sampled values at either end that may be outliers."""
LOOKED_AT = 2**22
"""Values of each sampled image that are looked at."""
SAMPLED_VALUES = 65_536
"""Values of each sampled image among which outliers are looked for."""


class UnreadableImageError(Exception):
    """A file that cannot be decoded as an image; the text is the reason.

    Never leaves the data package.
    """


class ClippedImages:
    """Thread-safe count of the images with values outside the range.

    Args:
        first: called at the first of them.
    """

    def __init__(self, first: Callable[[], None] | None = None) -> None:
        self.count, self._first, self._lock = 0, first, Lock()

    def note(self) -> None:
        """Count one more image."""
        with self._lock:
            self.count += 1
            is_first = self.count == 1
        if is_first and self._first is not None:
            self._first()


@dataclass(frozen=True)
class PixelFormat:
    """Channels and range of the images of a set.

    Attributes:
        channels: number of channels, 1 to `MOST_CHANNELS`.
        value_range: values that become 0 and 255, for images of other values than 8-bit ones; None:
            none was seen.
        clipped: counts the images with values outside the range.
    """

    channels: int = 3
    value_range: tuple[float, float] | None = None
    clipped: ClippedImages = field(default_factory=ClippedImages, compare=False)


RGB = PixelFormat()


def scaled(values: Values, form: PixelFormat, no_data: float | None = None) -> Bytes:
    """Values as bytes: the range becomes 0 to 255, missing values become 0, others are clipped.

    Args:
        values: of any shape and any type of numbers; bytes are returned as they are.
        form: gives the range, and counts the image if values are clipped.
        no_data: value of a missing pixel, if the file states one.

    Raises:
        UnreadableImageError: if no range is known and none follows from the type.
    """
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    numbers: npt.NDArray[Any] = values.astype(
        np.float32 if values.dtype.kind == "f" else np.float64
    )
    low, high = form.value_range or _range_of_type(values)
    is_missing = ~np.isfinite(numbers)
    for value in _missing(no_data):
        is_missing |= (numbers == value) & ((numbers < low) | (numbers > high))
    if is_missing.all():
        raise UnreadableImageError("no pixel with a value")
    numbers = np.where(is_missing, low, numbers)
    if numbers.min() < low or numbers.max() > high:
        form.clipped.note()
    shares = (np.clip(numbers, low, high) - low) / (high - low)
    pixels: Bytes = np.rint(shares * 255).astype(np.uint8)
    return pixels


def value_range(samples: Iterable[tuple[Values, float | None]]) -> tuple[float, float]:
    """Range by which all images of a set are scaled, from some of them.

    Whole numbers from 0 on: 0 to the largest value of the smallest of `BIT_DEPTHS` that holds them.
    Fractions from 0 to 1: 0 to 1. Anything else: from the lowest value, or 0 if none is negative,
    to the highest; values far outside all but `TAIL` per cent are left out of it.

    Args:
        samples: values of some images, each with the value that its file states for missing pixels.

    Raises:
        UnreadableImageError: if there is no value.
    """
    lows, highs, parts, is_whole, is_integer = [], [], [], True, True
    for values, no_data in samples:
        present = _present(values, no_data)
        if present.size:
            lows.append(float(present.min()))
            highs.append(float(present.max()))
            parts.append(present[:: 1 + len(present) // SAMPLED_VALUES])
            is_whole = is_whole and not (present % 1).any()
            is_integer = is_integer and values.dtype.kind in "iu"
    if not parts:
        raise UnreadableImageError("no pixel of the sample has a value")
    low, high = min(lows), max(highs)
    if low >= 0 and high <= 1 and (not is_integer or high > 0):
        return 0.0, 1.0
    if low >= 0 and is_whole:
        tops = (float(2**bits - 1) for bits in BIT_DEPTHS)
        return 0.0, next((top for top in tops if high <= top), high)
    return _without_outliers(np.concatenate(parts), low, high)


def with_channels(values: Bytes, channels: int) -> Bytes:
    """Values (height, width, found) of a picture as (height, width, channels).

    Grey, colour and transparency are converted into one another; transparency becomes white.

    Raises:
        UnreadableImageError: if the channels are not those of a picture.
    """
    found = values.shape[2]
    if found == channels:
        return values
    if found > 4 or channels not in (1, 3, 4):
        raise UnreadableImageError(wrong_channels(found, channels))
    if found == 1 and channels == 3:
        return np.repeat(values, 3, axis=2)
    mode = ("L", "LA", "RGB", "RGBA")[found - 1]
    image = Image.fromarray(values[..., 0] if found == 1 else values, mode)
    return picture_values(image, channels)


def picture_values(image: Image.Image, channels: int) -> Bytes:
    """Values (height, width, channels) of a picture of 8 bits; transparency becomes white, unless
    it is kept as the fourth channel.

    Raises:
        UnreadableImageError: if the channels are not those of a picture.
    """
    if channels not in (1, 3, 4):
        raise UnreadableImageError(wrong_channels(len(image.getbands()), channels))
    if channels == 4:
        return np.array(image.convert("RGBA"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if channels == 3:
        return np.array(image.convert("RGB"))
    return np.array(image.convert("L"))[:, :, None]


def wrong_channels(found: int, channels: int) -> str:
    """Why an image cannot be used, and which setting decides."""
    return f"{found} channels, but data.channels is {channels}: set data.channels={found}"


def _range_of_type(values: Values) -> tuple[float, float]:
    if values.dtype == np.uint16:
        return 0.0, 65535.0
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0.0, 1.0
    raise UnreadableImageError(
        f"values from {low:g} to {high:g}, and no range is known: set data.value_range=[low, high]"
    )


def _present(values: Values, no_data: float | None) -> npt.NDArray[np.float64]:
    """Values that are not missing; of a very large image, some of them."""
    numbers = values.ravel()[:: 1 + values.size // LOOKED_AT].astype(np.float64)
    kept = np.isfinite(numbers)
    for value in _missing(no_data):
        kept &= numbers != value
    return numbers[kept]


def _missing(no_data: float | None) -> tuple[float, ...]:
    return NO_DATA if no_data is None else (*NO_DATA, no_data)


def _without_outliers(
    sampled: npt.NDArray[np.float64], low: float, high: float
) -> tuple[float, float]:
    """Ends of the range; left out is what lies as far beyond the tails as these are apart."""
    first, last = (float(value) for value in np.percentile(sampled, (TAIL, 100 - TAIL)))
    width = last - first
    top = high if high <= last + width else last
    bottom = 0.0 if low >= 0 else low if low >= first - width else first
    return bottom, top if top > bottom else bottom + 1
