"""Images by their numbers, without labels: what an opponent may learn from before the first
step."""

from typing import Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor


@runtime_checkable
class Images(Protocol):
    """Images without labels, by their numbers."""

    def __len__(self) -> int: ...

    def images(self, indices: Tensor) -> UInt8[Tensor, "batch 3 size size"]:
        """The images of these numbers, on the CPU."""
