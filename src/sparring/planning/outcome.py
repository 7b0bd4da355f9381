"""What a plan says, as values; `tree` is what `--json` prints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sparring.planning.prediction import MARGIN, Duration

CONTEXT_BYTES = 600 * 2**20
"""What a CUDA device gives to a process before its first tensor: the context, and the compiled
kernels of PyTorch and its libraries. An assumption: a few hundred MiB is what processes usually
show in nvidia-smi, more on larger devices; none was at hand to measure it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The plan of one method.

    Attributes:
        name: method and opponents, such as simclr+perturbation.
        duration: predicted times; None for a device that is not there.
        peak_bytes: predicted largest memory.
        store_bytes: the part of it that are decoded images mapped from a file, which give way where
            memory is short.
        largest_batch: that fits into the memory there is, at most all images; 0 if none does.
        largest_image_size: side of the images at which the planned batch would about fit, at most
            the planned one; 0 if none.
        measured_batches: batch sizes that were measured.
        cpu_seconds: CPU time of a step, all threads together; None for a device that is not there.
        cpu_look_seconds: CPU time of a look of the monitor.
        weight_bytes, gradient_bytes, optimizer_bytes: parameters and buffers, gradients of all
            players, state of all optimisers.
    """

    name: str
    duration: Duration | None
    peak_bytes: int
    store_bytes: int
    largest_batch: int
    largest_image_size: int
    measured_batches: tuple[int, ...]
    cpu_seconds: float | None
    cpu_look_seconds: float | None
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Predictions for one or several methods on the same images.

    Attributes:
        images: number of images.
        image_size: side of the views in pixels.
        batch_size: images per step.
        epochs: passes over the images.
        steps_per_epoch: steps of each.
        num_steps: steps of the whole run; fewer than planned in a trial.
        device: where it was measured, in words.
        room_bytes: memory there is.
        is_estimate: the device was not there: tensors were counted on the CPU.
        precision: of the encoder where tensors were counted.
        cache: folder in which decoded images are kept, if they are.
        rows: one per method, in the order asked for.
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
    precision: str
    cache: str
    rows: tuple[Row, ...]

    def fits(self, row: Row) -> bool:
        """Whether the planned batch does, with the margin."""
        return row.largest_batch >= self.batch_size

    def tree(self) -> Mapping[str, Any]:
        """Everything as plain values."""
        rows = [{**asdict(row), "fits": self.fits(row)} for row in self.rows]
        assumed = {"context_bytes": CONTEXT_BYTES} if self.is_estimate else {}
        return {**asdict(self), "margin": MARGIN, **assumed, "rows": rows}
