"""Search for reads of the device within a step, for which the host would wait.

It works on CPU tensors: it follows which of them would lie on the host whatever the device, such as
random draws, and takes all others to lie on the device.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparring.contract.toy import FILLED, Subject
from sparring.optim.finite_check import deferred_checks
from sparring.transfers import is_rare_read, sent

READS = {
    *("_local_scalar_dense", "_unique", "_unique2", "equal", "masked_select", "nonzero"),
    *("bincount", "is_nonzero", "unique_consecutive", "unique_dim", "unique_dim_consecutive"),
    *("_linalg_check_errors", "_assert_scalar", "repeat_interleave"),
}
"""Operations of PyTorch whose result, or whose shape, the host must read."""
READING = {Tensor.numpy, Tensor.tolist, Tensor.item, Tensor.__array__}
MOVES = {Tensor.to, Tensor.type_as, Tensor.cpu}
HOST, DEVICE = torch.device("cpu"), torch.device("cpu", 0)
"""What tensors say of where they lie: the index stands for a device."""
AWAY, BACK = (False, True), (True, False)
"""Whether source and target of a move are the host: from the device, and to it."""
FACTORIES = {torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy}
WITHOUT_READ = {torch.quantile}
"""Functions that read their arguments on a CPU only, to check them."""
ELSEWHERE = ("data/views/",)
"""Parts of the library whose code for a device is another one than for a CPU."""
_OURS, _TORCH = str(Path(__file__)), str(Path(torch.__file__).parent)


def steps_read_nothing(subject: Subject) -> None:
    """Check that no step of a game reads the device: the first, in which a bank is empty, and one
    with a full bank."""
    with deferred_checks():
        game = subject.game()
    reads = DeviceReads()
    for number in range(FILLED + 1):
        views, context = subject.views(number), subject.context(number)
        for player in game.players.values():
            player.prepare(context.position)
        reads.mark(context.indices, is_host=True)
        with reads if number in (0, FILLED) else nullcontext():
            game.method.step(views, game.players, context)
    assert not reads.found, (
        f"the step reads the device at {reads.found[0]}, and the host waits for it"
        + (f"; also at {', '.join(reads.found[1:])}" if reads.found[1:] else "")
    )


class DeviceReads:
    """Context that notes every read of the device, and every copy from the host that waits.

    Args:
        host: tensors that lie on the host, such as the numbers of the images.

    Attributes:
        found: what was found, one line each, with the line of the caller.
    """

    def __init__(self, host: Sequence[Tensor] = ()) -> None:
        self.found: list[str] = []
        self._host: dict[int, StorageWeakRef] = {}
        self._num_allowed = 0
        for tensor in host:
            self.mark(tensor, is_host=True)

    def __enter__(self) -> "DeviceReads":
        """Begin to search."""
        self._stack = ExitStack()
        self._stack.enter_context(_Operations(self))
        self._stack.enter_context(_Functions(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the search."""
        self._stack.close()

    def is_host(self, tensor: Tensor) -> bool:
        """Whether a tensor lies on the host."""
        return tensor.untyped_storage()._cdata in self._host

    def mark(self, tensor: Tensor, *, is_host: bool) -> None:
        """Note where a tensor lies."""
        storage = tensor.untyped_storage()
        if is_host:
            # The reference keeps the address from being used again.
            self._host[storage._cdata] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        else:
            self._host.pop(storage._cdata, None)

    def note(self, what: str) -> None:
        """Add a line, unless the read is marked as rare."""
        frame = _caller()
        if frame is None or is_rare_read() or self._num_allowed:
            return
        place = "/".join(Path(frame.f_code.co_filename).parts[-2:])
        line = f"{place}:{frame.f_lineno} ({what})"
        if line not in self.found:
            self.found.append(line)

    def allowed(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Result of a function whose reads do not count."""
        self._num_allowed += 1
        try:
            return function(*args, **kwargs)
        finally:
            self._num_allowed -= 1


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operations below autograd: what they read, and where their results lie."""

    def __init__(self, reads: DeviceReads) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reads = reads

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_device = [tensor for tensor in given if not self._reads.is_host(tensor)]
        name = func._schema.name.rpartition("::")[2]
        if on_device and (name in READS or _has_mask(name, args)):
            self._reads.note(name)
        if on_device and name.startswith(("index", "copy_")) and len(on_device) < len(given):
            self._reads.note(f"{name} with a CPU tensor; `sparring.transfers.sent` does not wait")
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._reads.mark(tensor, is_host=not on_device)
        return found


class _Functions(TorchFunctionMode):
    """Functions above autograd: moves between host and device, which are no operation on a CPU."""

    def __init__(self, reads: DeviceReads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        reads, kwargs = self._reads, dict(kwargs or {})
        if func in WITHOUT_READ:
            return reads.allowed(func, args, kwargs)
        if func == Tensor.device.__get__:
            return HOST if reads.is_host(args[0]) else DEVICE
        if func in MOVES and sys._getframe(1).f_code.co_filename.startswith(_TORCH):
            return func(*args, **kwargs)  # PyTorch's own, between places that it knows
        own = args[0] if args and isinstance(args[0], Tensor) else None
        source = None if own is None else reads.is_host(own)
        named = [kwargs.get("device"), *(args[1:] if func in MOVES else ())]
        target = True if func is Tensor.cpu else self._target(named)
        if (source is False and func in READING) or (func in MOVES and (source, target) == AWAY):
            reads.note(func.__name__)
        if func is Tensor.__getitem__ and source is False and _has_list(args[1]):
            reads.note("index by a list, which is copied to the device")
        if func is Tensor.new_tensor or (func in FACTORIES and target is False):
            reads.note(f"{func.__name__}; `sparring.transfers.filled` does not wait")
        if func in MOVES and (source, target) == BACK and not _is_by(sent):
            reads.note(f"{func.__name__}; `sparring.transfers.sent` does not wait")
        found = func(*args, **kwargs)
        if func in MOVES and target is not None and source is not target:
            found = found.clone()  # a copy in the other memory
            reads.mark(found, is_host=target)
        elif (
            own is None and isinstance(found, Tensor) and (target is not None or func in FACTORIES)
        ):
            reads.mark(found, is_host=target is not False)
        return found

    def _target(self, values: Sequence[Any]) -> bool | None:
        """Whether arguments name the host, or the device; None: neither."""
        for value in values:
            if isinstance(value, Tensor):
                return self._reads.is_host(value)
            if isinstance(value, str | torch.device):
                return torch.device(value) != DEVICE
        return None


def _has_mask(name: str, args: Sequence[Any]) -> bool:
    """Whether an operation indexes by a mask, whose result's shape the host must know."""
    if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return False
    is_filled = name != "index" and args[2].numel() == 1  # done as `masked_fill`
    masks = (value for value in args[1] if isinstance(value, Tensor))
    return not is_filled and any(value.dtype in (torch.bool, torch.uint8) for value in masks)


def _has_list(index: Any) -> bool:
    return any(isinstance(part, list) for part in (index if isinstance(index, tuple) else [index]))


def _caller() -> FrameType | None:
    """Innermost frame outside of PyTorch and of this file; None in parts that are left out."""
    frame: FrameType | None = sys._getframe(1)
    first = None
    while frame is not None:
        name = frame.f_code.co_filename
        if any(part in name for part in ELSEWHERE):
            return None
        if first is None and name != _OURS and not name.startswith(_TORCH):
            first = frame
        frame = frame.f_back
    return first


def _is_by(function: Callable[..., Any]) -> bool:
    frame = _caller()
    return frame is not None and frame.f_code is function.__code__
