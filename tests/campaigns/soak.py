"""Soak: one long run of tiny steps with many epochs, checkpoints and looks of the monitor, of which
memory, file descriptors and threads are measured on the way.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from sparring import api
from sparring.contract.toy import images
from sparring.optim.schedule import Position

SIDE, BATCH, STEPS_PER_EPOCH = 8, 4, 4
WARM_UP = 0.2
"""Share of the steps after which the slopes are taken."""
LIMITS = {"memory": 1024, "descriptors": 0.01, "threads": 0.01}
"""Most growth per 1,000 steps: of the resident memory in bytes, and of two numbers."""


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
        rows: step, resident memory in bytes, open file descriptors and threads.
    """

    rows: list[tuple[float, float, float, float]] = field(default_factory=list)

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Measure the process."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.rows.append(
            (
                position.step,
                pages * os.sysconf("SC_PAGE_SIZE"),
                len([*Path("/proc/self/fd").iterdir()]),
                len([*Path("/proc/self/task").iterdir()]),
            )
        )

    def report(self, line: str) -> None:
        """Hear a line, and forget it."""

    def count(self, what: str, done: int, total: int) -> None:
        """Hear of progress, and forget it."""

    def slopes(self) -> dict[str, float]:
        """Growth per 1,000 steps after warming up, by least squares."""
        rows = np.array(self.rows)
        steps, values = rows[:, :1] / 1000, rows[:, 1:]
        late = steps[:, 0] >= WARM_UP * steps[-1, 0]
        line = np.hstack([steps[late], np.ones((late.sum(), 1))])
        found, *_ = np.linalg.lstsq(line, values[late] - values[late].mean(0), rcond=None)
        return dict(zip(LIMITS, map(float, found[0]), strict=True))


def soak(num_steps: int, scratch: Path) -> tuple[dict[str, float], float]:
    """Slopes of a run of so many steps, and its seconds per step.

    A look every 25 epochs, a checkpoint every second.
    """
    meter, begun = Meter(), time.monotonic()
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
                "log_steps": 50,
            },
        },
        listener=meter,
        image_size=SIDE,
        batch_size=BATCH,
        epochs=num_steps // STEPS_PER_EPOCH,
        device="cpu",
    )
    return meter.slopes(), (time.monotonic() - begun) / num_steps
