"""Communication between processes by `torch.distributed` under `torchrun` or SLURM, and the same
calls for one process.

This is the only module that exchanges tensors and objects (`peers` watches the processes
themselves). Every function works unchanged in a single process, so that no other module needs the
number of processes. Gathered tensors are in rank order. Tested with gloo on the CPU; NCCL is
untested here.

Tensors of the step go through the default group, NCCL between GPUs. Small objects of the host, and
whatever may wait for long, go through a second group on the CPU, so that no device waits for them.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sparring.errors import LostProcessError
from sparring.rendezvous import meet

_Value = TypeVar("_Value")
_STEP_TIMEOUT = timedelta(minutes=30)
"""Time that an exchange within a step may wait, such as for the main process's monitor. Processes
that have ended are found by `peers`, in seconds."""
_HOST_TIMEOUT = timedelta(days=7)
"""Time that an exchange outside of a step may wait, such as for a store of decoded images."""


@dataclass
class _Groups:
    """Groups besides the default one.

    Attributes:
        host: group on the CPU; None: the default one.
    """

    host: dist.ProcessGroup | None = None


_groups = _Groups()


def start(device: str = "auto") -> None:
    """Join the process group when launched by `torchrun` (WORLD_SIZE > 1); otherwise do nothing.

    Args:
        device: device of the run by its name in the settings. For CUDA, each process takes the GPU
            of its number on this machine, and tensors there are exchanged by NCCL.

    Raises:
        ConfigError: if a process has no GPU of its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    if not dist.is_initialized():
        meet(device, timeout=_STEP_TIMEOUT)
    if _groups.host is None:
        group = dist.new_group(backend="gloo", timeout=_HOST_TIMEOUT)
        assert isinstance(group, dist.ProcessGroup)  # every process is a member
        _groups.host = group


def stop() -> None:
    """Leave the process group, if any."""
    _groups.host = None
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _exchange() -> Iterator[None]:
    """Context of one exchange.

    Raises:
        LostProcessError: if it fails, mostly since another process has ended.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise LostProcessError(f"an exchange between the processes failed: {reason}") from error


def rank() -> int:
    """Global rank of this process; 0 for a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_processes() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def shard() -> tuple[int, int]:
    """Rank of this process and number of processes, which determine its share of a joint draw."""
    return rank(), num_processes()


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


def local_rank() -> int:
    """Index of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def barrier() -> None:
    """Wait until every process is here."""
    Largest(0).result()  # on the CPU; PyTorch's own barrier would put a tensor on the device


def gather(tensor: Tensor) -> Tensor:
    """Rows of all processes in rank order, without gradient; every process must hold the same
    number of rows."""
    tensor = tensor.detach().contiguous()
    if num_processes() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(num_processes())]
    with _exchange():
        dist.all_gather(parts, tensor)
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """Gather operation whose backward pass sums the gradients of all processes for this process's
    rows."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.num_rows = len(tensor)
        return gather(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum over processes of the gradients for this process's rows."""
        total = gradient.contiguous().clone()
        with _exchange():
            dist.all_reduce(total)
        start_row = rank() * ctx.num_rows
        return total[start_row : start_row + ctx.num_rows]


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Rows of all processes in rank order; gradients flow back to the process that owns the row.

    With losses averaged over local rows and parameter gradients averaged over processes, the result
    equals the gradient of one process on the joint batch.
    """
    if num_processes() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


@dataclass(frozen=True)
class JointRows:
    """Rows of all processes, and the position of this process's own rows among them.

    Attributes:
        own: rows of this process, (..., batch, dim).
        everyone: rows of all processes in rank order, (..., joint, dim).
        first: index in `everyone` of row 0 of `own`.
    """

    own: Tensor
    everyone: Tensor
    first: int = 0

    def positions(self) -> Tensor:
        """Indices in `everyone` of this process's rows, (batch,)."""
        count = self.own.shape[-2] if self.own.ndim > 1 else len(self.own)
        return self.first + torch.arange(count, device=self.own.device)


def joint(rows: Tensor) -> JointRows:
    """Rows of this process and those of all processes, without gradient.

    Args:
        rows: (batch, dim) or (batch,); every process must hold the same number.
    """
    return JointRows(rows.detach(), gather(rows), first=rank() * len(rows))


def joint_with_gradient(rows: Tensor) -> JointRows:
    """Rows of this process and those of all processes, with gradient.

    Args:
        rows: (batch, dim); every process must hold the same number.
    """
    return JointRows(rows, gather_with_gradient(rows), first=rank() * len(rows))


def stacked(parts: Sequence[JointRows]) -> JointRows:
    """Stack several sets of joint rows of equal shape along a new first dimension.

    Args:
        parts: sets of joint rows, for instance the embeddings of each view.
    """
    own = torch.stack([part.own for part in parts])
    everyone = torch.stack([part.everyone for part in parts])
    return JointRows(own, everyone, first=parts[0].first)


def own_rows(count: int) -> Tensor:
    """Indices of this process's rows in a joint batch of which every process holds `count` rows."""
    return rank() * count + torch.arange(count)


def own_share(joint_rows: Tensor) -> Tensor:
    """This process's share of rows drawn for all processes; rows are divided evenly in rank
    order."""
    count = len(joint_rows) // num_processes()
    return joint_rows[rank() * count : (rank() + 1) * count]


class Mean:
    """Means of tensors over all processes, being computed in one exchange.

    Args:
        tensors: of one data type and device; every process must hold ones of the same shapes.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self._flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _exchange():
            self._work = dist.all_reduce(self._flat, async_op=True)

    def write(self) -> None:
        """Replace the tensors by their means. On a GPU the device's next operations wait for the
        exchange, and the host does not."""
        with _exchange():
            self._work.wait()
        self._flat /= num_processes()
        parts = torch.split(self._flat, [tensor.numel() for tensor in self._tensors])
        for tensor, part in zip(self._tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over processes, in one exchange per data type."""
    if num_processes() == 1 or not tensors:
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):  # in one order everywhere
        Mean([tensor for tensor in tensors if tensor.dtype == dtype]).write()


class Largest:
    """Largest numbers of all processes, being found on the CPU while steps go on.

    Args:
        numbers: whole numbers of this process; every process must hold as many.
    """

    def __init__(self, *numbers: int) -> None:
        self._found = torch.tensor(numbers)
        self._work = None
        if num_processes() > 1:
            with _exchange():
                self._work = dist.all_reduce(
                    self._found, op=dist.ReduceOp.MAX, group=_groups.host, async_op=True
                )

    def result(self) -> list[int]:
        """Wait for the largest of each number."""
        if self._work is not None:
            with _exchange():
                self._work.wait()
        return [int(number) for number in self._found]


def everyones(value: _Value) -> list[_Value]:
    """Values of all processes in rank order; any objects that can be pickled."""
    if num_processes() == 1:
        return [value]
    found: list[Any] = [None] * num_processes()
    with _exchange():
        dist.all_gather_object(found, value, group=_groups.host)
    return found


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors of every process with those of rank 0."""
    if num_processes() > 1:
        for tensor in tensors:
            with _exchange():
                dist.broadcast(tensor.detach(), src=0)  # into the storage, outside of any graph


def share(value: _Value) -> _Value:
    """Value of rank 0, sent to every process; any object that can be pickled."""
    if num_processes() == 1:
        return value
    box = [value]
    with _exchange():
        dist.broadcast_object_list(box, src=0, group=_groups.host)
    return box[0]
