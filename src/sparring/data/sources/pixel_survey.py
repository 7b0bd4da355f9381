"""Form of a set's pixels, from a sample: whether its channels fit, and the range of its values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from sparring.data.decode import PixelFormat, UnreadableImageError, read_content, stored_values
from sparring.data.image_file import Header
from sparring.data.pixel_format import Values, value_range, wrong_channels
from sparring.data.sources.image_source import Source
from sparring.errors import DataError

LOOKED_AT = 32
"""Images whose values are read to find the range."""


def surveyed_format(
    source: Source,
    headers: Mapping[int, Header],
    *,
    channels: int,
    given: tuple[float, float] | None,
    report: Callable[[str], None],
) -> PixelFormat:
    """Form in which all images of a source are read.

    Args:
        source: images.
        headers: headers of a sample of them, by index.
        channels: number of channels wanted.
        given: range of values that are not of 8 bits; None: from the sample.
        report: called with what a user should read about it.

    Raises:
        DataError: if no image of the sample can have so many channels, or holds a value.
    """
    fitting = {row: header for row, header in headers.items() if header.fits(channels)}
    if not fitting:
        row, header = next(iter(headers.items()))
        found = max(header.channels, header.pages)
        raise DataError(f"{source.key(row)} has {wrong_channels(found, channels)}")
    if any(header.channels > 1 for header in fitting.values()) and channels == 1:
        report("colours are converted to grey, as data.channels is 1")
    deep = [row for row, header in fitting.items() if header.is_deep]
    if not deep:
        if given is not None:
            report(
                "these images have 8 bits and keep 0 to 255: data.value_range, the range of deeper "
                "ones, is not used for them"
            )
        return PixelFormat(channels, given)
    low, high = given or _found_range(source, deep[:LOOKED_AT], channels)
    if given is None:
        report(
            f"values from {low:g} to {high:g} become black to white in all images: found in "
            f"{min(len(deep), LOOKED_AT)} of them; data.value_range=[low, high] sets another range"
        )
    if len(deep) < len(fitting):
        report(
            f"{len(fitting) - len(deep)} of {len(fitting)} images looked at are of 8 bits, and "
            "keep 0 to 255; that range is for the others"
        )
    return PixelFormat(channels, (low, high))


def _found_range(source: Source, rows: Sequence[int], channels: int) -> tuple[float, float]:
    try:
        return value_range(_readable(source, rows, channels))
    except UnreadableImageError as error:
        raise DataError(f"{source.key(rows[0])}: {error}; set data.value_range") from None


def _readable(
    source: Source, rows: Sequence[int], channels: int
) -> Iterator[tuple[Values, float | None]]:
    for row in rows:
        with suppress(UnreadableImageError):
            yield stored_values(read_content(source.read, row), channels)
