"""Working memory kept between calls.

On a CPU, fresh pages cost several times as much as writing to them.
"""

import threading

import torch
from torch import Tensor

from sparring import acceleration


class _Kept(threading.local):
    """One buffer per thread and purpose, as long as the longest request."""

    def __init__(self) -> None:
        self.stretches: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}


_kept = _Kept()


def scratch(purpose: str, rows: int, columns: int, *, like: Tensor) -> Tensor:
    """Uninitialised matrix (rows, columns), of the dtype and on the device of another tensor.

    The memory is kept for the next call; with fast paths off it is new at every call.

    Args:
        purpose: name of the buffer; the next call with the same name in the same thread overwrites
            it.
        rows: at least 0.
        columns: at least 0.
        like: tensor whose dtype and device to use.
    """
    if not acceleration.is_on():
        return like.new_empty(rows, columns, requires_grad=False)
    key = (purpose, like.dtype, like.device)
    if key not in _kept.stretches or len(_kept.stretches[key]) < rows * columns:
        _kept.stretches[key] = like.new_empty(rows * columns, requires_grad=False)
    return _kept.stretches[key][: rows * columns].view(rows, columns)
