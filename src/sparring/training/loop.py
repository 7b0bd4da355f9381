"""Training loop: batches, views, one step of the method, records, checkpoints."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import torch

from sparring import distributed, peers
from sparring.acceleration.compiled import Compiler
from sparring.config import toml_text
from sparring.data.dataset import Dataset
from sparring.data.views.views import Views
from sparring.errors import CheckpointError, DivergedError, TrainingError
from sparring.methods.method import Context, Metrics
from sparring.optim.schedule import Position
from sparring.seeding import derived_seed, generator
from sparring.training.build import Game
from sparring.training.checkpoint import (
    keeping_previous,
    newest_checkpoint,
    restore_game,
    save_checkpoint,
)
from sparring.training.divergence import Divergence
from sparring.training.feed import FedStep, Feed
from sparring.training.interrupt import AgreedStop, StoppedAtOnce, stop_on_signal
from sparring.training.keep_best import BestLook, save_result
from sparring.training.metrics import MetricsFile, alarm, learning_rates, plain, scored
from sparring.training.monitor import Asked, Monitor
from sparring.training.out_of_memory import fitting_step, told_out_of_memory
from sparring.training.rank_equality import require_equal_ranks
from sparring.training.required_views import require_views
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
        started_from: the checkpoint of another run from which it starts; empty: none.
        observe: function that receives every record.
        compiler: what compiles its networks, if anything does.
        follow: function through which every epoch's batches go to the steps, for a profiler.
    """

    config: RunConfig
    game: Game
    dataset: Dataset
    folder: RunFolder
    observe: Observer | None = None
    compiler: Compiler = field(default_factory=Compiler)
    follow: Callable[[Iterator[Any]], Iterator[Any]] = iter
    step: int = field(default=0, init=False)
    changed: Mapping[str, Difference] = field(default_factory=dict, init=False)
    started_from: Mapping[str, object] = field(default_factory=dict, init=False)
    _saved_step: int = field(default=-1, init=False)
    _is_last_lost: bool = field(default=False, init=False)
    _exploded: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        training, size = self.config.training, self.config.image_size
        patch_size = self.game.encoder.backbone.patch_size
        recipes = self.config.method_settings.views.resolve(size, patch_size=patch_size)
        self.views = Views(recipes, image_size=size)
        require_views(self.config, self.game.method, self.dataset, given=len(recipes))
        self._divergence = Divergence(self.game)
        self.feed = Feed(self.config, self.dataset, self.views, device=self.game.device)
        self.loader = self.feed.loader
        self.monitor = Monitor(
            self.dataset, self.views, num_images=training.monitor_images, seed=self.config.seed
        )
        self.best = BestLook(training, self.folder, num_labels=self.monitor.num_labels)

    @property
    def num_steps(self) -> int:
        """Number of steps of the planned run, on which schedules are based."""
        return self.config.training.total_steps(self.loader.steps_per_epoch)

    @property
    def last_step(self) -> int:
        """Number of steps after which this run stops; smaller in a trial, or by the stop rule."""
        ends = (self.num_steps, self.config.training.max_steps, self.best.stops_at)
        return min(end for end in ends if end is not None)

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
        self.best.restore(content, path)
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
            TrainingError: if a loss, a gradient, or a value that would be saved is not finite, or
                memory does not suffice; the message names the step, and the checkpoint that is
                kept.
        """
        self.game.method.train()
        self._clock = self._record_clock = self._checkpoint_clock = time.monotonic()
        self._record_step = self.step
        self._tell_kept()
        file = (
            MetricsFile(self.folder.metrics, keep_before=self.step)
            if distributed.is_main()
            else None
        )
        try:
            with (
                stop_on_signal() as request,
                peers.explained(),
                told_out_of_memory(self.config, self._stopped),
            ):
                stop = AgreedStop(request)
                while self.step < self.last_step and not stop.is_set:
                    self._run_epoch(file, stop)
                stop.settle()
                require_equal_ranks(self.game, step=self.step)
                self._save()
                distributed.barrier()  # all wait for the checkpoint: the first to exit ends all
        except KeyboardInterrupt:
            raise StoppedAtOnce(self.step - max(self._saved_step, 0)) from None
        finally:
            if file is not None:
                file.close()
            if distributed.is_main():
                self.folder.write_quarantine(self.dataset.quarantine)
        if stop.is_set:
            raise KeyboardInterrupt
        if distributed.is_main():
            save_result(self.folder, self.config, self.game.encoder, step=self.step)

    def seconds_per_step(self, steps: int) -> float:
        """Time of one of the run's last steps in seconds, measured by running them now. The
        training cannot be used afterwards.

        Args:
            steps: number of timed steps, after a first one that is slower.
        """
        fed = next(iter(self.feed.steps(0)))
        start = 0.0
        for step in range(steps + 1):
            if step == 1:
                self._stop_if_diverged()  # waits for the device
                start = time.monotonic()
            self.step = max(0, self.num_steps - 1 - steps + step)
            self._run_step(fed)
        self._stop_if_diverged()
        return (time.monotonic() - start) / steps

    def _run_epoch(self, file: MetricsFile | None, stop: AgreedStop) -> None:
        epoch, first = divmod(self.step, self.loader.steps_per_epoch)
        for fed in self.follow(self.feed.steps(epoch, first)):
            metrics = self._run_step(fed)
            self.compiler.end_step(self.step)
            is_look = self._record(metrics, file)
            self.step += 1
            if is_look:
                self.best.settle()
            self._save_if_due()
            if self.step % self.config.training.compare_steps == 0:
                require_equal_ranks(self.game, step=self.step)
            if stop.follows() or self.step >= self.last_step:
                break

    def _run_step(self, fed: FedStep) -> Metrics:
        try:
            return fitting_step(self.game, self.config, fed, self._play)
        except (TrainingError, LinAlgError) as error:  # by a matrix that is not finite
            raise self._stopped(error) from None

    def _play(self, fed: FedStep) -> Metrics:
        position, seed, game = self.position(), self.config.seed, self.game
        self._divergence.begin(self.step)
        for player in game.players.values():
            player.prepare(position)
        torch.manual_seed(
            derived_seed(seed, "network", self.step, distributed.rank())
        )  # dropout inside backbones
        context = Context(
            position=position,
            indices=fed.indices,
            generator=generator(seed, "step", self.step),
            images=fed.whole_images,
            augment=self.views,
        )
        return game.method.step(fed.views(self.views), game.players, context)

    def _stopped(self, error: Exception) -> TrainingError:
        error = self._divergence.failed() or error  # which a divergence may have caused
        if isinstance(error, DivergedError) and error.step is not None:
            self.step = error.step
        kept = self._kept()
        if self._exploded:
            kept += f", but the parameters of {', '.join(self._exploded)} had exploded by then"
        reason = self._divergence.explained(error) or error
        return TrainingError(f"{self.config.method} stopped at step {self.step}: {reason} ({kept})")

    def _stop_if_diverged(self) -> None:
        if (error := self._divergence.failed()) is not None:
            raise self._stopped(error)

    def _kept(self) -> str:
        if self._saved_step < 0:
            return "there is no checkpoint yet"
        return f"the checkpoint of step {self._saved_step} is kept"

    def _tell_kept(self) -> None:
        if self._saved_step >= 0 and distributed.is_main():
            peers.keep(f"{self._kept()}: continue with `sparring resume {self.folder.path}`")

    def _require_finite(self) -> None:
        try:
            self._divergence.require_finite()
        except TrainingError as error:
            raise self._stopped(error) from None

    def _record(self, metrics: Metrics, file: MetricsFile | None) -> bool:
        """Record a step if it is time, and return whether the monitor looks after it."""
        is_last = self.step + 1 == self.last_step
        epoch = self.loader.steps_per_epoch
        every = self.config.training.look_epochs(epoch) * epoch
        is_look = (self.step + 1) % every == 0 or is_last
        if not (is_look or self.step % self.config.training.log_steps == 0):
            return False
        self._stop_if_diverged()  # in all processes, which see equal losses
        if file is None:
            return is_look
        found = plain(scored(metrics, self.dataset.source.labels_of))
        record, warning = {**self._position(), **found}, None
        if is_look:
            self._require_finite()
            try:
                found, warning = self._look()
            except TrainingError as error:
                raise self._stopped(error) from None
            record |= plain(found)
            self.best.note(record, step=self.step + 1)
            warning = warning or alarm(self.config.method, self.config.opponent, record)
        file.write(record)
        if self.observe is not None:
            self.observe(self.position(), record, warning)
        self._record_clock, self._record_step = time.monotonic(), self.step + 1
        return is_look

    def _look(self) -> tuple[dict[str, float], str | None]:
        negatives = self.game.method.negatives(self.position())
        size = self.config.training.batch_size
        asked = None
        if negatives is not None:
            asked = Asked(negatives=negatives, batch_size=size, step=self.step)
        return self.monitor.look(self.game.encoder, self.game.device, asked)

    def _position(self) -> dict[str, float]:
        now = time.monotonic()
        num_images = (self.step + 1 - self._record_step) * self.config.training.batch_size
        return {
            "step": self.step,
            "epoch": round((self.step + 1) / self.loader.steps_per_epoch, 4),
            "seconds": round(now - self._clock, 3),
            "images_per_second": round(num_images / max(now - self._record_clock, 1e-9), 2),
            "unreadable_images": len(self.dataset.quarantine),
            **learning_rates(self.game.players),
        }

    def _save_if_due(self) -> None:
        seconds = time.monotonic() - self._checkpoint_clock
        if self.best.is_new or seconds >= 60 * self.config.training.checkpoint_minutes:
            self._save()

    def _save(self) -> None:
        if not distributed.is_main():
            return
        self._require_finite()
        if self._saved_step != self.step or self._is_last_lost:
            text = toml_text(self.config.tree())
            mark_scores(self.folder, self.best.result(self.step))
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
                    best=self.best.tree(),
                )
            self.best.keep()
            self._saved_step, self._checkpoint_clock = self.step, time.monotonic()
            self._is_last_lost, self._exploded = False, self._divergence.exploded()
            self._tell_kept()
