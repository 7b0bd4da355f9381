"""Position within a run, and the schedules that depend on it."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

ScheduleName: TypeAlias = Literal["cosine", "constant"]


@dataclass(frozen=True, kw_only=True)
class Position:
    """Position within the planned run.

    Attributes:
        step: index of the current step, from 0.
        num_steps: number of steps of the whole planned run, even if a trial stops earlier.
        steps_per_epoch: steps of one pass over the images.
    """

    step: int
    num_steps: int
    steps_per_epoch: int

    @property
    def epoch(self) -> int:
        """Index of the current epoch, from 0."""
        return self.step // self.steps_per_epoch

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole planned run."""
        return math.ceil(self.num_steps / self.steps_per_epoch)

    def is_before(self, epochs: float) -> bool:
        """Whether fewer epochs than these have passed."""
        return self.step < epochs * self.steps_per_epoch


def cosine(start: float, end: float, fraction: float) -> float:
    """Half a cosine wave from start (fraction 0) to end (fraction 1).

    Example:
        >>> cosine(1.0, 0.0, 0.5)
        0.5
    """
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(max(fraction, 0.0), 1.0)))


def warmup_and_fraction(
    position: Position, *, per_epoch: bool, warmup_epochs: float
) -> tuple[float, float]:
    """Warm-up factor in (0, 1] and fraction in [0, 1) of the time after warm-up.

    Args:
        position: position within the run.
        per_epoch: whether values change once per epoch, as in most released code, instead of at
            every step.
        warmup_epochs: length of the linear warm-up; its factor is (time + 1) / warm-up and reaches
            1 on the last unit.
    """
    unit = position.steps_per_epoch if per_epoch else 1
    now, total = position.step // unit, max(-(-position.num_steps // unit), 1)
    warmup = warmup_epochs * position.steps_per_epoch / unit
    if now < warmup:
        return (now + 1) / warmup if now + 1 < warmup else 1.0, 0.0
    return 1.0, (now - warmup) / max(total - warmup, 1)


def teacher_momentum(
    start: float, position: Position, *, schedule: ScheduleName, per_epoch: bool = False
) -> float:
    """Averaging coefficient of a teacher at this step: constant, or rising to 1 over the run.

    m(k) = 1 - (1 - start) * (1 + cos(pi k / num_steps)) / 2

    Args:
        start: in [0, 1]; 0.99 to 0.999 in the literature.
        position: position within the run.
        schedule: `cosine` rises to 1, so that the teacher stops changing at the end.
        per_epoch: whether it changes once per epoch instead of at every step.

    Source: Grill et al. 2020, arXiv:2006.07733, section 3.3.
    """
    if schedule == "constant":
        return start
    return cosine(
        start, 1.0, warmup_and_fraction(position, per_epoch=per_epoch, warmup_epochs=0.0)[1]
    )


def linear_warmup(start: float, end: float, position: Position, *, epochs: float) -> float:
    """Straight line from start at the first step to end after this many epochs, and then end.

    Args:
        start: value at step 0.
        end: value from `epochs` on.
        position: position within the run.
        epochs: length of the line; 0: always end.
    """
    if not position.is_before(epochs):
        return end
    return start + (end - start) * position.step / (epochs * position.steps_per_epoch)
