"""What measurements of small batches say of the planned one."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from sparring.planning.measurement import Measurement
from sparring.planning.prediction import fit_memory
from sparring.training.memory_model import MemoryModel
from sparring.training.settings import TrainingSettings


def step_range(found: Sequence[Measurement], batch_size: int) -> tuple[float, float]:
    """Shortest and longest step in seconds of a batch, on the evidence of smaller ones.

    Between a step whose fixed part, as the smallest and the largest measured batch show it, does
    not grow, and one that grows as a whole; from a single measurement half of that, and that.

    Args:
        found: measurements, smallest batch first.
        batch_size: a batch at least as large as theirs.
    """
    smallest, largest = found[0], found[-1]
    before, after = median(smallest.seconds), median(largest.seconds)
    whole = after * batch_size / largest.batch_size
    if len(found) == 1:
        return (whole if batch_size == largest.batch_size else whole / 2), whole
    slope = (after - before) / (largest.batch_size - smallest.batch_size)
    fixed = max(after, after + slope * (batch_size - largest.batch_size))
    return min(fixed, whole), max(fixed, whole)


def extrapolate(
    found: Sequence[Measurement], training: TrainingSettings, *, num_images: int, sampled: int
) -> tuple[Measurement, tuple[float, float]]:
    """Measurement as the planned batch would give it, and the range of its step in seconds.

    Args:
        found: measurements, smallest batch first.
        training: the planned batch and the size of a monitor pass.
        num_images: number of the run's images.
        sampled: number of images of the measurements.
    """
    largest, seconds = found[-1], median(found[-1].seconds)
    low, high = step_range(found, training.batch_size)
    step = (low * high) ** 0.5
    looked = min(max(8, largest.batch_size), sampled, training.monitor_images)
    grown = min(training.monitor_images, num_images) / looked
    return replace(
        largest,
        batch_size=training.batch_size,
        seconds=[step],
        cpu_seconds=[median(largest.cpu_seconds) * step / max(seconds, 1e-9)],
        monitor_seconds=largest.monitor_seconds * grown,
        cpu_monitor_seconds=largest.cpu_monitor_seconds * grown,
        opponent_pretraining_seconds=found[0].opponent_pretraining_seconds,
    ), (low, high)


def fit_growing(found: Sequence[Measurement], *, kept_bytes: int) -> MemoryModel:
    """Memory by batch size, without the images that only these measurements hold.

    From a single batch, what is beyond weights, gradients and optimisers grows with the batch.
    """
    first = found[0]
    if len(found) > 1:
        line = fit_memory(first, found[-1])
    else:
        state = first.weight_bytes + first.gradient_bytes + first.optimizer_bytes
        rest = max(0, first.bytes_of_steps - first.bytes_before - state)
        line = MemoryModel(first.bytes_of_steps - rest, rest / first.batch_size)
    return MemoryModel(line.constant - kept_bytes, line.per_image, line.floor - kept_bytes)
