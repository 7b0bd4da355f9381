"""Copies from the host to a device within a step, which do not wait, and the reads that do.

A step of a method must not read a device: the host would wait until everything queued before has
run. `contract.device_reads` holds every method to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Copy of a CPU tensor on a device, such as a random draw; the host does not wait for it.

    Args:
        tensor: on the CPU; returned as it is if nothing is to change.
        device: where it is wanted.
        dtype: type of the copy; None: the tensor's own.
    """
    if device.type == "cuda" != tensor.device.type:
        return tensor.to(dtype=dtype).pin_memory().to(device, non_blocking=True)
    return tensor.to(device=device, dtype=dtype)


def filled(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Vector of constants, of the type and on the device of a tensor, without a copy from the
    host."""
    return torch.stack([like.new_full((), value) for value in values])


_rare: list[str] = []


@contextmanager
def rare_read() -> Iterator[None]:
    """Mark a read of the device that a run makes once, or a few times, and not at every step."""
    _rare.append("marked")
    try:
        yield
    finally:
        _rare.pop()


def is_rare_read() -> bool:
    """Whether the caller is within `rare_read`."""
    return bool(_rare)
