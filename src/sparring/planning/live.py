"""The bytes of tensors that are alive, watched while PyTorch computes: what a device would have to
hold, whatever device there is.

Counted are the storages of all tensors that go into or come out of PyTorch's operators, from the
moment they are seen until nothing refers to them any more, so also what autograd keeps for the
backward pass. Not counted is what an operator needs in between and gives back before it returns,
such as the workspace of a convolution.
"""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts live bytes inside its context, in the thread that opened it.

    Attributes:
        now: bytes that are alive at this moment.
        peak: the most that were alive after any operator.
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
        # PyTorch keeps one Python object per storage for as long as the storage lives, so that its
        # identity is the storage's.
        key, num_bytes = id(storage), storage.nbytes()
        if key in self._alive:
            return

        def forget(_: object) -> None:
            """The storage is gone."""
            del self._alive[key]
            self.now -= num_bytes

        self._alive[key] = weakref.ref(storage, forget)
        self.now += num_bytes
