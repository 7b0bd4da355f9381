"""Views on a CPU with a compiled kernel (`_views.c`).

Three times as fast as with PyTorch's own kernels: each sample stays in cache from crop to colour.

It is built with the package if there is a C compiler; without it, `views.make_view` uses PyTorch's
own kernels.
"""

import ctypes
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

CHANNELS = 3
"""Channels of the images that the kernel takes: red, green and blue."""
INTERFACE = 2
"""Number of the kernel's structures, as `_views.c` states it."""
SHARE = 16
"""Number of images per thread: fewer do not pay for a further thread."""

_NO_MEMORY = 1


class _Images(ctypes.Structure):
    _fields_ = (
        ("values", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("sample", "channel", "row", "column")),
        *((name, ctypes.c_int32) for name in ("height", "width")),
        *((name, ctypes.c_int64) for name in ("count", "bytes")),
    )


class _Parameters(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("box", "order", "factors", "flags")),
        ("threshold", ctypes.c_float),
        ("reach", ctypes.c_int32),
        ("negligible", ctypes.c_float),
    )


@cache
def library() -> ctypes.CDLL | None:
    """Library of the compiled kernel; None if it was not built, or from an older source."""
    found = importlib.util.find_spec("sparring.acceleration._views")
    if found is None or found.origin is None:
        return None
    try:
        kernel = ctypes.CDLL(found.origin)
        return kernel if kernel.sparring_views_interface() == INTERFACE else None
    except (OSError, AttributeError):  # built for another machine, or before this number existed
        return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "sparring-views")


@dataclass(frozen=True, kw_only=True)
class KernelParameters:
    """Parameters of the kernel for each image of a batch.

    Attributes:
        boxes: top, left, height and width of each crop in pixels; None: the whole image.
        order: order of the four colour operations of each image.
        factors: brightness, contrast, saturation, hue and sigma of each image.
        flags: 1 where an image is flipped, jittered, made grey, blurred, solarised.
        threshold: solarisation threshold, in [0, 1].
        with_hue: whether any hue is shifted.
        reach: pixels from the centre of the blur kernel to its edge.
        negligible: share of the central tap of the blur below which taps are skipped.
    """

    boxes: Int[Tensor, "batch 4"] | None
    order: Int[Tensor, "batch 4"]
    factors: Float[Tensor, "batch 5"]
    flags: UInt8[Tensor, "batch 5"]
    threshold: float
    with_hue: bool
    reach: int
    negligible: float


def make_view(
    images: UInt8[Tensor, "batch 3 height width"], parameters: KernelParameters, *, size: int
) -> Float[Tensor, "batch size size 3"]:
    """View of each image, equal to `views.view_by_tensors` up to rounding.

    Uses as many threads as PyTorch.

    Args:
        images: on the CPU, in any memory format; of side `size` if there are no boxes.
        parameters: one row per image.
        size: side of the views in pixels.

    Raises:
        ValueError: if a box, a factor or the reach leads beyond the images; no view is made.
    """
    kernel = library()
    assert kernel is not None
    assert images.shape[1] == CHANNELS
    views = torch.empty(len(images), size, size, 3)
    if not len(images):
        return views
    given, kept = _packed(parameters)
    room = images.untyped_storage().nbytes() - images.storage_offset()
    pictures = _Images(images.data_ptr(), *images.stride(), *images.shape[2:], len(images), room)

    def work(first: int, last: int) -> None:
        """Make a range of the batch's views; ctypes releases the GIL meanwhile."""
        place, with_hue = ctypes.c_void_p(views.data_ptr()), int(parameters.with_hue)
        ended = kernel.sparring_make_views(
            ctypes.byref(pictures), ctypes.byref(given), first, last, size, with_hue, place
        )
        if ended == _NO_MEMORY:
            raise MemoryError
        if ended:
            raise ValueError(
                f"the views cannot be made: a box, a factor or the reach of {parameters.reach} "
                f"leads beyond images of {pictures.width} x {pictures.height} pixels, or the size "
                f"of {size} does"
            )

    threads = max(1, min(torch.get_num_threads(), len(images) // SHARE))
    bounds = [len(images) * number // threads for number in range(threads + 1)]
    if threads == 1:
        work(*bounds)
    else:
        list(_pool(threads).map(work, bounds[:-1], bounds[1:]))
    del kept
    return views


def _packed(parameters: KernelParameters) -> tuple[_Parameters, list[Tensor]]:
    """Parameters as the kernel reads them, and the tensors that own their memory, which must
    outlive the call."""
    p = parameters
    tensors = [
        p.order.to(torch.int32).contiguous(),
        p.factors.float().contiguous(),
        p.flags.contiguous(),
    ]
    box = None if p.boxes is None else p.boxes.to(torch.int32).contiguous()
    pointers = (None if box is None else box.data_ptr(), *(tensor.data_ptr() for tensor in tensors))
    packed = _Parameters(*pointers, p.threshold, p.reach, p.negligible)
    return packed, [*tensors, *([] if box is None else [box])]
