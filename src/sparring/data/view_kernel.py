"""Views on a CPU by a compiled kernel (`_views.c`), three times as fast as by tensors: each sample stays in the cache from crop to colour.

It is built with the package where there is a C compiler; without it, `views.make_view` does the same by tensors.
"""

import ctypes
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sparring.data.image_operations import NEGLIGIBLE, blur_kernel_size
from sparring.data.view_parameters import ViewParameters
from sparring.data.view_settings import ViewSettings

SHARE = 16
"""Images from which on a further thread pays."""


class _Images(ctypes.Structure):
    _fields_ = (
        ("values", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("sample", "channel", "row", "column")),
        *((name, ctypes.c_int32) for name in ("height", "width")),
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
    """The compiled kernel, or None where it was not built."""
    found = importlib.util.find_spec("sparring.data._views")
    if found is None or found.origin is None:
        return None
    try:
        return ctypes.CDLL(found.origin)
    except OSError:  # built for another machine
        return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "sparring-views")


def make_view(
    images: UInt8[Tensor, "batch 3 height width"], parameters: ViewParameters, recipe: ViewSettings, *, size: int
) -> Float[Tensor, "batch size size 3"]:
    """View of each image, as `views.make_view` by tensors up to rounding; by as many threads as PyTorch uses.

    Args:
        images: on the CPU, in any order of memory; of that size if they have no boxes.
        parameters: one row per image.
        recipe: supplies the threshold of solarisation.
        size: side of the views.
    """
    kernel = library()
    assert kernel is not None
    views = torch.empty(len(images), size, size, 3)
    given, kept = _packed(parameters, recipe, size)
    pictures = _Images(images.data_ptr(), *images.stride(), *images.shape[2:])

    def work(first: int, last: int) -> None:
        """A share of the batch; ctypes lets other threads run meanwhile."""
        place, with_hue = ctypes.c_void_p(views.data_ptr()), int(recipe.hue > 0)
        if kernel.sparring_make_views(ctypes.byref(pictures), ctypes.byref(given), first, last, size, with_hue, place):
            raise MemoryError

    threads = max(1, min(torch.get_num_threads(), len(images) // SHARE))
    bounds = [len(images) * number // threads for number in range(threads + 1)]
    if threads == 1:
        work(*bounds)
    else:
        list(_pool(threads).map(work, bounds[:-1], bounds[1:]))
    del kept
    return views


def _packed(parameters: ViewParameters, recipe: ViewSettings, size: int) -> tuple[_Parameters, list[Tensor]]:
    """The parameters as the kernel reads them, and the tensors that hold them, which must outlive its work."""
    p = parameters
    factors = torch.stack([p.brightness, p.contrast, p.saturation, p.hue, p.sigma], dim=1).float()
    flags = torch.stack([p.flip, p.jitter, p.greyscale, p.blur, p.solarise], dim=1).to(torch.uint8)
    tensors = [tensor.contiguous() for tensor in (p.order.to(torch.int32), factors, flags)]
    box = None if p.box is None else p.box.to(torch.int32).contiguous()
    pointers = (None if box is None else box.data_ptr(), *(tensor.data_ptr() for tensor in tensors))
    packed = _Parameters(*pointers, recipe.solarise_threshold, blur_kernel_size(size) // 2, NEGLIGIBLE)
    return packed, [*tensors, *([] if box is None else [box])]
