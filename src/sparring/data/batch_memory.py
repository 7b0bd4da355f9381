"""Memory for batches of images."""

import torch
from jaxtyping import UInt8
from torch import Tensor


def empty_images(
    num_images: int,
    size: int,
    *,
    channels: int = 3,
    order: torch.memory_format = torch.contiguous_format,
) -> UInt8[Tensor, "batch bands size size"]:
    """Uninitialised uint8 images.

    They are in pinned memory if CUDA is in use, so that copies to the device overlap with its work.

    Args:
        num_images: number of images.
        size: side in pixels.
        channels: number of channels.
        order: memory format; channels last if the images to copy in have it.
    """
    return torch.empty(
        (num_images, channels, size, size),
        dtype=torch.uint8,
        pin_memory=uses_cuda(),
        memory_format=order,
    )


def uses_cuda() -> bool:
    """Whether this process uses a GPU; the check does not start CUDA."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
