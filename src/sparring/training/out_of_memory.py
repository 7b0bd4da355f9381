"""What to tell a user whose step does not fit into memory: the largest batch that would, and other
ways to need less."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from sparring import distributed
from sparring.errors import SparringError, TrainingError
from sparring.machine_memory import (
    available_bytes,
    is_out_of_memory,
    peak_bytes,
    reset_peak,
    resident_bytes,
)
from sparring.methods.method import Metrics
from sparring.training.build import Game
from sparring.training.devices import restart_device_peak, usable_device_bytes
from sparring.training.feed import FedStep
from sparring.training.memory_model import line_through
from sparring.training.settings import RunConfig

PARTS = (8, 4)
"""Divisors of the batch that did not fit, in the two smaller steps that are measured."""


@contextmanager
def told_out_of_memory(
    config: RunConfig, tell: Callable[[TrainingError], Exception]
) -> Iterator[None]:
    """Turn an allocator's error within the context into one line.

    Args:
        config: configuration of the run.
        tell: makes the error of the run, which names the checkpoint that is kept.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise tell(too_large(config, None)) from None


def fitting_step(
    game: Game, config: RunConfig, fed: FedStep, play: Callable[[FedStep], Metrics]
) -> Metrics:
    """Metrics of a step that fits into memory.

    Args:
        game: game that is played.
        config: configuration of the run.
        fed: images of the step, and the parameters of their views.
        play: plays the step.

    Raises:
        TrainingError: if memory does not suffice; the message says which batch would fit. To find
            out, smaller steps are made, and the game cannot be trained any further.
    """
    try:
        return play(fed)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the step's activations
    raise too_large(config, _largest_batch(game, config.training.batch_size, fed, play))


def too_large(config: RunConfig, largest: int | None) -> TrainingError:
    """Error of a run whose steps do not fit into memory.

    Args:
        config: configuration of the run.
        largest: largest batch that fits, 0 if none does; None if it is not known.
    """
    training, ways = config.training, []
    batch = training.batch_size // 2 if largest is None else largest
    if batch >= 2:
        ways.append(f"training.batch_size={batch}")
    if not training.checkpoint_activations:
        ways.append("training.checkpoint_activations=true")
    if training.precision == "float32":
        ways.append("training.precision=bfloat16")
    if config.data.store in ("auto", "device"):
        ways.append("data.store=disk")
    ways.append("a smaller encoder.width or training.image_size")
    fits = ""
    if largest is not None:
        fits = f", and about {largest:,} would fit" if largest else ", and no batch would fit"
    return TrainingError(
        f"out of memory with a batch of {training.batch_size:,}{fits}; set {', '.join(ways[:-1])}, "
        f"or {ways[-1]}"
    )


def _largest_batch(
    game: Game, batch_size: int, fed: FedStep, play: Callable[[FedStep], Metrics]
) -> int | None:
    """Largest batch that fits, from the peaks of two smaller steps; None if they tell nothing.

    Memory is linear in the batch. Other processes would wait in vain for this one's smaller steps,
    so there are none with several processes.
    """
    sizes = [max(4, batch_size // part) for part in PARTS]
    if distributed.num_processes() > 1 or not sizes[0] < sizes[1] < batch_size:
        return None
    game.method.zero_grad(set_to_none=True)
    restart_device_peak(game.device)
    try:
        with torch.compiler.set_stance("force_eager"):
            low, high = (_peak_of(game.device, partial(play, fed.first(size))) for size in sizes)
    except (SparringError, MemoryError, RuntimeError, ValueError):
        return None
    line = line_through((sizes[0], low), (sizes[1], high))
    found = line.largest(_room(game.device), limit=batch_size - 1)
    return found - found % 8 if found > 8 else found


def _peak_of(device: torch.device, act: Callable[[], object]) -> int:
    """Most bytes in use while something is done."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        act()
        return int(torch.cuda.max_memory_allocated(device))
    reset_peak()
    act()
    return peak_bytes()


def _room(device: torch.device) -> int:
    """Bytes that this process could have in use."""
    usable = usable_device_bytes(device)
    return available_bytes() + resident_bytes() if usable is None else usable
