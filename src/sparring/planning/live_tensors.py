"""Bytes of live tensors, counted while PyTorch computes: the need of any device.

The count covers the storages of all tensors that go into or come out of PyTorch's operators, from
the first time they are seen until nothing refers to them. This includes what autograd keeps for the
backward pass. It excludes memory that an operator takes and gives back before it returns, such as
the workspace of a convolution.
"""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensorBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts live tensor bytes inside its context, in the thread that opened it.

    Attributes:
        now: bytes alive now.
        peak: most bytes alive after any operator.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, made)):
            if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                self._note(leaf.untyped_storage())
        self.peak = max(self.peak, self.now)
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        # PyTorch keeps one Python object per storage as long as the storage lives, so the object's
        # id identifies the storage.
        key, num_bytes = id(storage), storage.nbytes()
        if key in self._alive:
            return

        def forget(_: object) -> None:
            """Subtract a storage that is gone."""
            del self._alive[key]
            self.now -= num_bytes

        self._alive[key] = weakref.ref(storage, forget)
        self.now += num_bytes
