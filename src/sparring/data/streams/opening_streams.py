"""Opening of images that are read in order: as a stream, and as a data set for training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparring import distributed
from sparring.data.cores import free_cores
from sparring.data.data_settings import SMALL_PIXELS, DataSettings
from sparring.data.sources.addresses import (
    HUB,
    is_address,
    is_command,
    is_iterable_dataset,
    no_shard,
)
from sparring.data.sources.in_memory import refuse_streams
from sparring.data.sources.pixel_survey import surveyed_format
from sparring.data.sources.sampling import sampled_headers, typical_side
from sparring.data.sources.shard_paths import is_streamed_shard
from sparring.data.streams.hub_stream import HubStream, open_hub_stream
from sparring.data.streams.stream import FirstImages, Limited, Stream
from sparring.data.streams.streamed_dataset import StreamedDataset
from sparring.data.streams.tar_stream import TarStream
from sparring.errors import ConfigError, DataError

LOOKED_AT = 64
"""First images of a stream from which size, channels and range of values are found."""


def is_stream(settings: DataSettings, data: Any) -> bool:
    """Whether data are to be read in order: if the settings say so, and for an
    `IterableDataset`, which cannot be read otherwise."""
    return settings.streaming or is_iterable_dataset(data)


def open_stream(data: Any, settings: DataSettings) -> Stream:
    """Stream of the images that a user passes.

    Args:
        data: `hf:NAME`; a path, URL or `pipe:` command of tar shards; or an `IterableDataset`.
        settings: how many of the images to use.

    Raises:
        DataError: if the data cannot be streamed or opened.
    """
    stream = _open(data)
    return stream if settings.limit is None else Limited(stream, settings.limit)


def open_streamed(
    stream: Stream,
    settings: DataSettings,
    *,
    image_size: Callable[[int], int],
    report: Callable[[str], None],
) -> StreamedDataset:
    """Data set of a stream for training; says what cannot be done with it.

    Args:
        stream: images.
        settings: number of images, and how they are read.
        image_size: side of the squares in pixels, given the typical longer side of the images.
        report: called with each line that a user should read.

    Raises:
        ConfigError: without a length, or if the images are to be kept.
        DataError: if no image is usable.
    """
    num_images = _num_images(stream, settings)
    _refuse_keeping(settings)
    for note in stream.notes:
        report(note)
    looked_at = FirstImages(stream, min(LOOKED_AT, num_images)).loaded()
    headers = sampled_headers(looked_at)
    form = surveyed_format(
        looked_at, headers, channels=settings.channels, given=settings.given_range, report=report
    )
    side = typical_side(headers)
    size = image_size(side)
    kept = settings.stored_size or size
    if kept < size:
        raise ConfigError(
            f"data.stored_size={kept} is less than the views' {size} px; give at least that, or "
            "leave it out"
        )
    is_small = side <= max(2 * kept, SMALL_PIXELS) and settings.store != "never"
    is_cropped = settings.stored_size is None and not is_small
    for line in _limits(stream, settings, num_images):
        report(line)
    return StreamedDataset(
        stream,
        num_images,
        form=form,
        sizes=(size, size if is_cropped else kept),
        is_cropped=is_cropped,
        buffer=settings.shuffle_buffer,
        workers=settings.workers or free_cores(),
        max_bad_share=settings.max_bad_share,
        report=report,
    )


def _open(data: Any) -> Stream:
    if is_iterable_dataset(data):
        return HubStream(data, name="the IterableDataset")
    if isinstance(data, str) and data.startswith(HUB):
        return open_hub_stream(data)
    if isinstance(data, str | Path) and (is_streamed_shard(str(data)) or is_command(data)):
        return TarStream(str(data))
    if isinstance(data, str) and is_address(data):
        raise no_shard(data)
    if not isinstance(data, str | Path):
        refuse_streams(data)
    raise DataError(
        f"data.streaming is for sets of the Hugging Face Hub (hf:NAME), tar shards and an "
        f"IterableDataset, not for {data if isinstance(data, str | Path) else type(data).__name__}"
        "; leave it out"
    )


def _num_images(stream: Stream, settings: DataSettings) -> int:
    given = settings.num_images or stream.num_images
    if given is None:
        length, first = "--set data.num_images=N", "--set data.limit=N"
        if not settings.streaming:  # an object, which is given in Python
            length = "settings={'data': {'streaming': True, 'num_images': N}}"
            first = "settings={'data': {'limit': N}}"
        raise ConfigError(
            f"{stream.name} does not say how many images it has, and epochs and schedules need "
            f"it: give their number by {length}, or use the first ones by {first}"
        )
    return given if settings.limit is None else min(given, settings.limit)


def _refuse_keeping(settings: DataSettings) -> None:
    if settings.store not in ("auto", "never"):
        raise ConfigError(
            f"data.store={settings.store} keeps images, and with data.streaming none are kept; "
            "leave one of the two out"
        )


def _limits(stream: Stream, settings: DataSettings, num_images: int) -> list[str]:
    """What a stream cannot do, and how it is divided among processes."""
    processes, shards = distributed.num_processes(), stream.num_shards
    lines = [
        f"{stream.name} is read in order: {num_images:,} images an epoch, in "
        f"{shards:,} shard{'s' * (shards > 1)}, shuffled through {settings.shuffle_buffer:,} in "
        "memory",
        "no image is kept or found by its number: the monitor, scores and reports use the first "
        "ones, no share of false negatives is logged, and opponents that learn from the images "
        "before training are refused",
    ]
    if processes > 1 and shards % processes == 0:
        lines.append(
            f"the shards are divided among {processes} processes; one whose shards hold fewer "
            "images than its share begins them again"
        )
    elif processes > 1:
        lines.append(
            f"every process reads all shards and decodes its share, as {shards:,} do not divide "
            f"among {processes} processes; choose a multiple of them to read less"
        )
    return lines
