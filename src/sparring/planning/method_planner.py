"""The plan of one method: which batches are measured, and what is made of it."""

from dataclasses import replace
from statistics import median
from typing import Any

from torch import nn

from sparring.evaluation.catalogue import SCORED_IMAGES
from sparring.methods import registry
from sparring.planning.extrapolation import extrapolate, fit_growing
from sparring.planning.launcher import measure_in_subprocess
from sparring.planning.measurement import WARM_UP, Measurement, MeasurementRequest
from sparring.planning.planned_images import PlannedImages
from sparring.planning.prediction import (
    Duration,
    duration,
    fit_memory,
    num_steps,
    scoring_bytes,
    upper_bound_bytes,
)
from sparring.planning.resource_plan import CONTEXT_BYTES, MethodPlan
from sparring.training.compilation import decision
from sparring.training.devices import choose_device
from sparring.training.feed import moves_to_device
from sparring.training.listener import Listener
from sparring.training.memory_model import MemoryModel
from sparring.training.settings import RunConfig

COUNTED_BATCH = 16
"""Largest batch whose tensors are counted for a device that is not present; half-precision steps
are slow on most CPUs."""
COUNTED_STEPS = 2
"""Counted steps; optimisers have their state from the second step on."""
PROBE_SHARE = 4
"""Divisor of the planned batch size in the first measurement."""


class MethodPlanner:
    """Makes the plan of one method.

    Args:
        config: configuration of the run, its image size and batch size resolved.
        images: the run's images.
        backbone: the user's own network, if any.
        room: available memory in bytes.
        listener: receives progress.

    Attributes:
        room: available memory in bytes, on the CUDA device if the steps ran on one.
    """

    def __init__(
        self,
        config: RunConfig,
        images: PlannedImages,
        backbone: nn.Module | None,
        room: int,
        listener: Listener | None,
    ) -> None:
        self.config, self.room = config, room
        self._images, self._backbone, self._listener = images, backbone, listener
        self._batch = config.training.batch_size
        self._name = "+".join((config.method, *config.opponent))

    @property
    def compiled(self) -> str:
        """Value of `training.compile` that does what the run will decide by its planned steps."""
        training, steps_per_epoch = self.config.training, self._images.count // self._batch
        decided = decision(
            training,
            choose_device(training.device),
            num_steps=training.total_steps(steps_per_epoch),
            environment={},
        )
        return decided if training.compile == "auto" else training.compile

    def rough(self, deadline: float) -> MethodPlan:
        """Plan from as large a batch as can be measured before the deadline, in seconds of
        `time.time`; from the smallest one if that takes longer."""
        found = self._measure(
            self._batch,
            steps=0,
            deadline=deadline,
            whole_images=self._images.count,
        )
        if found[-1].free_bytes is not None:
            self.room = found[-1].free_bytes
        extrapolated, (low, high) = extrapolate(
            found,
            self.config.training,
            num_images=self._images.count,
            sampled=self._images.sampled,
        )
        further, mapped = self._bytes_of_images(found[-1])
        row = self._from_line(
            fit_growing(found, kept_bytes=-further),
            replace(extrapolated, store_bytes=mapped),
            measured=tuple(part.batch_size for part in found),
        )
        return replace(row, step_range=(low, high))

    def _bytes_of_images(self, measured: Measurement) -> tuple[int, int]:
        """Bytes by which the run's images need more memory than those of a rough measurement, and
        bytes that the run maps from a file."""
        images = self._images
        if measured.free_bytes is not None:
            free = measured.free_bytes - measured.weight_bytes
            is_there = moves_to_device(self.config.data.store, images.store_bytes, free=free)
            return is_there * images.store_bytes - measured.resident_bytes, 0
        mapped = images.is_mapped * images.store_bytes
        return images.store_bytes - mapped - images.kept_bytes, mapped

    def predicted(self, timed_steps: int) -> MethodPlan:
        """Plan from steps of the planned batch, if it fits, on the device that is present."""
        smaller = self._measure(max(2, self._batch // PROBE_SHARE), steps=WARM_UP + 2)[0]
        if smaller.free_bytes is not None:
            self.room = smaller.free_bytes
        larger = self._measure(self._second_batch(smaller), steps=WARM_UP + timed_steps + 1)[0]
        if larger.batch_size < smaller.batch_size:
            smaller, larger = larger, smaller
        return self._from_line(
            fit_memory(smaller, larger), larger, measured=(smaller.batch_size, larger.batch_size)
        )

    def estimated(self) -> MethodPlan:
        """Plan from tensors counted on the CPU."""
        batch = min(self._batch, COUNTED_BATCH)
        smaller, larger = (
            self._measure(size, steps=COUNTED_STEPS, count="tensors")[0]
            for size in (max(2, batch // 2), max(4, batch))
        )
        line = fit_memory(smaller, larger)
        line = MemoryModel(
            line.constant + CONTEXT_BYTES, line.per_image, line.floor + CONTEXT_BYTES
        )
        measured = (smaller.batch_size, larger.batch_size)
        return self._row(line, line.at(self._batch), larger, measured=measured, lasting=None)

    def _from_line(
        self, line: MemoryModel, larger: Measurement, *, measured: tuple[int, ...]
    ) -> MethodPlan:
        """Plan from a model of the memory and the measurement of the largest batch."""
        scores = 0.0
        if larger.free_bytes is None:  # the final scores use the memory of the process, not a GPU's
            scores = scoring_bytes(larger, min(self._images.count, SCORED_IMAGES))
        needed = max(line.at(self._batch), scores)
        if measured[-1] == self._batch and not self._images.kept_bytes:
            needed = max(
                needed, larger.bytes_of_all - larger.store_bytes + larger.unread_store_bytes
            )
        steps_per_epoch = self._images.count // self._batch
        lasting = duration(
            larger,
            self.config.training,
            steps_per_epoch=steps_per_epoch,
            num_steps=num_steps(self.config, steps_per_epoch),
        )
        line = MemoryModel(line.constant, line.per_image, max(line.floor, scores))
        return self._row(line, needed, larger, measured=measured, lasting=lasting)

    def _second_batch(self, smaller: Measurement) -> int:
        """The planned batch, or the largest fraction of it that is sure to fit."""
        parts = [size for size in (self._batch, self._batch // 2) if size > smaller.batch_size]
        fitting = [size for size in parts if upper_bound_bytes(smaller, size) <= self.room]
        return (
            fitting[0]
            if fitting
            else max(2, smaller.batch_size // 2)
            if smaller.batch_size > 2
            else 4
        )

    def _measure(
        self, batch_size: int, *, steps: int, count: Any = "memory", **rough: Any
    ) -> list[Measurement]:
        if self._listener is not None:
            images = "a few images" if rough else f"{batch_size} images"
            self._listener.report(f"{self._name}: a few steps of {images}")
        # Compiling each of a rough plan's batches would take its half minute.
        compiled = "off" if rough else self.compiled
        config = self.config.changed(data=self._images.settings, training={"compile": compiled})
        request = MeasurementRequest(
            tree=config.tree(),
            data=self._images.data,
            backbone=self._backbone,
            batch_size=batch_size,
            steps=steps,
            count=count,
            folder="",
            given=registry.given({self.config.method, *self.config.opponent}),
            **rough,
        )
        return measure_in_subprocess(request, self._listener, title=self._name)

    def _row(
        self,
        line: MemoryModel,
        needed: float,
        larger: Measurement,
        *,
        measured: tuple[int, ...],
        lasting: Duration | None,
    ) -> MethodPlan:
        size = self.config.training.image_size
        assert size is not None
        largest = line.largest(self.room, limit=self._images.count)
        return MethodPlan(
            name=self._name,
            duration=lasting,
            peak_bytes=round(needed) + larger.store_bytes,
            store_bytes=larger.store_bytes,
            largest_batch=largest,
            largest_image_size=line.image_size(self.room, batch_size=self._batch, size=size),
            measured_batches=measured,
            cpu_seconds=median(larger.cpu_seconds) * self._batch / larger.batch_size
            if lasting is not None
            else None,
            cpu_monitor_seconds=larger.cpu_monitor_seconds if lasting is not None else None,
            weight_bytes=larger.weight_bytes,
            gradient_bytes=larger.gradient_bytes,
            optimizer_bytes=larger.optimizer_bytes,
        )
