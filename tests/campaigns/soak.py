"""Soak: one long run of tiny steps with many epochs, checkpoints and looks of the monitor, of which
memory, file descriptors and threads are measured on the way.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from sparring import api
from sparring.contract.toy import images
from sparring.optim.schedule import Position

SIDE, BATCH, STEPS_PER_EPOCH = 8, 4, 4
WARM_UP, WARM_UP_STEPS, LOG_STEPS = 0.2, 1000, 50
"""Share of the steps, and steps, of which the larger number passes before slopes are taken."""
LIMITS = {"memory": 2048.0, "descriptors": 0.01, "threads": 0.01}
"""Most growth per 1,000 steps: of the resident memory in bytes, and of two numbers."""
LONG_STEPS, SHORT_MEMORY = 50_000, 2.0**20
"""In runs of fewer steps, in which allocators still settle, memory may grow by so much."""


class TinyNetwork(nn.Module):
    """A network of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Map of features."""
        return self.layers(images)  # type: ignore[no-any-return]


@dataclass
class Meter:
    """Listener of a run that measures the process at every record.

    Attributes:
        num_steps: length of the run.
        rows: step, resident memory in bytes, open file descriptors and threads; made at once, so
            that the meter itself does not grow.
    """

    num_steps: int
    rows: npt.NDArray[np.float64] = field(init=False)
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.rows = np.full((self.num_steps // LOG_STEPS * 2, 4), -1.0)

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Measure the process."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.rows[self._count] = (
            position.step,
            pages * os.sysconf("SC_PAGE_SIZE"),
            len([*Path("/proc/self/fd").iterdir()]),
            len([*Path("/proc/self/task").iterdir()]),
        )
        self._count += 1

    def report(self, line: str) -> None:
        """Hear a line, and forget it."""

    def count(self, what: str, done: int, total: int) -> None:
        """Hear of progress, and forget it."""

    def slopes(self) -> dict[str, float]:
        """Growth per 1,000 steps after warming up, by least squares."""
        rows = self.rows[: self._count]
        steps, values = rows[:, :1] / 1000, rows[:, 1:]
        late = steps[:, 0] >= max(WARM_UP * steps[-1, 0], WARM_UP_STEPS / 1000)
        line = np.hstack([steps[late], np.ones((late.sum(), 1))])
        found, *_ = np.linalg.lstsq(line, values[late] - values[late].mean(0), rcond=None)
        return dict(zip(LIMITS, map(float, found[0]), strict=True))


def most_growth(num_steps: int) -> dict[str, float]:
    """Limits of the slopes of a run of so many steps."""
    return LIMITS if num_steps >= LONG_STEPS else {**LIMITS, "memory": SHORT_MEMORY}


def soak(num_steps: int, scratch: Path) -> tuple[dict[str, float], float]:
    """Slopes of a run of so many steps, and its seconds per step.

    A look every 25 epochs, a checkpoint every second.
    """
    meter, begun = Meter(num_steps), time.monotonic()
    pixels = images(STEPS_PER_EPOCH * BATCH)[:, ::2, ::2]
    api.train(
        pixels,
        out=scratch / "run",
        method="mocov2",
        backbone=TinyNetwork(),
        settings={
            "projector": {"hidden": 8, "dim": 8},
            "queue": {"size": 16},
            "training": {
                "checkpoint_minutes": 1 / 60,
                "monitor_epochs": 25,
                "monitor_images": 8,
                "log_steps": LOG_STEPS,
            },
        },
        listener=meter,
        image_size=SIDE,
        batch_size=BATCH,
        epochs=num_steps // STEPS_PER_EPOCH,
        device="cpu",
    )
    return meter.slopes(), (time.monotonic() - begun) / num_steps
