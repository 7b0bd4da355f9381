"""Divergence: values of a game that are not finite, and the player that went first."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sparring.errors import DivergedError
from sparring.optim.finite_check import diverged
from sparring.training.build import Game
from sparring.training.standstill import Standstill

EXPLODED = 1e3
"""Growth of the norm of a player's parameters since the start from which on the player is named for
what is not finite elsewhere."""
_SHOWN = 3


def non_finite(values: Mapping[Any, Any]) -> list[str]:
    """Names of the floating-point tensors that hold a value that is not finite; those in nested
    mappings have names with dots."""
    held = {
        name: value
        for name, value in _flattened(values)
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel()
    }
    if not held:
        return []
    verdicts = [value.detach().isfinite().all() for value in held.values()]
    # One transfer from the device for all of them. AdamW counts its steps on the CPU unless fused.
    places = [verdict.device for verdict in verdicts]
    place = next((place for place in places if place.type != "cpu"), places[0])
    are_finite = torch.stack([verdict.to(place) for verdict in verdicts]).tolist()
    return [name for name, is_finite in zip(held, are_finite, strict=True) if not is_finite]


class Divergence:
    """Check that a game's values are finite, and explanation of those that are not.

    Args:
        game: game at its first step. What is not finite by then, such as the infinity of an
            attention mask, may stay so.
    """

    def __init__(self, game: Game) -> None:
        self._game = game
        self._allowed = set(non_finite(dict(game.method.named_buffers())))
        self._start = self._norms()
        self._standstill: Standstill | None = None

    def begin(self, step: int) -> None:
        """Name the step that begins now; where checks are deferred, let nothing change after a
        divergence."""
        self._game.check.step = step
        if self._game.check.flag is not None:
            if self._standstill is None:
                self._standstill = Standstill(self._game)
            self._standstill.hold(step)

    def failed(self) -> DivergedError | None:
        """Error of the update that diverged since checks were read last, with the game as it was
        before that step; None if there is none, or where checks are not deferred.

        The players that moved before it in that step stay moved.
        """
        error = self._game.check.failed()
        if self._standstill is not None:
            if error is None:
                self._standstill.forget(self._game.check.step)
            elif error.step is not None:
                self._standstill.restore(error.step)
        return error

    def require_finite(self) -> None:
        """Refuse a game with an update that diverged, or a value that is not finite: a parameter, a
        buffer, a bank, a teacher, or the state of an optimiser.

        Raises:
            DivergedError: naming the player and the value. Parameters that players update come
                first, since averages and statistics follow them.
        """
        if (found := self.failed() or self._lost_parameters()) is not None:
            raise found
        for name, player in self._game.players.items():
            if non_finite(player.state_dict()["state"]):
                raise self._diverged(name, "the state of its optimiser is not finite")
        method = self._game.method
        rest = {**dict(method.named_parameters()), **dict(method.named_buffers())}
        if names := [name for name in non_finite(rest) if name not in self._allowed]:
            raise self._diverged(self._owner(names[0]), f"values are not finite: {_listed(names)}")

    def exploded(self) -> list[str]:
        """Players whose parameters have grown at least `EXPLODED`-fold since the start."""
        return [name for name, growth in self._growth().items() if not growth < EXPLODED]

    def explained(self, error: Exception) -> DivergedError | None:
        """Error that names the player that went first, if a step failed by divergence; else None.

        Args:
            error: error of the step: a loss or gradient that is not finite, or a decomposition
                that failed.
        """
        if (found := self._lost_parameters()) is not None:
            return found
        grown = {name: growth for name, growth in self._growth().items() if growth >= EXPLODED}
        named = error.player if isinstance(error, DivergedError) else None
        others = [name for name in grown if name != named]
        if named is not None and (named in grown or not others):
            more = f"; exploded too: the parameters of {', '.join(others)}" if others else ""
            return DivergedError(f"{error}{more}", player=named)
        if not grown:
            return None
        first = max(grown, key=grown.__getitem__)
        consequence = (
            f"then the values of player '{named}' were not finite"
            if named is not None
            else "then a matrix decomposition failed"
        )
        return self._diverged(
            first,
            f"its parameters have grown {grown[first]:.0e}-fold since the start, {consequence}",
        )

    def _lost_parameters(self) -> DivergedError | None:
        lost = {
            name: found
            for name, player in self._game.players.items()
            if (found := non_finite(dict(player.named_parameters())))
        }
        if not lost:
            return None
        first, *others = lost
        more = f", nor are those of {', '.join(others)}" if others else ""
        return self._diverged(
            first, f"its parameters are not finite ({_listed(lost[first])}){more}"
        )

    def _diverged(self, player: str, what: str) -> DivergedError:
        return diverged(player, what, section=self._game.players[player].section)

    def _owner(self, name: str) -> str:
        """Player whose module holds a value; the encoder's for what follows it, as a teacher."""
        method = self._game.method
        value = {**dict(method.named_parameters()), **dict(method.named_buffers())}[name]
        for player, module in method.modules_by_player().items():
            if any(own is value for own in (*module.parameters(), *module.buffers())):
                return player
        return next(iter(self._game.players))

    @torch.no_grad()
    def _norms(self) -> dict[str, float]:
        norms = {
            name: [float(parameter.float().norm()) for parameter in player.parameters()]
            for name, player in self._game.players.items()
        }
        return {name: math.hypot(*found) for name, found in norms.items()}

    def _growth(self) -> dict[str, float]:
        tiny = torch.finfo(torch.float32).tiny
        return {name: now / max(self._start[name], tiny) for name, now in self._norms().items()}


def _listed(names: Iterable[str]) -> str:
    first = list(names)
    count = len(first) - _SHOWN
    return ", ".join(first[:_SHOWN]) + (f" and {count:,} more" if count > 0 else "")


def _flattened(values: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", part) for inner, part in _flattened(value))
        else:
            yield str(name), value
