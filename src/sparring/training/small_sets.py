"""Sets with fewer images than recipes expect: the batch that fits, and what a user should know."""

from collections.abc import Mapping
from typing import Any

from sparring import distributed
from sparring.errors import DataError
from sparring.negatives.bank import BankSettings, SharedBankSettings
from sparring.negatives.queue import QueueSettings
from sparring.training.settings import RunConfig

FEW_STEPS = 1000
"""Number of steps below which a run is called short. The shortest runs of the log with scores well
above the untrained encoder's make 1,170: 15 epochs of 10,000 images."""


def gives_batch_size(settings: Mapping[str, Any] | None, training: Mapping[str, Any]) -> bool:
    """Whether a user's own settings and arguments, recipe aside, set the batch size."""
    section = (settings or {}).get("training", {})
    return training.get("batch_size") is not None or "batch_size" in section


def with_fitting_batch(config: RunConfig, num_images: int) -> RunConfig:
    """Configuration with a batch that the images fill.

    A batch that is too large becomes the largest power of two that the images fill, times the
    number of processes. Nothing else changes.

    Args:
        config: configuration whose batch size the user did not set.
        num_images: number of images of the run.

    Raises:
        DataError: if there are not two images per process.
    """
    processes = distributed.num_processes()
    if config.training.batch_size <= num_images:
        return config
    if num_images < 2 * processes:
        raise DataError(
            f"training needs at least 2 images{' per process' if processes > 1 else ''}, and there "
            f"{'is' if num_images == 1 else 'are'} {num_images}; hundreds are the least from which "
            "an encoder learns"
        )
    batch = processes * 2 ** ((num_images // processes).bit_length() - 1)
    return config.changed(training={"batch_size": batch})


def cautions(
    config: RunConfig, num_images: int, *, steps_per_epoch: int, asked_batch: int
) -> list[str]:
    """Lines on a batch that was made to fit, few steps, and more negatives than images.

    Args:
        config: configuration of the run; one with `max_steps` is a trial, whose steps are not
            judged.
        num_images: number of images of the run.
        steps_per_epoch: number of steps in an epoch.
        asked_batch: batch size before `with_fitting_batch`.
    """
    lines, training = [], config.training
    if (batch := training.batch_size) != asked_batch:
        rate = config.method_settings.players.encoder.learning_rate * batch / asked_batch
        lines.append(
            f"batch_size={batch:,} instead of {asked_batch:,}, since there are {num_images:,} "
            "images; learning rates stay as they are (by the linear rule the encoder's would be "
            f"{rate:.2g})"
        )
    if training.max_steps is None and (steps := training.total_steps(steps_per_epoch)) < FEW_STEPS:
        lines.append(
            f"only {steps:,} step{'s' * (steps > 1)}: an encoder learns little in fewer than about "
            f"{FEW_STEPS:,}, which here are --epochs {-(-FEW_STEPS // steps_per_epoch):,}"
        )
    for name, section in config.method_settings:
        is_memory = isinstance(section, QueueSettings | BankSettings | SharedBankSettings)
        if is_memory and section.size > num_images:
            lines.append(
                f"{name}.size={section.size:,} is more than the {num_images:,} images; published "
                "runs have one for every 12 to 20 images"
            )
    return lines
