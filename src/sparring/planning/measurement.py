"""What one process is asked to measure, and what it answers."""

from dataclasses import dataclass
from typing import Any, Literal

from sparring.config import Tree
from sparring.data.sources.source import ImageData
from sparring.methods import registry

WARM_UP = 2
"""Steps that are not timed: the first ones are slower, and find batches that were fetched while
nothing else was done."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A few steps of one run, to be made in a process of its own.

    Attributes:
        tree: configuration with a resolved image size.
        data: images.
        backbone: the network of your own, if any.
        batch_size: of these steps; that of the configuration, or a smaller one to see how memory
            grows.
        steps: how many are made: the warm-up, those that are timed, and a last one that ends with a
            look of the monitor.
        count: what is counted: the memory that the process and its device take, or the bytes of
            tensors that are alive.
        folder: where the run's files go, checkpoint included; whoever asks removes it.
        given: classes that are neither shipped nor installed: whether a method or an opponent, its
            name in the configuration, and the text by which it is loaded.
    """

    tree: Tree
    data: ImageData
    backbone: Any
    batch_size: int
    steps: int
    count: Literal["memory", "tensors"]
    folder: str
    given: tuple[tuple[registry.Kind, str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a few steps took; bytes are those of the memory that decides: a CUDA device's, else the
    process's own.

    Attributes:
        batch_size: of these steps.
        seconds: wall time of each timed step, loader and views included.
        cpu_seconds: CPU time of each, all threads together.
        look_seconds: time of a look of the monitor.
        cpu_look_seconds: CPU time of it.
        checkpoint_seconds: time to write checkpoint and backbone.
        pretraining_seconds: time to learn what the method wants to know before the first step; 0
            where that is nothing, or known already.
        bytes_before: taken before there was a method.
        bytes_of_steps: largest up to the end of the timed steps.
        bytes_of_all: largest up to the end, with the look and the checkpoint.
        bytes_at_rest: taken after the training.
        store_bytes: of the decoded images, as far as they are mapped from a file: they count as
            taken once they were read, and give way where memory is short.
        unread_store_bytes: the part of it that the measured steps had no need of.
        free_bytes: that a CUDA device had before there was a method; None: no such device.
        weight_bytes: parameters and buffers of all modules.
        gradient_bytes: gradients of all parameters that a player moves.
        optimizer_bytes: state of all optimisers.
        feature_channels: of the backbone's output.
    """

    batch_size: int
    seconds: list[float]
    cpu_seconds: list[float]
    look_seconds: float
    cpu_look_seconds: float
    checkpoint_seconds: float
    pretraining_seconds: float
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
