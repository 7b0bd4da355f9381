"""Memory for batches of images."""

import numpy as np
import numpy.typing as npt
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


def taken(images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Tensor:
    """Images at these indices of decoded squares."""
    assert not rows.size or (rows.min() >= 0 and rows.max() < len(images)), (
        "index beyond the data set"
    )
    batch = empty_images(len(rows), images.shape[-1], channels=images.shape[1])
    # With mode "raise", NumPy would copy twice.
    np.take(images, rows, axis=0, out=batch.numpy(), mode="wrap")
    return batch


def uses_cuda() -> bool:
    """Whether this process uses a GPU; the check does not start CUDA."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
