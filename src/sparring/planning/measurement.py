"""A request to measure a few training steps, and the measurement that answers it."""

from dataclasses import dataclass
from typing import Any, Literal

from sparring.config import Tree
from sparring.data.sources.source import ImageData
from sparring.methods import registry

WARM_UP = 2
"""Untimed first steps: they are slower, and their batches were fetched in advance while nothing
else ran."""


@dataclass(frozen=True, kw_only=True)
class MeasurementRequest:
    """A few steps of one run, to be executed in a separate process.

    Attributes:
        tree: configuration with a resolved image size.
        data: images.
        backbone: the user's own network, if any.
        batch_size: images per measured step; the configured batch size, or a smaller one to see how
            memory grows.
        steps: number of steps: warm-up, timed steps, and a last step that ends with a monitor pass.
        count: what to count: "memory" of the process and its device, or bytes of live "tensors".
        folder: run folder for these steps, checkpoint included; the caller removes it.
        given: classes that are not of the library, by kind, name and place.
        deadline: seconds of `time.time` up to which larger and larger batches are measured; None:
            `batch_size` alone is.
        whole_images: number of images of the planned run, of which `data` are a sample; None: all.
        monitor_images: most images in the monitor pass; None: those of the configuration.
        pretraining_steps: timed steps of opponent pretraining, after one that is not.
    """

    tree: Tree
    data: ImageData
    backbone: Any
    batch_size: int
    steps: int
    count: Literal["memory", "tensors"]
    folder: str
    given: tuple[tuple[registry.Kind, str, str], ...] = ()
    deadline: float | None = None
    whole_images: int | None = None
    monitor_images: int | None = None
    pretraining_steps: int = 3


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Time and memory that a few steps took.

    Bytes are those of the memory that limits the run: the CUDA device's, otherwise the process's.

    Attributes:
        batch_size: images per measured step.
        seconds: wall time of each timed step, loader and views included.
        cpu_seconds: CPU time of each timed step, summed over threads.
        monitor_seconds: wall time of a monitor pass.
        cpu_monitor_seconds: CPU time of a monitor pass.
        checkpoint_seconds: wall time to write checkpoint and backbone.
        opponent_pretraining_seconds: estimated time to pretrain the opponent before the first step;
            0 if there is nothing to pretrain, or the result is cached.
        bytes_before: in use before the method was built.
        bytes_of_steps: peak up to the end of the timed steps.
        bytes_of_all: peak up to the end, including the monitor pass and the checkpoint.
        bytes_at_rest: in use after the training.
        store_bytes: size of the decoded images that are mapped from a file. Once read they count as
            in use, but the system drops them when memory is short.
        unread_store_bytes: part of `store_bytes` that the measured steps did not read.
        free_bytes: free for this process on the CUDA device, what it holds included; None without
            such a device.
        resident_bytes: decoded images on the CUDA device.
        weight_bytes: parameters and buffers of all modules.
        gradient_bytes: gradients of all parameters that a player updates.
        optimizer_bytes: state of all optimisers.
        feature_channels: channels of the backbone's output.
    """

    batch_size: int
    seconds: list[float]
    cpu_seconds: list[float]
    monitor_seconds: float
    cpu_monitor_seconds: float
    checkpoint_seconds: float
    opponent_pretraining_seconds: float
    bytes_before: int
    bytes_of_steps: int
    bytes_of_all: int
    bytes_at_rest: int
    store_bytes: int
    unread_store_bytes: int
    free_bytes: int | None
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    feature_channels: int
    resident_bytes: int = 0
