"""Check that losses and gradients are finite: at once on a CPU, without waiting on a CUDA device.

Reading a loss at every update would make the host wait for the device. So a deferred check keeps
its verdict on the device: the first loss or gradient that is not finite sets a flag that stays set.
From then on no player moves, since the optimisers read the flag on the device, and
`training.standstill` keeps everything else. The host reads the flag before each record and save.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sparring.errors import DivergedError

_forced: list[bool] = []


@contextmanager
def deferred_checks() -> Iterator[None]:
    """Defer the checks of games that are built within the context, on a CPU too; for tests."""
    _forced.append(True)
    try:
        yield
    finally:
        _forced.pop()


class FiniteCheck:
    """Check of all players of a game; the first of them that fails is the one that is named.

    Args:
        device: device of the players' parameters; None: losses are read at once.

    Attributes:
        flag: 1 on the device once a loss or a gradient was not finite, else 0; None where losses
            are read at once.
        step: number of the step whose updates are checked.
    """

    flag: Tensor | None = None

    def __init__(self, device: torch.device | None = None) -> None:
        self.step = 0
        # Every update that was checked since the flag was last read: player, section and step.
        self._updates: deque[tuple[str, str, int]] = deque()
        self._read_before = 0  # updates that were checked before those
        if device is not None and (device.type == "cuda" or _forced):
            self.flag = torch.zeros((), device=device)
            # Of the first update that failed, or else of the last one: its number from 1, its loss.
            self._number = torch.zeros((), dtype=torch.long, device=device)
            self._loss = torch.zeros((), device=device)

    @torch.no_grad()
    def require(self, player: str, loss: Tensor, gradients: list[Tensor], *, section: str) -> None:
        """Refuse an update, at once or by the flag, if its loss or a gradient is not finite.

        Both are averaged over processes, so that all of them see the same numbers.

        Args:
            player: name of the player.
            loss: its loss, a scalar.
            gradients: gradients of its parameters.
            section: section of its settings.

        Raises:
            DivergedError: at once, where checks are not deferred.
        """
        total = torch.stack([loss, *torch._foreach_norm(gradients)]).sum()
        if self.flag is None:
            if not total.isfinite():
                raise _not_finite(player, section, self.step, loss.item())
            return
        self._updates.append((player, section, self.step))
        is_going_on = self.flag == 0
        self._number += is_going_on
        torch.where(is_going_on, loss.float(), self._loss, out=self._loss)
        torch.maximum(self.flag, (~total.isfinite()).float(), out=self.flag)

    def failed(self) -> DivergedError | None:
        """Error of the first update that failed, with its step; None if there is none.

        Where checks are deferred, the host waits here for the device.
        """
        if self.flag is None:
            return None
        if self.flag.item() == 0:
            self._read_before += len(self._updates)
            self._updates.clear()
            return None
        player, section, step = self._updates[int(self._number.item()) - 1 - self._read_before]
        return _not_finite(player, section, step, self._loss.item())


def diverged(player: str, what: str, *, section: str, step: int | None = None) -> DivergedError:
    """Error of a player with values that are not finite.

    Args:
        player: name of the player.
        what: what is not finite.
        section: section of the player's settings, in which the advice applies.
        step: number of the step that failed; None: the current one.
    """
    return DivergedError(
        f"player '{player}': {what}; try a lower {section}.learning_rate or set "
        f"{section}.clip_norm",
        player=player,
        step=step,
    )


def _not_finite(player: str, section: str, step: int, loss: float) -> DivergedError:
    what = "gradient" if abs(loss) < float("inf") else "loss"
    found = f"its {what} is not finite (loss {loss:g})"
    return diverged(player, found, section=section, step=step)
