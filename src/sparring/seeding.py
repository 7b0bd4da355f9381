"""Random generators derived from a seed and names, without stored state.

A draw at step 812 comes from `generator(seed, "views", 812)`, whatever happened before: a resumed
run makes the same draws without any stored generator state, and every process of a group can draw
for the joint batch and keep its own share.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, *names: str | int) -> int:
    """Integer in [0, 2**63) that depends on the seed and on every name in order.

    Example:
        >>> first, again = derived_seed(0, "views", 1), derived_seed(0, "views", 1)
        >>> first == again != derived_seed(0, "views", 2)
        True
    """
    text = "/".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Fresh CPU generator for the draw that the names describe."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))


@contextmanager
def drawing(seed: int, *names: str | int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators, from which layers and dropout draw, and restore them
    afterwards.

    Args:
        seed: seed of the run or evaluation.
        names: purpose of the draws.
        device: device that draws besides the CPU.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derived_seed(seed, *names))
        yield
