"""Predictions of memory and time from measurements.

Memory is linear in the batch size; time follows from the number of steps, monitor passes and
checkpoints.
"""

from dataclasses import dataclass, replace
from statistics import median

from sparring.planning.measurement import Measurement
from sparring.training.memory_model import MemoryModel, line_through
from sparring.training.settings import RunConfig, TrainingSettings

SCORING_BYTES = 128 * 2**20
"""Memory that the final scores add to what remains after training. Nearest neighbours use blocks of
64 MiB (measures/knn.py); measured with 5,000 images of 32 px: 109 MiB."""
COPIES_OF_FEATURES = 8
"""Copies of all features that the scores hold at most: as computed, split, standardised, in double
precision."""


def fit_memory(smaller: Measurement, larger: Measurement) -> MemoryModel:
    """Line through two measurements, without the images that are mapped from a file."""
    low, high = (part.bytes_of_steps - _read_store(part) for part in (smaller, larger))
    line = line_through((smaller.batch_size, low), (larger.batch_size, high))
    return replace(line, floor=smaller.bytes_of_all - _read_store(smaller))


def scoring_bytes(measurement: Measurement, num_scored: int) -> float:
    """Memory of the process while the final scores are computed.

    The images that are mapped from a file are not included.
    """
    features = 4 * measurement.feature_channels * num_scored
    return (
        measurement.bytes_at_rest
        - _read_store(measurement)
        + SCORING_BYTES
        + COPIES_OF_FEATURES * features
    )


def upper_bound_bytes(measurement: Measurement, batch_size: int) -> float:
    """Upper bound on the memory of a larger batch, from one smaller measurement.

    Assumes that everything that the method adds grows with the batch.
    """
    before = measurement.bytes_before
    return before + (measurement.bytes_of_all - before) * max(
        1.0, batch_size / measurement.batch_size
    )


def _read_store(measurement: Measurement) -> int:
    return measurement.store_bytes - measurement.unread_store_bytes


def num_steps(config: RunConfig, steps_per_epoch: int) -> int:
    """Number of steps of the whole run, max_steps applied."""
    planned = config.training.total_steps(steps_per_epoch)
    return min(planned, config.training.max_steps or planned)


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Predicted times in seconds.

    Attributes:
        step: one step.
        epoch: one epoch, including its share of monitor passes and checkpoints.
        opponent_pretraining: training of the opponent before the first step.
        whole: everything up to the last checkpoint.
    """

    step: float
    epoch: float
    opponent_pretraining: float
    whole: float


def duration(
    measurement: Measurement, training: TrainingSettings, *, steps_per_epoch: int, num_steps: int
) -> Duration:
    """Predicted times of a run.

    Args:
        measurement: at the run's batch size, or at a smaller one; step time is then scaled in
            proportion.
        training: intervals of the monitor and of checkpoints.
        steps_per_epoch: steps per epoch of the run.
        num_steps: steps of the run, max_steps applied.
    """
    step = median(measurement.seconds) * training.batch_size / measurement.batch_size
    every = training.look_epochs(steps_per_epoch)
    monitor_passes = -(-num_steps // (every * steps_per_epoch))
    epoch = _with_checkpoints(
        steps_per_epoch * step + measurement.monitor_seconds / every,
        steps_per_epoch,
        measurement,
        training,
    )
    whole = _with_checkpoints(
        num_steps * step + monitor_passes * measurement.monitor_seconds,
        num_steps,
        measurement,
        training,
    )
    last_save = measurement.checkpoint_seconds if training.checkpoint_minutes else 0.0
    opponent_pretraining = measurement.opponent_pretraining_seconds
    return Duration(
        step=step,
        epoch=epoch,
        opponent_pretraining=opponent_pretraining,
        whole=opponent_pretraining + whole + last_save,
    )


def _with_checkpoints(
    seconds: float, steps: int, measurement: Measurement, training: TrainingSettings
) -> float:
    """Time in seconds plus that of the checkpoints written meanwhile."""
    pause = 60 * training.checkpoint_minutes
    saves = steps if not pause else min(float(steps), seconds / pause)
    return seconds + saves * measurement.checkpoint_seconds
