"""Images of a planned run: opened as the run would, or a sample of them for a rough plan."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sparring.config import Tree
from sparring.data.dataset import Dataset, StoredDataset
from sparring.data.decode import Content, UnreadableImageError, read_content
from sparring.data.sources.addresses import is_address
from sparring.data.sources.items import Items
from sparring.data.sources.sampling import typical_size
from sparring.data.sources.source import ImageData, Source, open_source
from sparring.data.store import cache_folder
from sparring.data.streams.opening_streams import is_stream
from sparring.training.configure import stored_path
from sparring.training.listener import Listener
from sparring.training.opening import open_images
from sparring.training.settings import RunConfig

_OPENED_AGAIN = (str, Path, np.ndarray, Tensor)
"""Kinds of data that another process opens as this one does."""
SAMPLE = 256
"""Images of a rough plan's steps; decoding them takes seconds."""


@dataclass(frozen=True, kw_only=True)
class PlannedImages:
    """Images of a planned run.

    Attributes:
        count: number of the run's images.
        data: images to measure with, as another process can open them.
        settings: data settings to open them with.
        sampled: number of images to measure with.
        kept_bytes: size of the images that the measuring process holds and the run would not.
        store_bytes: size of the run's decoded images, if `data` are a sample of them.
        is_mapped: whether the run maps its decoded images from a file.
        cache: folder in which decoded images are kept; empty if they are not kept.
    """

    count: int
    data: Any
    sampled: int
    settings: Tree = field(default_factory=dict)
    kept_bytes: int = 0
    store_bytes: int = 0
    is_mapped: bool = True
    cache: str = ""


def open_planned(
    config: RunConfig, data: ImageData, listener: Listener | None
) -> tuple[RunConfig, PlannedImages]:
    """Configuration with a resolved image size, and all images, decoded once if the run does so."""
    config, dataset = open_images(config, data, listener)
    if isinstance(dataset, StoredDataset) and not isinstance(data, _OPENED_AGAIN):
        return config, _decoded(config, dataset, count=len(dataset), least=len(dataset))
    is_kept = isinstance(dataset, StoredDataset) and config.data.store != "memory"
    return config, PlannedImages(
        count=len(dataset),
        data=_elsewhere(data, dataset.source, len(dataset)),
        sampled=len(dataset),
        cache=str(cache_folder(config.data.cache)) if is_kept else "",
    )


def open_planned_sample(
    config: RunConfig, data: ImageData, listener: Listener | None
) -> tuple[RunConfig, PlannedImages]:
    """Configuration with a resolved image size, and a sample of the images; keeps nothing.

    Images that the run would decode once are decoded here, and repeated where a batch is larger
    than the sample; of others the process that measures decodes as many as it needs, as the run
    does.
    """
    if is_stream(config.data, data):
        return _sample_of_stream(config, data, listener)
    source = open_source(data)
    count = min(len(source), config.data.limit or len(source))
    batch = min(config.training.batch_size, count)
    settings: Tree = {"limit": min(SAMPLE, count), "store": "never"}
    resolved, sample = open_images(config.changed(data=settings), data, listener)
    config = config.changed(
        training={"image_size": resolved.training.image_size},
        encoder={"patch_size": resolved.encoder.patch_size},
        data={
            "value_range": resolved.data.value_range,
            "limit_seed": resolved.data.limit_seed if config.data.limit is not None else None,
        },
    )
    size = config.data.stored_size or config.image_size
    most = source.most_decoded
    is_stored = config.data.is_decoded_once(typical_size(source), count, size, most=most)
    if not is_stored and not isinstance(sample, StoredDataset):
        return config, PlannedImages(
            count=count,
            data=_elsewhere(data, source, max(len(sample), batch)),
            sampled=max(len(sample), batch),
            settings={**settings, "limit": max(len(sample), batch)},
        )
    return config, _decoded(config, sample, count=count, least=batch)


def _decoded(config: RunConfig, dataset: Dataset, *, count: int, least: int) -> PlannedImages:
    """Decoded images of a data set, repeated up to the least number."""
    size, channels = config.data.stored_size or config.image_size, config.data.channels
    rows = dataset.readable(np.arange(len(dataset)))[1]
    values = dataset.batch(rows).permute(0, 2, 3, 1).contiguous().numpy()
    values = np.resize(values, (max(len(values), least), *values.shape[1:]))
    is_held = config.data.store in ("memory", "device") or dataset.source.is_costly
    return PlannedImages(
        count=count,
        data=values,
        sampled=len(values),
        settings={"limit": None},
        kept_bytes=values.nbytes,
        store_bytes=channels * size**2 * count,
        is_mapped=not is_held,
    )


def _sample_of_stream(
    config: RunConfig, data: ImageData, listener: Listener | None
) -> tuple[RunConfig, PlannedImages]:
    """Configuration with a resolved image size and length, and the first images of a stream, which
    the process that measures streams as the run does."""
    config, dataset = open_images(config, data, listener)
    sampled = min(len(dataset), max(SAMPLE, config.training.batch_size))
    return config, PlannedImages(
        count=len(dataset),
        data=stored_path(data) or data,
        sampled=sampled,
        settings={"limit": sampled},
    )


def _elsewhere(data: ImageData, source: Source, count: int) -> Any:
    """Images as another process, in any folder, can open them; of those that only this process can
    open, the contents of so many."""
    if isinstance(data, str | Path):
        return data if is_address(str(data)) else str(Path(data).expanduser())
    if isinstance(data, _OPENED_AGAIN):
        return data
    contents: list[Content] = []
    for row in range(len(source)):
        if len(contents) < count:
            with suppress(UnreadableImageError):
                contents.append(read_content(source.read, row))
    return Items(contents)
