"""From what a user gives as data to the images of a run."""

from sparring.data.dataset import Dataset, open_dataset
from sparring.data.sources.sampling import typical_size
from sparring.data.sources.source import ImageData, open_source
from sparring.errors import DataError
from sparring.training.listener import Listener, counter
from sparring.training.settings import RunConfig

IMAGE_SIZES = (32, 64, 96, 224)
"""To choose from when none is given: the nearest to the images' own."""


def open_images(
    config: RunConfig, data: ImageData, listener: Listener | None
) -> tuple[RunConfig, Dataset]:
    """The configuration with its image size resolved, and the data set.

    Args:
        config: of the run.
        data: images as a user gives them.
        listener: told how far the reading has come.
    """
    source = open_source(data)
    if config.training.image_size is None:
        typical = typical_size(source)
        size = min(IMAGE_SIZES, key=lambda candidate: abs(candidate - typical))
        config = config.changed(training={"image_size": size})
    progress = counter("reading images", listener)
    dataset = open_dataset(source, config.data, image_size=config.image_size, progress=progress)
    return config, dataset


def data_path(config: RunConfig) -> str:
    """Path of the run's images.

    Raises:
        DataError: if they were handed over in memory.
    """
    if not config.data.path:
        raise DataError(
            "this run was trained on images in memory; hand them over again as data=..."
        )
    return config.data.path
