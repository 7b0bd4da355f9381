"""Unlabelled images by index: all that an opponent may be pretrained on."""

from typing import Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor


@runtime_checkable
class Images(Protocol):
    """Unlabelled images by index."""

    def __len__(self) -> int: ...

    def images(self, indices: Tensor) -> UInt8[Tensor, "batch bands size size"]:
        """Images at these indices, on the CPU."""
