"""`sparring.plan`: memory and time of runs, predicted from a few of their steps.

Covers one or several methods on the same images.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from sparring.data.dataset import Dataset, StoredDataset
from sparring.data.loader import Loader
from sparring.data.sources.source import ImageData
from sparring.data.store import cache_folder
from sparring.errors import ConfigError
from sparring.evaluation.catalogue import SCORED_IMAGES
from sparring.methods import registry
from sparring.planning.launcher import measure_in_subprocess
from sparring.planning.measurement import WARM_UP, Measurement, MeasurementRequest
from sparring.planning.memory import available_bytes
from sparring.planning.prediction import (
    MemoryModel,
    duration,
    fit_memory,
    scoring_bytes,
    upper_bound_bytes,
)
from sparring.planning.resource_plan import CONTEXT_BYTES, MethodPlan, ResourcePlan
from sparring.training.configure import configure
from sparring.training.devices import choose_device
from sparring.training.listener import Listener
from sparring.training.opening import open_images
from sparring.training.settings import RunConfig
from sparring.training.small_sets import gives_batch_size, with_fitting_batch

TIMED_STEPS = 8
"""Timed steps; their median is the time of a step."""
COUNTED_BATCH = 16
"""Largest batch whose tensors are counted for a device that is not present; half-precision steps
are slow on most CPUs."""
COUNTED_STEPS = 2
"""Counted steps; optimisers have their state from the second step on."""
PROBE_SHARE = 4
"""Divisor of the planned batch size in the first measurement."""


def plan(
    data: ImageData,
    *,
    method: str | Sequence[str] | None = None,
    opponent: str | Sequence[str] | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    backbone: nn.Module | None = None,
    gpu_memory: float | None = None,
    timed_steps: int = TIMED_STEPS,
    listener: Listener | None = None,
    **training: int | str | None,
) -> ResourcePlan:
    """Predict memory and time of runs without training.

    Keeps nothing but the store of decoded images, which the runs would make too.

    Args:
        data: as for `train`.
        method: one method or several; `simclr+perturbation` is a method with its opponent. Default:
            adco, or the recipe's method.
        opponent: opponents around every method, innermost first.
        recipe: as for `train`.
        settings: as for `train`.
        backbone: the user's own network; its class must be defined in a module.
        gpu_memory: memory in GiB, > 0, of a CUDA device that is not present; memory is then
            estimated, time is not.
        timed_steps: timed steps per run, >= 1.
        listener: receives progress.
        training: fields of `TrainingSettings`, such as epochs=100, batch_size=128, device="cpu";
            and seed.

    Returns:
        One row per method, in the order asked for.

    Raises:
        UsageError: for invalid input.
        TrainingError: if the steps ran out of memory or a loss was not finite.
    """
    _check_arguments(gpu_memory, timed_steps)
    shared: dict[str, Any] = {
        "recipe": recipe,
        "settings": settings,
        "backbone": backbone,
        **training,
    }
    around = [opponent] if isinstance(opponent, str) else list(opponent or ())
    configs = [
        configure(data, method=name, opponent=[*inner, *around], **shared)
        for name, inner in _methods_with_opponents(method)
    ]
    if gpu_memory is not None:
        configs = [_as_on_cuda(config) for config in configs]
    devices = [choose_device(config.training.device) for config in configs]
    configs[0], dataset = open_images(configs[0], data, listener)
    resolved = {"image_size": configs[0].training.image_size}
    configs = [config.changed(training=resolved) for config in configs]
    if not gives_batch_size(settings, training):
        configs = [with_fitting_batch(config, len(dataset)) for config in configs]
    loader = Loader(dataset, batch_size=configs[0].training.batch_size, seed=0)
    room = available_bytes() if gpu_memory is None else int(gpu_memory * 2**30)
    rows = []
    for config in configs:
        planner = _MethodPlanner(
            config, data, backbone, dataset, loader.steps_per_epoch, room, timed_steps, listener
        )
        rows.append(planner.estimated() if gpu_memory is not None else planner.predicted())
        room = planner.room
    first = configs[0].training
    return ResourcePlan(
        images=len(dataset),
        image_size=dataset.size,
        batch_size=first.batch_size,
        epochs=first.epochs,
        steps_per_epoch=loader.steps_per_epoch,
        num_steps=_num_steps(configs[0], loader.steps_per_epoch),
        device=_device_text(devices[0]),
        room_bytes=room,
        is_estimate=gpu_memory is not None,
        precision=first.precision,
        cache=str(cache_folder(configs[0].data.cache))
        if isinstance(dataset, StoredDataset)
        else "",
        rows=tuple(rows),
    )


def _check_arguments(gpu_memory: float | None, timed_steps: int) -> None:
    if gpu_memory is not None and not 0 < gpu_memory < float("inf"):
        raise ConfigError(
            f"gpu_memory must be positive, got {gpu_memory:g}; give the device's memory in "
            "GiB, for example 24"
        )
    if timed_steps < 1:
        raise ConfigError(
            f"timed_steps must be at least 1, got {timed_steps}; {TIMED_STEPS} are usual"
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError(
            "a plan measures one process; start it without torchrun, with the batch of one "
            "process as --batch-size"
        )


def _methods_with_opponents(
    method: str | Sequence[str] | None,
) -> list[tuple[str | None, list[str]]]:
    """Distinct methods, each with the opponents in its name.

    A single None stands for the recipe's method.
    """
    given = [method] if isinstance(method, str) else list(method or ())
    names = [name.strip() for text in given for name in text.split(",")]
    parted = [name.split("+") for name in dict.fromkeys(names)]
    return [(name, opponents) for name, *opponents in parted] or [(None, [])]


def _as_on_cuda(config: RunConfig) -> RunConfig:
    """Configuration that runs on the CPU what a CUDA device would run.

    That is in bfloat16 unless another precision is set.
    """
    precision = "bfloat16" if config.training.precision == "auto" else config.training.precision
    return config.changed(
        training={"device": "cpu", "precision": precision, "sync_batch_norm": False}
    )


def _num_steps(config: RunConfig, steps_per_epoch: int) -> int:
    planned = config.training.epochs * steps_per_epoch
    return min(planned, config.training.max_steps or planned)


def _device_text(device: torch.device) -> str:
    threads = torch.get_num_threads()
    return (
        f"cpu with {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else str(device)
    )


class _MethodPlanner:
    """Makes the plan of one method."""

    def __init__(
        self,
        config: RunConfig,
        data: ImageData,
        backbone: nn.Module | None,
        dataset: Dataset,
        steps_per_epoch: int,
        room: int,
        timed_steps: int,
        listener: Listener | None,
    ) -> None:
        self.config, self.room = config, room
        self._data = str(Path(data).expanduser()) if isinstance(data, str | Path) else data
        self._backbone, self._num_images, self._steps_per_epoch = (
            backbone,
            len(dataset),
            steps_per_epoch,
        )
        self._timed_steps, self._listener = timed_steps, listener
        self._batch = config.training.batch_size
        self._name = "+".join((config.method, *config.opponent))

    def predicted(self) -> MethodPlan:
        """Plan from steps on the device that is present."""
        smaller = self._measure(max(2, self._batch // PROBE_SHARE), steps=WARM_UP + 2)
        if smaller.free_bytes is not None:
            self.room = smaller.free_bytes
        larger = self._measure(self._second_batch(smaller), steps=WARM_UP + self._timed_steps + 1)
        if larger.batch_size < smaller.batch_size:
            smaller, larger = larger, smaller
        line, scores = fit_memory(smaller, larger), 0.0
        if larger.free_bytes is None:  # the final scores use the memory of the process, not a GPU's
            scores = scoring_bytes(larger, min(self._num_images, SCORED_IMAGES))
        needed = max(line.at(self._batch), scores)
        if larger.batch_size == self._batch:
            needed = max(
                needed, larger.bytes_of_all - larger.store_bytes + larger.unread_store_bytes
            )
        training, steps = self.config.training, _num_steps(self.config, self._steps_per_epoch)
        lasting = duration(larger, training, steps_per_epoch=self._steps_per_epoch, num_steps=steps)
        return self._row(
            MemoryModel(line.constant, line.per_image, max(line.floor, scores)),
            needed,
            smaller,
            larger,
            lasting=lasting,
        )

    def estimated(self) -> MethodPlan:
        """Plan from tensors counted on the CPU."""
        batch = min(self._batch, COUNTED_BATCH)
        smaller, larger = (
            self._measure(size, steps=COUNTED_STEPS, count="tensors")
            for size in (max(2, batch // 2), max(4, batch))
        )
        line = fit_memory(smaller, larger)
        line = MemoryModel(
            line.constant + CONTEXT_BYTES, line.per_image, line.floor + CONTEXT_BYTES
        )
        return self._row(line, line.at(self._batch), smaller, larger, lasting=None)

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

    def _measure(self, batch_size: int, *, steps: int, count: Any = "memory") -> Measurement:
        if self._listener is not None:
            self._listener.report(f"{self._name}: a few steps of {batch_size} images")
        request = MeasurementRequest(
            tree=self.config.tree(),
            data=self._data,
            backbone=self._backbone,
            batch_size=batch_size,
            steps=steps,
            count=count,
            folder="",
            given=registry.given({self.config.method, *self.config.opponent}),
        )
        return measure_in_subprocess(request, self._listener, title=self._name)

    def _row(
        self,
        line: MemoryModel,
        needed: float,
        smaller: Measurement,
        larger: Measurement,
        *,
        lasting: Any,
    ) -> MethodPlan:
        size = self.config.training.image_size
        assert size is not None
        largest = line.largest(self.room, limit=self._num_images)
        return MethodPlan(
            name=self._name,
            duration=lasting,
            peak_bytes=round(needed) + larger.store_bytes,
            store_bytes=larger.store_bytes,
            largest_batch=largest,
            largest_image_size=line.image_size(self.room, batch_size=self._batch, size=size),
            measured_batches=(smaller.batch_size, larger.batch_size),
            cpu_seconds=median(larger.cpu_seconds) * self._batch / larger.batch_size
            if lasting is not None
            else None,
            cpu_monitor_seconds=larger.cpu_monitor_seconds if lasting is not None else None,
            weight_bytes=larger.weight_bytes,
            gradient_bytes=larger.gradient_bytes,
            optimizer_bytes=larger.optimizer_bytes,
        )
