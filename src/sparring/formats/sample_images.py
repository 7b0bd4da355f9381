"""A sample of a run's images, by which a smaller precision is made and compared."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sparring.data.dataset import open_dataset
from sparring.data.sources.source import ImageData, open_source
from sparring.evaluation.features import unit_images
from sparring.training.opening import own_images
from sparring.training.settings import RunConfig


def sample_images(
    config: RunConfig,
    data: ImageData | None,
    limit: int,
    *,
    report: Callable[[str], None] | None = None,
) -> Float[Tensor, "images bands size size"]:
    """Up to so many images in [0, 1], drawn by the seed of the run.

    Args:
        config: configuration of the run; says how images are read.
        data: images in any form that `train` takes; None: the run's own.
        limit: largest number of images.
        report: receives each line that a user should read about the images.

    Raises:
        DataError: if the images are not there any more, or none can be read.
    """
    own = config.data.limit if data is None else None
    seed = config.data.limit_seed if own is not None else config.seed
    few = {"limit": min(limit, own or limit), "limit_seed": seed, "store": "never"}
    dataset = open_dataset(
        own_images(config, limit=limit) if data is None else open_source(data, part="all"),
        config.data.model_copy(update=few),
        image_size=config.image_size,
        report=report,
    )
    images = dataset.images(torch.arange(len(dataset)))
    return unit_images(images).contiguous(memory_format=torch.contiguous_format)
