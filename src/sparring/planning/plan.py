"""`sparring.plan`: memory and time of runs, predicted from a few of their steps.

Covers one or several methods on the same images.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparring.config import Tree, merged
from sparring.data.loader import require_batch
from sparring.data.sources.source import ImageData
from sparring.errors import ConfigError
from sparring.machine_memory import available_bytes
from sparring.planning.method_planner import MethodPlanner
from sparring.planning.planned_images import open_planned, open_planned_sample
from sparring.planning.prediction import num_steps
from sparring.planning.resource_plan import ResourcePlan
from sparring.training.arguments import ArgumentValue
from sparring.training.configure import configure, network_of
from sparring.training.devices import choose_device
from sparring.training.listener import Listener
from sparring.training.settings import RunConfig
from sparring.training.small_sets import cautions, gives_batch_size, with_fitting_batch
from sparring.training.start_weights import with_start_weights
from sparring.training.strengths import StrengthValue, strength_settings

TIMED_STEPS = 8
"""Timed steps; their median is the time of a step."""
ROUGH_SECONDS = 22.0
"""Seconds in which a rough plan of one method measures, from the start of its opening the images;
starting the command takes a few more."""


def plan(
    data: ImageData,
    *,
    method: str | Sequence[str] | None = None,
    opponent: str | Sequence[str] | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    strength: StrengthValue | None = None,
    backbone: nn.Module | str | None = None,
    gpu_memory: float | None = None,
    exact: bool = False,
    timed_steps: int = TIMED_STEPS,
    listener: Listener | None = None,
    **arguments: ArgumentValue,
) -> ResourcePlan:
    """Predict memory and time of runs without training.

    A rough plan takes half a minute per method. An exact one runs steps of the planned batch, for
    as long as these take, and keeps the store of decoded images, which the runs would make too.

    Args:
        data: as for `train`.
        method: one method or several; `simclr+perturbation` is a method with its opponent. Default:
            adco, or the recipe's method.
        opponent: opponents around every method, innermost first.
        recipe: as for `train`.
        settings: as for `train`.
        strength: as for `train`, of those methods that have a dial.
        backbone: name of a model of timm; or the user's own network, whose class must be defined in
            a module.
        gpu_memory: memory in GiB, > 0, of a CUDA device that is not present; memory is then
            estimated, time is not.
        exact: whether to run the planned batch, on all images.
        timed_steps: timed steps per run of an exact plan, >= 1.
        listener: receives progress.
        arguments: as for `train`, such as epochs=100, device="cpu".

    Returns:
        One row per method, in the order asked for.

    Raises:
        UsageError: for invalid input.
        TrainingError: if the steps ran out of memory or a loss was not finite.
    """
    _check_arguments(gpu_memory, timed_steps)
    shared = {"recipe": recipe, "settings": settings, "backbone": backbone, **arguments}
    configs, network = _configs(data, method, opponent, shared, strength), network_of(backbone)
    if gpu_memory is not None:
        configs = [_as_on_cuda(config) for config in configs]
    devices = [choose_device(config.training.device) for config in configs]
    is_rough, start = not exact and gpu_memory is None, time.time()
    opened = (open_planned_sample if is_rough else open_planned)(configs[0], data, listener)
    configs[0], images = opened
    asked, configs = configs[0].training.batch_size, _with_images_of_first(configs, network)
    if not gives_batch_size(settings, arguments):
        configs = [with_fitting_batch(config, images.count) for config in configs]
    first = configs[0].training
    require_batch(first.batch_size, images.count)
    steps_per_epoch = images.count // first.batch_size
    if listener is not None:
        _caution(configs[0], images.count, steps_per_epoch, asked, listener)
    room, rows = available_bytes() if gpu_memory is None else int(gpu_memory * 2**30), []
    for config in configs:
        planner = MethodPlanner(config, images, network, room, listener)
        if is_rough:
            row = planner.rough(start + ROUGH_SECONDS)
        elif gpu_memory is not None:
            row = planner.estimated()
        else:
            row = planner.predicted(timed_steps)
        rows.append(row)
        room, start = planner.room, time.time()
    return ResourcePlan(
        images=images.count,
        image_size=configs[0].image_size,
        batch_size=first.batch_size,
        epochs=first.total_epochs(steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        num_steps=num_steps(configs[0], steps_per_epoch),
        device=_device_text(devices[0]),
        room_bytes=room,
        is_estimate=gpu_memory is not None,
        is_rough=is_rough,
        is_compiled=planner.compiled != "off",
        precision=first.precision,
        cache=images.cache,
        rows=tuple(rows),
    )


def _caution(
    config: RunConfig, count: int, steps_per_epoch: int, asked_batch: int, listener: Listener
) -> None:
    """Report what a user should know about small sets of images."""
    parts: dict[str, int] = {"steps_per_epoch": steps_per_epoch, "asked_batch": asked_batch}
    for line in cautions(config, count, **parts):
        listener.report(line)


def _configs(
    data: ImageData,
    method: str | Sequence[str] | None,
    opponent: str | Sequence[str] | None,
    shared: Mapping[str, Any],
    strength: StrengthValue | None,
) -> list[RunConfig]:
    """Configuration of each method, with the opponents of its name and those around all."""
    around = [opponent] if isinstance(opponent, str) else list(opponent or ())
    asked = [
        {**shared, "method": name, "opponent": [*inner, *around]}
        for name, inner in _methods_with_opponents(method)
    ]
    configs = [configure(data, **one) for one in asked]
    if strength is None:
        return configs
    held = strength_settings(configs, strength)
    return [
        configure(data, **{**one, "settings": merged(own, one["settings"] or {})})
        for one, own in zip(asked, held, strict=True)
    ]


def _with_images_of_first(
    configs: Sequence[RunConfig], backbone: nn.Module | None
) -> list[RunConfig]:
    """Configurations with what the first one found out about the images, and the stem of weights
    to start from."""
    found: Tree = {
        "training": {"image_size": configs[0].image_size},
        "data": {"value_range": configs[0].data.value_range},
    }
    found_out = [config.changed(**found) for config in configs]
    return [with_start_weights(config, backbone, asked=())[0] for config in found_out]


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


def _device_text(device: torch.device) -> str:
    threads = torch.get_num_threads()
    return (
        f"cpu with {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else str(device)
    )
