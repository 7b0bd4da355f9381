"""Opening of a run's images from the data that a user gives."""

from pathlib import Path

from sparring.data.dataset import Dataset, open_dataset
from sparring.data.sources.addresses import is_address, is_command
from sparring.data.sources.sampling import typical_size
from sparring.data.sources.shard_paths import is_shard_pattern
from sparring.data.sources.source import ImageData, Source, open_source
from sparring.data.streams.opening_streams import is_stream, open_stream, open_streamed
from sparring.errors import DataError
from sparring.training.listener import Listener, counter
from sparring.training.settings import RunConfig

IMAGE_SIZES = (32, 64, 96, 224)
"""Image sizes in pixels from which the nearest to the images' own is chosen if none is given."""


def open_images(
    config: RunConfig, data: ImageData, listener: Listener | None
) -> tuple[RunConfig, Dataset]:
    """Configuration with a resolved image size, size of patches, range of values and draw; and the
    data set.

    Args:
        config: configuration of the run.
        data: images as a user gives them.
        listener: receives the progress of reading.
    """
    if is_stream(config.data, data):
        return _open_stream(config, data, listener)
    if config.data.limit is not None and config.data.limit_seed is None:
        config = config.changed(data={"limit_seed": config.seed})
    source = open_source(
        data, cache=config.data.cache, progress=counter("indexing shards", listener)
    )
    if config.training.image_size is None:
        config = config.changed(training={"image_size": _nearest_size(typical_size(source))})
    config = _with_patches(config)
    progress = counter("reading images", listener)
    dataset = open_dataset(
        source,
        config.data,
        image_size=config.image_size,
        is_training=True,
        progress=progress,
        report=None if listener is None else listener.report,
    )
    return _with_range(config, dataset), dataset


def _open_stream(
    config: RunConfig, data: ImageData, listener: Listener | None
) -> tuple[RunConfig, Dataset]:
    """Configuration with a resolved image size, range of values and number of images, and the data
    set of a stream."""
    stream = open_stream(data, config.data)
    given = config.training.image_size
    dataset = open_streamed(
        stream,
        config.data,
        image_size=lambda typical: given or _nearest_size(typical),
        report=(lambda line: None) if listener is None else listener.report,
    )
    found = {"streaming": True, "num_images": config.data.num_images or len(dataset)}
    config = config.changed(training={"image_size": dataset.size}, data=found)
    return _with_range(_with_patches(config), dataset), dataset


def _with_patches(config: RunConfig) -> RunConfig:
    """Configuration that says the size of a vision transformer's patches."""
    encoder = config.encoder.resolved(config.image_size)
    return config.model_copy(update={"encoder": encoder})


def _nearest_size(typical: int) -> int:
    return min(IMAGE_SIZES, key=lambda candidate: abs(candidate - typical))


def _with_range(config: RunConfig, dataset: Dataset) -> RunConfig:
    if dataset.form.value_range is None:
        return config
    return config.changed(data={"value_range": list(dataset.form.value_range)})


def data_path(config: RunConfig) -> str:
    """Path or address of the run's images.

    Raises:
        DataError: if the images were given in memory, are not there any more, or are the output of
            a command, which no run folder may start.
    """
    path = config.data.path
    if not path:
        raise DataError(
            "this run was trained on images in memory; hand them over again as data=... "
            "(data=(images, labels) to score it), or name files with --data PATH"
        )
    if is_command(path):
        raise DataError(
            f"the images of this run are the output of a command, and a run folder starts none: "
            f"give it again, after reading it, by --data '{path}' (data= in Python)"
        )
    is_elsewhere = is_address(path) or config.data.streaming or is_shard_pattern(path)
    if not (is_elsewhere or Path(path).exists()):
        raise DataError(
            f"the images of this run are not at {path} any more; say where they are: "
            "--data PATH, or --train-data PATH for `sparring evaluate`"
        )
    return path


def own_images(config: RunConfig, *, limit: int | None) -> str | Source:
    """The run's images, to be found by their number: their path, or the first ones of a stream.

    Args:
        config: configuration of the run.
        limit: largest number of images; a stream needs it.

    Raises:
        DataError: as `data_path`, and for a stream without a limit.
    """
    path = data_path(config)
    if not config.data.streaming:
        return path
    if limit is None:
        raise DataError(
            f"{path} is read in order, and scores need images by their number: give a set with "
            "random access by --train-data PATH, or use the first images by --limit N"
        )
    return open_stream(path, config.data).first(limit)
