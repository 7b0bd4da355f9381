"""Training loop: batches, views, one step of the method, records, checkpoints."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch

from sparring import distributed
from sparring.config import toml_text
from sparring.data.dataset import Dataset, FileDataset
from sparring.data.loader import Batch, Loader
from sparring.data.views.views import Views
from sparring.errors import CheckpointError, ConfigError, TrainingError
from sparring.methods.method import Context, Method, Metrics
from sparring.models.view import as_views
from sparring.opponents.opponent import chain, innermost
from sparring.optim.schedule import Position
from sparring.seeding import derived_seed, generator
from sparring.training.build import Game
from sparring.training.checkpoint import (
    keeping_previous,
    newest_checkpoint,
    restore_game,
    save_backbone,
    save_checkpoint,
)
from sparring.training.divergence import Divergence
from sparring.training.interrupt import StoppedAtOnce, StopRequest, stop_on_signal
from sparring.training.metrics import MetricsFile, alarm, plain, scored
from sparring.training.monitor import Monitor
from sparring.training.resuming import Difference, conditions
from sparring.training.run_folder import RunFolder
from sparring.training.scores import mark_scores
from sparring.training.settings import RunConfig

LinAlgError: type[Exception] = torch.linalg.LinAlgError  # type: ignore[attr-defined]

Observer: TypeAlias = Callable[[Position, Mapping[str, float], str | None], None]
"""Function that receives every record: position, metrics, and a warning or None."""


@dataclass(kw_only=True)
class Training:
    """One run in progress.

    Attributes:
        config: resolved configuration of the run.
        game: method and players.
        dataset: training images.
        folder: run folder.
        step: number of steps made so far.
        changed: what was changed on purpose when the run was resumed, by name.
        observe: function that receives every record.
    """

    config: RunConfig
    game: Game
    dataset: Dataset
    folder: RunFolder
    observe: Observer | None = None
    step: int = field(default=0, init=False)
    changed: Mapping[str, Difference] = field(default_factory=dict, init=False)
    _saved_step: int = field(default=-1, init=False)
    _is_last_lost: bool = field(default=False, init=False)
    _exploded: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        training, size = self.config.training, self.config.image_size
        recipes = self.config.method_settings.views.resolve(size)
        self.views = Views(recipes, image_size=size)
        self._require_views(len(recipes))
        self._divergence = Divergence(self.game)
        self.loader = Loader(
            self.dataset, batch_size=training.batch_size, seed=self.config.seed, crops=recipes
        )
        labels = self.dataset.labels
        self._labels = None if labels is None else torch.from_numpy(np.asarray(labels))
        self.monitor = Monitor(
            self.dataset, self.views, num_images=training.monitor_images, seed=self.config.seed
        )

    @property
    def num_steps(self) -> int:
        """Number of steps of the planned run, on which schedules are based."""
        return self.config.training.epochs * self.loader.steps_per_epoch

    @property
    def last_step(self) -> int:
        """Number of steps after which this run stops; smaller in a trial."""
        return min(self.num_steps, self.config.training.max_steps or self.num_steps)

    @cached_property
    def conditions(self) -> dict[str, str | int]:
        """Images, machine and versions with which this run computes."""
        return conditions(self.dataset, self.game.device)

    def position(self) -> Position:
        """Position of the next step."""
        return Position(
            step=self.step, num_steps=self.num_steps, steps_per_epoch=self.loader.steps_per_epoch
        )

    def restore(self) -> None:
        """Restore the state of the run folder's checkpoint, but for what was changed on purpose.

        Raises:
            CheckpointError: if it cannot be read, or holds values that are not finite.
        """
        own_settings = any(name.startswith("players.") for name in self.changed)
        path, content = newest_checkpoint(self.folder.checkpoint)
        self.step = self._saved_step = restore_game(
            self.game, path, content, own_settings=own_settings
        )
        self._is_last_lost = path != self.folder.checkpoint
        try:
            self._divergence.require_finite()
        except TrainingError as error:
            raise CheckpointError(
                f"the run had diverged at the checkpoint of step {self.step}: {error}, and train "
                "anew"
            ) from None

    def run(self) -> None:
        """Train to the last step.

        Raises:
            KeyboardInterrupt: after a signal of `interrupt.SIGNALS`, once the current step is
                complete and saved; a `StoppedAtOnce`, without saving, after a second one.
            TrainingError: if a loss, a gradient, or a value that would be saved is not finite; the
                message names method, player, step, and the checkpoint that is kept.
        """
        self.game.method.train()
        self._clock = self._record_clock = self._checkpoint_clock = time.monotonic()
        self._record_step = self.step
        file = (
            MetricsFile(self.folder.metrics, keep_before=self.step)
            if distributed.is_main()
            else None
        )
        try:
            with stop_on_signal() as request:
                while self.step < self.last_step and not request.is_set:
                    self._run_epoch(file, request)
        except KeyboardInterrupt:
            raise StoppedAtOnce(self.step - max(self._saved_step, 0)) from None
        finally:
            if file is not None:
                file.close()
            if distributed.is_main():
                self.folder.write_quarantine(self.dataset.quarantine)
        self._save()
        if request.is_set:
            raise KeyboardInterrupt
        self._save_backbone()

    def seconds_per_step(self, steps: int) -> float:
        """Time of one of the run's last steps in seconds, measured by running them now. The
        training cannot be used afterwards.

        Args:
            steps: number of timed steps, after a first one that is slower.
        """
        batch = next(iter(self.loader.batches(0)))
        start = 0.0
        for step in range(steps + 1):
            if step == 1:
                start = time.monotonic()
            self.step = max(0, self.num_steps - 1 - steps + step)
            self._run_step(batch)
        return (time.monotonic() - start) / steps

    def _run_epoch(self, file: MetricsFile | None, request: StopRequest) -> None:
        epoch, first = divmod(self.step, self.loader.steps_per_epoch)
        for batch in self.loader.batches(epoch, first):
            metrics = self._run_step(batch)
            self._record(metrics, file)
            self.step += 1
            self._save_if_due()
            if self.step >= self.last_step or request.is_set:
                break

    def _run_step(self, batch: Batch) -> Metrics:
        position, seed, game = self.position(), self.config.seed, self.game
        for player in game.players.values():
            player.prepare(position)
        torch.manual_seed(
            derived_seed(seed, "network", self.step, distributed.rank())
        )  # dropout inside backbones
        images = [tensor.to(game.device, non_blocking=True) for tensor in batch.images]
        pixels = self.views(
            images[0] if len(images) == 1 else images,
            generator=generator(seed, "views", self.step),
            shard=distributed.shard(),
        )
        context = Context(
            position=position,
            indices=batch.indices,
            generator=generator(seed, "step", self.step),
            images=images[0] if len(images) == 1 else None,
            augment=self.views,
        )
        try:
            return game.method.step(as_views(pixels), game.players, context)
        except (TrainingError, LinAlgError) as error:  # by a matrix that is not finite
            raise self._stopped(error) from None

    def _stopped(self, error: Exception) -> TrainingError:
        kept = "there is no checkpoint yet"
        if self._saved_step >= 0:
            kept = f"the checkpoint of step {self._saved_step} is kept"
            if self._exploded:
                kept += f", but the parameters of {', '.join(self._exploded)} had exploded by then"
        reason = self._divergence.explained(error) or error
        return TrainingError(f"{self.config.method} stopped at step {self.step}: {reason} ({kept})")

    def _require_finite(self) -> None:
        try:
            self._divergence.require_finite()
        except TrainingError as error:
            raise self._stopped(error) from None

    def _require_views(self, given: int) -> None:
        wanted = innermost(self.game.method).num_views
        if given < 2 or (wanted is not None and given != wanted):
            raise ConfigError(
                f"views.preset={self.config.method_settings.views.preset} gives {given} views; "
                f"{self.config.method} needs {wanted or 'at least 2'}; choose another preset"
            )

        if needs_images(self.game.method) and isinstance(self.dataset, FileDataset):
            raise ConfigError(
                f"opponent {', '.join(self.config.opponent)} needs every image as a whole, "
                "and these are cropped from their files; "
                "set data.store=always to decode them once"
            )

    def _record(self, metrics: Metrics, file: MetricsFile | None) -> None:
        is_last = self.step + 1 == self.last_step
        epochs = self.config.training.monitor_epochs or max(1, self.config.training.epochs // 10)
        is_look = (self.step + 1) % (epochs * self.loader.steps_per_epoch) == 0 or is_last
        if file is None or not (is_look or self.step % self.config.training.log_steps == 0):
            return
        record, warning = {**self._position(), **plain(scored(metrics, self._labels))}, None
        if is_look:
            self._require_finite()
            try:
                found, warning = self.monitor.look(self.game.encoder, self.game.device)
            except TrainingError as error:
                raise self._stopped(error) from None
            record |= plain(found)
            warning = warning or alarm(self.config.method, self.config.opponent, record)
        file.write(record)
        if self.observe is not None:
            self.observe(self.position(), record, warning)
        self._record_clock, self._record_step = time.monotonic(), self.step + 1

    def _position(self) -> dict[str, float]:
        now = time.monotonic()
        num_images = (self.step + 1 - self._record_step) * self.config.training.batch_size
        players = self.game.players
        rates = {
            f"learning_rate/{name}": player.learning_rate
            for name, player in players.items()
            if name != "encoder"
        }
        return {
            "step": self.step,
            "epoch": round((self.step + 1) / self.loader.steps_per_epoch, 4),
            "seconds": round(now - self._clock, 3),
            "images_per_second": round(num_images / max(now - self._record_clock, 1e-9), 2),
            "unreadable_images": len(self.dataset.quarantine),
            "learning_rate": players["encoder"].learning_rate,
            **rates,
        }

    def _save_if_due(self) -> None:
        if (
            time.monotonic() - self._checkpoint_clock
            >= 60 * self.config.training.checkpoint_minutes
        ):
            self._save()

    def _save(self) -> None:
        if not distributed.is_main():
            return
        self._require_finite()
        if self._saved_step != self.step or self._is_last_lost:
            text = toml_text(self.config.tree())
            mark_scores(self.folder, self.step)
            self.folder.sync_metrics()
            with keeping_previous(
                self.folder.checkpoint,
                step=None if self._is_last_lost else self._saved_step,
                num_kept=self.config.training.keep_checkpoints,
            ):
                save_checkpoint(
                    self.folder.checkpoint,
                    self.game,
                    step=self.step,
                    config=text,
                    conditions=self.conditions,
                )
            self._saved_step, self._checkpoint_clock = self.step, time.monotonic()
            self._is_last_lost, self._exploded = False, self._divergence.exploded()

    def _save_backbone(self) -> None:
        if distributed.is_main():
            encoder = self.config.encoder
            metadata = {
                "backbone": encoder.backbone,
                "method": "+".join((self.config.method, *self.config.opponent)),
                "steps": str(self.step),
            }
            save_backbone(
                self.folder.backbone, self.game.encoder.backbone.network, metadata=metadata
            )


def needs_images(method: Method) -> bool:
    """Whether a method, or an opponent around it, needs the images before augmentation."""
    return any(part.needs_images for part in chain(method))
