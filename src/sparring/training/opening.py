"""Opening of a run's images from the data that a user gives."""

from pathlib import Path

from sparring.data.dataset import Dataset, open_dataset
from sparring.data.sources.sampling import typical_size
from sparring.data.sources.shard_paths import is_shard_pattern
from sparring.data.sources.source import ImageData, open_source
from sparring.errors import DataError
from sparring.training.listener import Listener, counter
from sparring.training.settings import RunConfig

IMAGE_SIZES = (32, 64, 96, 224)
"""Image sizes in pixels from which the nearest to the images' own is chosen if none is given."""


def open_images(
    config: RunConfig, data: ImageData, listener: Listener | None
) -> tuple[RunConfig, Dataset]:
    """Configuration with a resolved image size, size of patches and range of values; and the data
    set.

    Args:
        config: configuration of the run.
        data: images as a user gives them.
        listener: receives the progress of reading.
    """
    source = open_source(
        data, cache=config.data.cache, progress=counter("indexing shards", listener)
    )
    if config.training.image_size is None:
        typical = typical_size(source)
        size = min(IMAGE_SIZES, key=lambda candidate: abs(candidate - typical))
        config = config.changed(training={"image_size": size})
    encoder = config.encoder.resolved(config.image_size)
    config = config.model_copy(update={"encoder": encoder})
    progress = counter("reading images", listener)
    dataset = open_dataset(
        source,
        config.data,
        image_size=config.image_size,
        is_training=True,
        progress=progress,
        report=None if listener is None else listener.report,
    )
    if dataset.form.value_range is not None:
        config = config.changed(data={"value_range": list(dataset.form.value_range)})
    return config, dataset


def data_path(config: RunConfig) -> str:
    """Path of the run's images.

    Raises:
        DataError: if the images were given in memory, or are not there any more.
    """
    if not config.data.path:
        raise DataError(
            "this run was trained on images in memory; hand them over again as data=... "
            "(data=(images, labels) to score it), or name files with --data PATH"
        )
    if not (Path(config.data.path).exists() or is_shard_pattern(config.data.path)):
        raise DataError(
            f"the images of this run are not at {config.data.path} any more; say where they are: "
            "--data PATH, or --train-data PATH for `sparring evaluate`"
        )
    return config.data.path
