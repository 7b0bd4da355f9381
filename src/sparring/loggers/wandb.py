"""Weights & Biases: a run of a project, online or offline as `wandb` is set up (WANDB_MODE)."""

import os
from collections.abc import Mapping
from typing import Any

from sparring.loggers.logger import End, LoggedRun

PROJECT = "sparring"
EXIT_CODES: Mapping[End, int] = {"finished": 0, "interrupted": 130, "failed": 1}
"""How a run ended, as W&B marks it: 0 is finished, everything else is failed."""


class WandbLogger:
    """Logger to Weights & Biases.

    Args:
        place: project; None: that of WANDB_PROJECT, or `sparring`.
    """

    def __init__(self, place: str | None = None) -> None:
        self._project = place or os.environ.get("WANDB_PROJECT") or PROJECT

    def open(self, run: LoggedRun) -> str:
        """Begin a run, or go on with the one of the same id.

        Going on, W&B keeps the points that it has, and drops those of a step that it has passed.

        Returns:
            id of the run.
        """
        import wandb

        self._run: Any = wandb.init(
            project=self._project,
            name=run.name,
            id=run.kept,
            resume=None if run.kept is None else "allow",
            config=dict(run.settings),
            dir=os.environ.get("WANDB_DIR") or str(run.folder),
            # Progress bars would fill the page of the console's output.
            settings=wandb.Settings(console="off"),
        )
        return str(self._run.id)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers of one step."""
        self._run.log(dict(numbers), step=step)

    def close(self, end: End) -> None:
        """Finish the run, after what is left has been sent."""
        self._run.finish(exit_code=EXIT_CODES[end])
