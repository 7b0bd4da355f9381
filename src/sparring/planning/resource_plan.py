"""Result of a plan: predicted memory and time per method.

`tree` gives what `--json` prints.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sparring.planning.prediction import Duration
from sparring.training.memory_model import MARGIN

CONTEXT_BYTES = 600 * 2**20
"""Assumed memory of a CUDA process before its first tensor: the context, and the compiled kernels
of PyTorch and its libraries. nvidia-smi usually shows a few hundred MiB, more on larger devices;
not measured."""


@dataclass(frozen=True, kw_only=True)
class MethodPlan:
    """Predicted memory and time of one method.

    Attributes:
        name: method and opponents, such as simclr+perturbation.
        duration: predicted times; None if the device is not present.
        peak_bytes: predicted peak memory.
        store_bytes: part of `peak_bytes` that are decoded images mapped from a file; the system
            drops them when memory is short.
        largest_batch: largest batch that fits into the available memory, at most all images; 0 if
            none fits.
        largest_image_size: approximate side of the images, in pixels, at which the planned batch
            fits, at most the planned side; 0 if none does.
        measured_batches: batch sizes that were measured.
        cpu_seconds: CPU time of a step, summed over threads; None if the device is not present.
        cpu_monitor_seconds: CPU time of a monitor pass; None if the device is not present.
        weight_bytes, gradient_bytes, optimizer_bytes: parameters and buffers, gradients of all
            players, state of all optimisers.
        step_range: shortest and longest step, in seconds, that a rough plan's measurements allow;
            None if the planned batch was run.
    """

    name: str
    duration: Duration | None
    peak_bytes: int
    store_bytes: int
    largest_batch: int
    largest_image_size: int
    measured_batches: tuple[int, ...]
    cpu_seconds: float | None
    cpu_monitor_seconds: float | None
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    step_range: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class ResourcePlan:
    """Predicted memory and time of one or several methods on the same images.

    Attributes:
        images: number of images.
        image_size: side of the views in pixels.
        batch_size: images per step.
        epochs: passes over the images; the last one may be incomplete.
        steps_per_epoch: steps per epoch.
        num_steps: steps of the whole run; with max_steps, at most that many.
        device: name of the measured device.
        room_bytes: available memory.
        is_estimate: whether the device was not present, so that tensors were counted on the CPU.
        is_rough: whether smaller batches of some of the images were measured, for half a minute.
        is_compiled: whether the runs compile their networks (`training.compile`).
        precision: precision of the encoder while tensors were counted.
        cache: folder in which decoded images are kept; empty if they are not kept.
        rows: one plan per method, in the order asked for.
    """

    images: int
    image_size: int
    batch_size: int
    epochs: int
    steps_per_epoch: int
    num_steps: int
    device: str
    room_bytes: int
    is_estimate: bool
    is_rough: bool = False
    is_compiled: bool = False
    precision: str
    cache: str
    rows: tuple[MethodPlan, ...]

    def fits(self, row: MethodPlan) -> bool:
        """Whether the planned batch fits with the margin."""
        return row.largest_batch >= self.batch_size

    def tree(self) -> Mapping[str, Any]:
        """The whole plan as plain values."""
        rows = [{**asdict(row), "fits": self.fits(row)} for row in self.rows]
        assumed = {"context_bytes": CONTEXT_BYTES} if self.is_estimate else {}
        return {**asdict(self), "margin": MARGIN, **assumed, "rows": rows}
