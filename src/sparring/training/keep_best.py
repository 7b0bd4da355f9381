"""The best look of a run: the checkpoint that is kept of it, what reads it, and the rule that ends
a run after looks without a better one.

A checkpoint says which look was the best so far, so that a resumed run goes on comparing with it.
The best one is the run's last checkpoint of that moment under a second name, `best.pt`: the last
one is written first, so that whatever a kill leaves between the two is completed on resuming.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from sparring import distributed
from sparring.errors import CheckpointError, ConfigError
from sparring.files import link_atomically
from sparring.models.encoder import Encoder
from sparring.models.split_norm import join_norms
from sparring.training.checkpoint import (
    RESUME,
    encoder_state,
    newest_checkpoint,
    read_checkpoint,
    save_backbone,
)
from sparring.training.run_folder import RunFolder
from sparring.training.settings import LABELLED_SCORE, RunConfig, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Looks:
    """The monitor's looks of a run so far, and the best of them.

    Attributes:
        score: name of the measure that is compared; the larger the better.
        count: number of looks.
        last_step: number of steps made at the last look.
        best: number of the best look, from 1; 0: none yet.
        step: number of steps made at the best look.
        value: its measure; None: none yet.
        num_labels: number of images whose labels every look used.
    """

    score: str
    count: int = 0
    last_step: int = 0
    best: int = 0
    step: int = 0
    value: float | None = None
    num_labels: int = 0

    def after(self, value: float | None, *, step: int) -> Self:
        """These looks and one more; of equal ones, the earlier is the best.

        Args:
            value: measure of the look; None or not finite: it is never the best.
            step: number of steps made.
        """
        now = replace(self, count=self.count + 1, last_step=step)
        if value is None or not math.isfinite(value):
            return now
        is_best = self.value is None or value > self.value
        return replace(now, best=now.count, step=step, value=value) if is_best else now

    def sentence(self, *, steps: int) -> str:
        """What was chosen, of how many looks, and what they looked at.

        Args:
            steps: number of steps that the run has made.
        """
        labels = f"labels of {self.num_labels:,} of the training images"
        return (
            f"the best by {self.score} of {self.count:,} look{'s' * (self.count != 1)}, step "
            f"{self.step:,} of {steps:,}; it looked at {labels if self.num_labels else 'no labels'}"
        )

    @classmethod
    def of(cls, content: Mapping[str, Any], path: Path) -> Self | None:
        """Looks that a checkpoint says; None for a run that keeps no best one.

        Raises:
            CheckpointError: if they are damaged.
        """
        tree = content.get("best")
        if tree is None:
            return None
        kinds: dict[str, type] = dict.fromkeys(cls.__dataclass_fields__, int)
        kinds |= {"score": str, "value": float}
        is_whole = isinstance(tree, dict) and tree.keys() == kinds.keys()
        if not is_whole or not all(
            type(tree[name]) is kind or (name == "value" and tree[name] is None)
            for name, kind in kinds.items()
        ):
            raise CheckpointError(
                f"the checkpoint {path} holds no usable best look; restore it from a copy"
            )
        return cls(**tree)


class BestLook:
    """Keeper of a run's best look; without `training.keep_best` it does nothing.

    Args:
        settings: settings of the run.
        folder: run folder.
        num_labels: finds the number of the monitor's images that have a label.

    Raises:
        ConfigError: if the score needs labels and there are none.
    """

    def __init__(
        self, settings: TrainingSettings, folder: RunFolder, *, num_labels: Callable[[], int]
    ) -> None:
        self._folder, self._patience = folder, settings.stop_after_looks
        self.is_new = False
        """Whether the last look is the best and not kept yet; in the main process."""
        self.looks: Looks | None = None
        if settings.keep_best is None:
            return
        is_labelled = settings.keep_best == LABELLED_SCORE
        count = num_labels() if is_labelled else 0
        if is_labelled and count < 2:
            raise ConfigError(
                f"training.keep_best={LABELLED_SCORE} compares labels, and of the monitor's images "
                f"{count} have one; use training.keep_best=effective_rank, which needs none"
            )
        self.looks = Looks(score=settings.keep_best, num_labels=count)

    def note(self, record: Mapping[str, float], *, step: int) -> None:
        """Compare a look with those before; in the main process.

        Args:
            record: metrics of the look, by name.
            step: number of steps made.
        """
        if self.looks is not None:
            self.looks = self.looks.after(record.get(self.looks.score), step=step)
            self.is_new = self.looks.best == self.looks.count

    def settle(self) -> None:
        """Let all processes know the look, if one may end the run; every process calls this after
        each look."""
        if self._patience is not None:
            self.looks = distributed.share(self.looks)

    @property
    def stops_at(self) -> int | None:
        """Number of steps after which the stop rule has ended the run; None: it has not."""
        if self.looks is None or self._patience is None:
            return None
        is_over = self.looks.count - self.looks.best >= self._patience
        return self.looks.last_step if is_over else None

    def stop_sentence(self, num_steps: int) -> str | None:
        """What the stop rule has done; None if the run was not ended by it.

        Args:
            num_steps: number of steps of the whole plan.
        """
        end, looks = self.stops_at, self.looks
        if looks is None or end is None or end >= num_steps:
            return None
        since = f"since step {looks.step:,}" if looks.best else "at any look"
        return (
            f"ended by training.stop_after_looks={self._patience} after step {end:,} of "
            f"{num_steps:,}: {looks.score} has not improved {since}; schedules are those of all "
            f"{num_steps:,} steps, so the learning rates had not come to their end (to go on: a "
            "larger training.stop_after_looks in config.toml and `sparring resume`)"
        )

    def tree(self) -> dict[str, Any] | None:
        """Looks as plain values, for the checkpoint; None without `training.keep_best`."""
        return None if self.looks is None else asdict(self.looks)

    def result(self, step: int) -> int:
        """Number of steps of the encoder that a run leaves behind which has made `step` steps."""
        return self.looks.step if self.looks is not None and self.looks.best else step

    def keep(self) -> None:
        """Keep the last checkpoint, which has just been written, if its look is the best.

        Raises:
            StorageError: if the disk is full or read-only; the best one before it is left.
        """
        if self.is_new:
            link_atomically(self._folder.checkpoint, self._folder.best, advice=RESUME)
            self.is_new = False

    def restore(self, content: Mapping[str, Any], path: Path) -> None:
        """Go on comparing where a checkpoint was, and complete what a kill has left undone; every
        process calls this.

        Args:
            content: content of the checkpoint.
            path: its file.

        Raises:
            CheckpointError: if what it says of the looks is damaged.
        """
        before = Looks.of(content, path)
        if self.looks is None or before is None or before.score != self.looks.score:
            return
        if distributed.is_main():
            self.looks = self._found_again(before, path, step=content["step"])
        self.looks = distributed.share(self.looks)

    def _found_again(self, looks: Looks, path: Path, *, step: int) -> Looks:
        kept = _step_of(self._folder.best)
        if kept == looks.step or not looks.best:
            return looks
        if looks.step == step:
            link_atomically(path, self._folder.best, advice=RESUME)
            return looks
        # A later one was kept when the last checkpoint, damaged now, was the last; it is found
        # again. Any other was lost, and the looks before are of no use.
        count = looks.count if kept is not None and kept > step else 0
        return replace(looks, count=count, best=count, step=0, value=None)


@dataclass(frozen=True)
class EvaluatedCheckpoint:
    """The checkpoint whose encoder a run stands for: the best one if it keeps one, else the last.

    Attributes:
        path: its file.
        content: its content.
        chosen_by: how it was chosen; empty for the last one.
    """

    path: Path
    content: Mapping[str, Any]
    chosen_by: str = ""


def evaluated_checkpoint(
    folder: RunFolder, report: Callable[[str], None] | None = None
) -> EvaluatedCheckpoint:
    """Checkpoint that is evaluated, embedded with and exported.

    Args:
        folder: run folder.
        report: receives a line if a checkpoint cannot be read and another one is used.

    Raises:
        CheckpointError: if none can be read.
    """
    path, content = newest_checkpoint(folder.checkpoint, report)
    looks = Looks.of(content, path)
    if looks is None or not looks.best:
        return EvaluatedCheckpoint(path, content)
    steps = int(content["step"])
    if looks.step == steps:
        return EvaluatedCheckpoint(path, content, looks.sentence(steps=steps))
    try:
        best = read_checkpoint(folder.best)
    except CheckpointError as error:
        if report is not None:
            why, _, _ = str(error).partition(";")
            report(f"{why}; the last checkpoint, of step {steps:,}, is used instead")
        return EvaluatedCheckpoint(path, content)
    found = replace(looks, step=int(best["step"]))
    return EvaluatedCheckpoint(folder.best, best, found.sentence(steps=max(steps, found.step)))


def chosen_by(folder: RunFolder) -> str:
    """How the encoder was chosen that a run stands for; empty if it is the last one."""
    if folder.read_config().training.keep_best is None:
        return ""
    return evaluated_checkpoint(folder).chosen_by


def save_result(folder: RunFolder, config: RunConfig, encoder: Encoder, *, step: int) -> None:
    """Save the backbone that a run leaves behind: that of its best look if it keeps one.

    Args:
        folder: run folder, with the last checkpoint.
        config: configuration of the run.
        encoder: encoder after the last step.
        step: number of steps made.
    """
    if config.training.keep_best is not None:
        found = evaluated_checkpoint(folder)
        if found.content["step"] != step:
            step, encoder = int(found.content["step"]), copy.deepcopy(encoder)
            join_norms(encoder)
            encoder.load_state_dict(encoder_state(found.content))
    metadata = {
        "backbone": config.encoder.backbone,
        "method": "+".join((config.method, *config.opponent)),
        "steps": str(step),
    }
    save_backbone(folder.backbone, encoder.backbone.network, metadata=metadata)


def _step_of(path: Path) -> int | None:
    """Number of steps of a checkpoint; None if it cannot be read."""
    try:
        return int(read_checkpoint(path)["step"])
    except CheckpointError:
        return None
