"""Standstill of a game whose checks are deferred: after a divergence nothing changes any more.

The players stand still by themselves, since their optimisers read the flag. What else a method
writes (teachers, queues, banks, counts, statistics of batch norm) is kept here, before every step:
while the flag is 0 a copy takes the current values, and once it is 1 the copy is written back. So
no module has to know the flag.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparring.methods.method import Method
from sparring.training.build import Game


class Standstill:
    """Values of a game that its players' optimisers do not write, as they were before the step
    that diverged.

    Covers all buffers, the parameters of no player, and those of modules that count what they hold
    (`get_extra_state`), as a bank does, since such modules write their own parameters.

    Args:
        game: game with a deferred check.
    """

    def __init__(self, game: Game) -> None:
        assert game.check.flag is not None
        self._flag = game.check.flag
        self._counting = [module for module in game.method.modules() if _counts(module)]
        self._counters: dict[int, list[Any]] = {}
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for value in _written(game.method, game, self._counting):
            kinds.setdefault(value.dtype, []).append(value)
        self._kept = [_Kept(values) for values in kinds.values()]

    def hold(self, step: int) -> None:
        """Take the current values, or, once the flag is set, write back those that were taken
        before the step that set it.

        Args:
            step: number of the step that begins now.
        """
        for kept in self._kept:
            kept.hold(self._flag)
        self._counters[step] = [module.get_extra_state() for module in self._counting]

    def forget(self, step: int) -> None:
        """Forget the counters before this step: nothing had diverged by then."""
        self._counters = {at: found for at, found in self._counters.items() if at >= step}

    def restore(self, step: int) -> None:
        """Restore values and counters as they were before the step that diverged."""
        for kept in self._kept:
            kept.hold(self._flag)
        for module, found in zip(self._counting, self._counters.get(step, []), strict=False):
            module.set_extra_state(found)


class _Kept:
    """Copies of tensors of one type, in two stretches of memory: few calls, whatever their
    number."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._values = [value.detach() for value in values]
        size = sum(value.numel() for value in values)
        self._now, self._kept = (values[0].new_empty(size, requires_grad=False) for _ in range(2))
        self._parts_now, self._parts_kept = (
            _parts(stretch, self._values) for stretch in (self._now, self._kept)
        )
        torch._foreach_copy_(self._parts_kept, self._values)

    @torch.no_grad()
    def hold(self, flag: Tensor) -> None:
        """Take the current values while the flag is 0, or else write back those taken before.

        Args:
            flag: scalar on the device of the tensors, 0 or 1.
        """
        torch._foreach_copy_(self._parts_now, self._values)
        torch.where(flag == 0, self._now, self._kept, out=self._kept)
        torch._foreach_copy_(self._values, self._parts_kept)


def _parts(stretch: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Parts of a stretch of memory, of the shapes of tensors and laid out like them."""
    parts, start = [], 0
    for value in like:
        part = stretch[start : start + value.numel()]
        is_dense = value.numel() == 0 or torch.empty_like(value).stride() == value.stride()
        parts.append(
            part.as_strided(value.shape, value.stride(), part.storage_offset())
            if is_dense
            else part.view(value.shape)
        )
        start += value.numel()
    return parts


def _counts(module: nn.Module) -> bool:
    return type(module).get_extra_state is not nn.Module.get_extra_state


def _written(method: Method, game: Game, counting: Sequence[nn.Module]) -> list[Tensor]:
    """Tensors of a method that something other than its players' optimisers may write."""
    moved = {id(value) for player in game.players.values() for value in player.parameters()}
    still = [value for value in method.parameters() if id(value) not in moved]
    own = [value for module in counting for value in module.parameters(recurse=False)]
    found = {id(value): value for value in (*method.buffers(), *still, *own)}
    return list(found.values())
