"""The dial: it holds an opponent's excess loss at a target.

Excess loss is what an opponent adds to the encoder's loss above its disarmed twin on the same step,
in nats per query. The dial turns a share: at 0 the opponent is its twin, at 1 it plays with all it
has. Its state is a few numbers on the device, so no step reads the device, and every process has
the same.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparring import distributed
from sparring.measures.metric import Metric
from sparring.optim.schedule import Position
from sparring.strength.absent import may_lack
from sparring.strength.settings import Strength, is_held, nats_at

INTEGRAL = 0.08
"""Change of the share's logarithm per measurement at a relative error of 1."""
PROPORTIONAL = 0.2
"""Change of the share's logarithm at a change of the relative error by 1."""
OF_BANKS = 3.0
"""Pace for learned banks: what a share of one adds changes tenfold within 30 steps, since the whole
bank and the encoder move against each other."""
SMALLEST = 1 / 256
"""Smallest share that is not 0."""
START = 1 / 16
"""Share at the first measurement."""
FLOOR = 0.02
"""Nats below which a target counts as this large in the relative error, since measurements spread
over about as much."""
MEMORY = 16
"""Measurements over which the logged excess loss is averaged."""
SMOOTHED = 6
"""Measurements over which the excess loss is averaged before its swing is measured: of noise three
tenths are left, of an oscillation of this loop, which takes 40 measurements and more, four
fifths."""
SWINGS = 64
"""Measurements over which the swing is averaged, more than one oscillation."""

STRENGTH_METRICS = {
    "opponent/excess_loss": Metric(
        "what the opponent adds to the encoder's loss above its disarmed twin on the same step, in "
        "nats per query; mean over about the last 16 measurements",
        title="Excess loss of the opponent, nats",
    ),
    "opponent/target": Metric("excess loss at which `strength` holds the opponent, in nats"),
    "opponent/share": Metric(
        "share of the opponent that plays, as `strength` sets it; 0: the disarmed twin, 1: all of "
        "it",
        title="Share of the opponent that plays",
    ),
    "opponent/swing": Metric(
        "how far the excess loss swings to both sides of its target, as a share of the target; 0 "
        "where it stays on one side, about 0.05 from noise of a fifth of the target"
    ),
}
"""Metrics of every opponent whose excess loss is measured."""
INNER_METRICS = {
    name.replace("opponent/", "opponent/inner/"): Metric(
        f"{metric.meaning}; of the opponent that another one wraps"
    )
    for name, metric in STRENGTH_METRICS.items()
}
"""Metrics of the excess loss of an opponent inside another one."""


def inner(metrics: Mapping[str, Tensor | float]) -> dict[str, Tensor | float]:
    """Metrics of a wrapped method, those of its own opponent under `opponent/inner/`."""
    return {
        name.replace("opponent/", "opponent/inner/") if name in STRENGTH_METRICS else name: value
        for name, value in metrics.items()
    }


class Dial(nn.Module):
    """Share of an opponent that plays, moved so that its excess loss stays at a target.

    A PI controller in velocity form on the logarithm of the share, which makes its pace independent
    of how many nats the opponent can add:

        log share += PROPORTIONAL (e - e_before) + INTEGRAL e,   e = (target - x) / target

    with x the measured excess loss and e clipped to [-1, 1]; both sides of the target weigh the
    same, so noise does not shift the mean. The share is clipped to [1 / 256, 1] after every move,
    so nothing winds up at a bound. Where the target is 0, the share is 0.

    Args:
        strength: the setting; with `released` the share is always 1, and the dial only measures.
        every: steps from one measurement to the next.
        pace: factor of `PROPORTIONAL` and `INTEGRAL`, for opponents that are rarely measured.
    """

    log_share: Tensor
    error: Tensor
    mean: Tensor
    smooth: Tensor
    swings: Tensor

    def __init__(self, strength: Strength, *, every: int = 1, pace: float = 1.0) -> None:
        super().__init__()
        self.strength, self.every, self.pace = strength, every, pace
        self.register_buffer("log_share", torch.tensor(math.log(START)))
        for name in ("error", "mean", "smooth"):
            self.register_buffer(name, torch.tensor(0.0))
        self.register_buffer("swings", torch.zeros(2))
        self.num_measured = 0
        may_lack(self)

    @property
    def is_held(self) -> bool:
        """Whether it holds the opponent; otherwise it only measures."""
        return is_held(self.strength)

    def target(self, position: Position) -> float:
        """Excess loss at which it holds the opponent at this position, in nats per query."""
        return nats_at(self.strength, position)

    def is_off(self, position: Position) -> bool:
        """Whether the opponent is its twin at this position: it is held at 0."""
        return self.is_held and self.target(position) == 0

    def share(self, position: Position) -> Float[Tensor, ""]:
        """Share of the opponent that plays at this step, in [0, 1]; exactly 0 where the target
        is."""
        if not self.is_held:
            return torch.ones_like(self.log_share)
        if self.is_off(position):
            return torch.zeros_like(self.log_share)
        return self.log_share.exp()

    def is_due(self, position: Position) -> bool:
        """Whether this step measures the excess loss."""
        return position.step % self.every == 0

    @torch.no_grad()
    def turn(self, excess: Float[Tensor, ""], position: Position) -> None:
        """Move the share by one measurement; one that is not finite counts as the mean so far.

        Args:
            excess: excess loss of this process on this step, at the share of this step, in nats
                per query.
            position: position of the step.
        """
        excess = excess.detach().to(self.mean).clone()
        distributed.average([excess])
        # It would stay in the share and in all means for good.
        excess = torch.where(excess.isfinite(), excess, self.mean)
        self.num_measured += 1
        self.mean.lerp_(excess, self._weight(MEMORY))
        self.smooth.lerp_(excess, self._weight(SMOOTHED))
        if not self.is_held or self.is_off(position):
            return
        target = self.target(position)
        scale = max(target, FLOOR)
        error = ((target - excess) / scale).clamp(-1.0, 1.0)
        change = error - self.error if self.num_measured > 1 else 0.0 * error
        moved = self.log_share + self.pace * (PROPORTIONAL * change + INTEGRAL * error)
        self.log_share.copy_(moved.clamp(math.log(SMALLEST), 0.0))
        self.error.copy_(error)
        above = (self.smooth - target) / scale
        sides = torch.stack((above, -above)).clamp(min=0)
        self.swings.lerp_(sides, self._weight(SWINGS))

    @property
    def swing(self) -> Float[Tensor, ""]:
        """How far the smoothed excess loss swings to both sides of its target, as a share of the
        target: twice the mean excursion to the side where it is smaller."""
        return 2 * self.swings.min()

    def _weight(self, memory: int) -> float:
        """Weight of the newest measurement in a mean over about so many."""
        return max(1 / self.num_measured, 1 / memory)

    def metrics(self, position: Position) -> dict[str, Tensor | float]:
        """Metrics of a step, see `STRENGTH_METRICS`; none before the first measurement."""
        if not self.num_measured:
            return {}
        found: dict[str, Tensor | float] = {"opponent/excess_loss": self.mean.clone()}
        if self.is_held:
            found |= {
                "opponent/target": self.target(position),
                "opponent/share": self.share(position),
                "opponent/swing": self.swing,
            }
        return found

    def get_extra_state(self) -> dict[str, Any]:
        """Number of measurements so far, for the checkpoint."""
        return {"num_measured": self.num_measured}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_extra_state`'s value."""
        self.num_measured = int(state["num_measured"])
