"""Memory to work in, kept between calls: on a CPU, fresh pages cost several times what is written
there."""

import threading

import torch
from torch import Tensor

from sparring import acceleration


class _Kept(threading.local):
    """One stretch of memory per thread and purpose, as long as the longest that was asked for."""

    def __init__(self) -> None:
        self.stretches: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}


_kept = _Kept()


def scratch(purpose: str, rows: int, columns: int, *, like: Tensor) -> Tensor:
    """A matrix (rows, columns) of any content, of the type and on the device of another tensor.

    The memory is kept for the next call; with fast paths off it is new at every call.

    Args:
        purpose: whoever asks for the same one in the same thread writes over the last.
        rows: at least 0.
        columns: at least 0.
        like: whose type and device to take.
    """
    if not acceleration.is_on():
        return like.new_empty(rows, columns, requires_grad=False)
    key = (purpose, like.dtype, like.device)
    if key not in _kept.stretches or len(_kept.stretches[key]) < rows * columns:
        _kept.stretches[key] = like.new_empty(rows * columns, requires_grad=False)
    return _kept.stretches[key][: rows * columns].view(rows, columns)
