"""From measurements to predictions: memory as a straight line in the batch, time by the number of
steps, looks and checkpoints."""

from dataclasses import dataclass
from statistics import median

from sparring.planning.measurement import Measurement
from sparring.training.settings import TrainingSettings

MARGIN = 1.15
"""A batch counts as fitting when this many times its predicted memory is there: predictions are to
be right within 15 %."""
SCORING_BYTES = 128 * 2**20
"""What the scores at the end take on top of what remains then: nearest neighbours hold blocks of 64
MiB (measures/knn.py); measured with 5,000 images of 32 px: 109 MiB."""
COPIES_OF_FEATURES = 8
"""How often the scores hold the features of all images at most: as they came, in parts,
standardised, in double precision."""


@dataclass(frozen=True)
class Growth:
    """Memory by the number of images in a batch.

    Attributes:
        constant: bytes that any batch takes.
        per_image: bytes that every image adds.
        floor: bytes that something else takes that knows no batch, such as a look of the monitor.
    """

    constant: float
    per_image: float
    floor: float = 0.0

    def at(self, batch_size: int) -> float:
        """Bytes at this batch size."""
        return max(self.constant + self.per_image * batch_size, self.floor)

    def largest(self, room: float, *, limit: int) -> int:
        """Largest batch, at most `limit`, that leaves the margin in so many bytes; 0 if not even
        two images do."""
        room = room / MARGIN
        if self.floor > room:
            return 0
        found = limit if not self.per_image else int((room - self.constant) // self.per_image)
        return 0 if found < 2 else min(found, limit)

    def image_size(self, room: float, *, batch_size: int, size: int) -> int:
        """Side of the images, a multiple of 8, at which this batch would about fit: what an image
        takes grows with its area; 0 if none."""
        share = (
            (room / MARGIN - self.constant) / (self.per_image * batch_size)
            if self.per_image
            else 0.0
        )
        return 0 if share <= 0 else int(size * min(share, 1.0) ** 0.5) // 8 * 8


def growth(smaller: Measurement, larger: Measurement) -> Growth:
    """The line through two measurements, without the images that are mapped from a file."""
    low, high = (part.bytes_of_steps - _read_store(part) for part in (smaller, larger))
    per_image = max(0.0, (high - low) / (larger.batch_size - smaller.batch_size))
    constant = high - per_image * larger.batch_size
    return Growth(constant, per_image, floor=smaller.bytes_of_all - _read_store(smaller))


def scoring_bytes(measurement: Measurement, num_scored: int) -> float:
    """The process's memory while the scores at the end are computed, without the images that are
    mapped from a file."""
    features = 4 * measurement.feature_channels * num_scored
    return (
        measurement.bytes_at_rest
        - _read_store(measurement)
        + SCORING_BYTES
        + COPIES_OF_FEATURES * features
    )


def crude_bytes(measurement: Measurement, batch_size: int) -> float:
    """No less than a batch of this size will take, from a single smaller one: as if all that came
    with the method grew with the batch."""
    before = measurement.bytes_before
    return before + (measurement.bytes_of_all - before) * max(
        1.0, batch_size / measurement.batch_size
    )


def _read_store(measurement: Measurement) -> int:
    return measurement.store_bytes - measurement.unread_store_bytes


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Predicted times in seconds.

    Attributes:
        step: one step.
        epoch: one epoch, with its share of looks and checkpoints.
        pretraining: what is learned before the first step.
        whole: everything up to the last checkpoint.
    """

    step: float
    epoch: float
    pretraining: float
    whole: float


def duration(
    measurement: Measurement, training: TrainingSettings, *, steps_per_epoch: int, num_steps: int
) -> Duration:
    """Times of a run of so many steps.

    Args:
        measurement: at the run's batch size, or at a smaller one: then a step's time is taken as
            proportional to it.
        training: when the monitor looks, and when checkpoints are written.
        steps_per_epoch: of the run.
        num_steps: that the run makes: fewer than planned in a trial.
    """
    step = median(measurement.seconds) * training.batch_size / measurement.batch_size
    every = training.monitor_epochs or max(1, training.epochs // 10)
    looks = -(-num_steps // (every * steps_per_epoch))
    epoch = _with_checkpoints(
        steps_per_epoch * step + measurement.look_seconds / every,
        steps_per_epoch,
        measurement,
        training,
    )
    whole = _with_checkpoints(
        num_steps * step + looks * measurement.look_seconds, num_steps, measurement, training
    )
    last_save = measurement.checkpoint_seconds if training.checkpoint_minutes else 0.0
    pretraining = measurement.pretraining_seconds
    return Duration(
        step=step, epoch=epoch, pretraining=pretraining, whole=pretraining + whole + last_save
    )


def _with_checkpoints(
    seconds: float, steps: int, measurement: Measurement, training: TrainingSettings
) -> float:
    """A time, with that of the checkpoints that are written meanwhile."""
    pause = 60 * training.checkpoint_minutes
    saves = steps if not pause else min(float(steps), seconds / pause)
    return seconds + saves * measurement.checkpoint_seconds
