"""Equality of what several processes hold: parameters, teachers, banks, queues, optimisers.

Each process computes these for itself, from the same averaged gradients and the same joint rows, so
they are equal to the bit. A fault of a machine, or a method that draws by process, parts them
without a sign in the loss.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparring import distributed
from sparring.errors import TrainingError
from sparring.training.build import Game
from sparring.transfers import sent

OWN = ("running_mean", "running_var", "num_batches_tracked")
"""Statistics of batch norms, which each process has of its own rows."""
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_SHOWN = 3


def require_equal_ranks(game: Game, *, step: int) -> None:
    """Stop all processes if they hold different values; the device is waited for once.

    Args:
        game: game of this process.
        step: number of steps made, for the message.

    Raises:
        TrainingError: on all processes, naming the values and the processes that hold others than
            the main one.
    """
    if distributed.num_processes() == 1:
        return
    own = sums(game)
    everyone = distributed.everyones(own)
    different = {
        rank: [name for name in own if found.get(name) != everyone[0].get(name)]
        for rank, found in enumerate(everyone)
        if found != everyone[0]
    }
    if different:
        ranks = " and ".join(map(str, different))
        names = list(dict.fromkeys(name for found in different.values() for name in found))
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        raise TrainingError(
            f"after step {step} process {ranks} of {len(everyone)} holds other values than process "
            f"0: {', '.join(names[:_SHOWN])}{more}; they must be equal to the bit, so the machine "
            "is at fault, or a method that draws by process; continue from the last checkpoint"
        )


def sums(game: Game) -> dict[str, int]:
    """Sum over the bits of each value that all processes must hold alike, by name."""
    found: dict[str, Any] = {
        name: value
        for name, value in game.method.state_dict().items()
        if name.rpartition(".")[2] not in OWN
    }
    for player_name, player in game.players.items():
        for number, state in player.state_dict()["state"].items():
            found |= _named(state, f"optimiser of {player_name}, {number}")
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    others = {
        name: zlib.crc32(repr(value).encode())
        for name, value in found.items()
        if name not in tensors
    }
    # One transfer from the device for all of them; some values, such as counts, are on the CPU.
    numbers = torch.stack([sent(_sum(value), game.device) for value in tensors.values()]).tolist()
    return {**dict(zip(tensors, numbers, strict=True)), **others}


def _named(state: Mapping[str, Any], beginning: str) -> dict[str, Any]:
    return {f"{beginning}, {name}": value for name, value in state.items()}


def _sum(value: Tensor) -> Tensor:
    """Weighted sum of a tensor's bits as whole numbers, which wraps around; another order of rows,
    or within rows, gives another sum."""
    value = value.detach()
    kind = None if value.dtype == torch.bool else _BITS.get(value.element_size())
    bits = value if kind is None else value.view(kind)
    if bits.dtype == torch.int64:
        bits = bits ^ (bits >> 31)  # the first bits would leave a sum of whole numbers of this size
    rows = bits.flatten(1) if bits.ndim > 1 else bits.reshape(-1, 1)
    along = [rows.sum(axis, dtype=torch.int64) for axis in (1, 0)]
    weighted = [
        (part * torch.arange(1, 2 * len(part), 2, device=part.device)).sum() for part in along
    ]
    return weighted[0] + 3 * weighted[1]
