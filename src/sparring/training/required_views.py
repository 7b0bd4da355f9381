"""What a method and its opponents need of views and images, checked before the first step."""

from sparring.data.dataset import Dataset
from sparring.data.streams.streamed_dataset import StreamedDataset
from sparring.errors import ConfigError
from sparring.methods.method import Method
from sparring.opponents.opponent import Opponent, chain, innermost
from sparring.training.settings import RunConfig


def require_views(config: RunConfig, method: Method, dataset: Dataset, *, given: int) -> None:
    """Refuse a preset of another number of views than the method takes, and images that an
    opponent cannot use.

    Args:
        config: configuration of the run.
        method: the run's method, with its opponents around it.
        dataset: training images.
        given: number of views of the preset.

    Raises:
        ConfigError: with what would do.
    """
    wanted = innermost(method).num_views
    if given < 2 or (wanted is not None and given != wanted):
        raise ConfigError(
            f"views.preset={config.method_settings.views.preset} gives {given} views; "
            f"{config.method} needs {wanted or 'at least 2'}; choose another preset"
        )
    if isinstance(dataset, StreamedDataset) and learns_before(method):
        dataset.refuse()
    if not needs_images(method):
        return
    opponents = ", ".join(config.opponent)
    if dataset.kept_size != config.image_size:
        raise ConfigError(
            f"opponent {opponents} needs images of the views' size; "
            f"leave data.stored_size={dataset.kept_size} out"
        )
    if dataset.is_cropped:
        remedy = (
            f"set data.stored_size={config.image_size}, of which views are then cropped"
            if config.data.streaming
            else "set data.store=always to decode them once"
        )
        raise ConfigError(
            f"opponent {opponents} needs every image as a whole, and these are cropped from their "
            f"files; {remedy}"
        )


def learns_before(method: Method) -> bool:
    """Whether a method, or an opponent around it, learns from the images before the first step."""
    silent = (Method.pretrain_opponent, Opponent.pretrain_opponent)
    return any(type(part).pretrain_opponent not in silent for part in chain(method))


def needs_images(method: Method) -> bool:
    """Whether a method, or an opponent around it, needs the images before augmentation."""
    return any(part.needs_images for part in chain(method))
