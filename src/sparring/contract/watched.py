"""Players that record which tensors of a method change at every update."""

from collections.abc import Mapping

from torch import Tensor

from sparring.contract.toy import changed, state
from sparring.methods.method import Method
from sparring.optim.player import Player


class WatchedPlayer(Player):
    """Player that wraps another and records which tensors its updates change.

    Args:
        player: wrapped player, whose parameters, optimiser and terms are shared.
        method: method whose tensors are compared.
        moved: gains, by player and update, the names of the tensors that changed.
    """

    def __init__(self, player: Player, method: Method, moved: dict[str, list[set[str]]]) -> None:
        self.__dict__.update(player.__dict__)
        self._method, self._moved = method, moved

    def update(self, loss: Tensor) -> Tensor:
        """Update, and record the tensors that changed."""
        before = state(self._method)
        found = super().update(loss)
        self._note(before)
        return found

    def turn(self, loss: Tensor, *, degrees: float) -> Tensor:
        """Turn the rows, and record the tensors that changed."""
        before = state(self._method)
        found = super().turn(loss, degrees=degrees)
        self._note(before)
        return found

    def _note(self, before: dict[str, Tensor]) -> None:
        self._moved.setdefault(self.name, []).append(changed(before, state(self._method)))


def watched_players(
    players: Mapping[str, Player], method: Method
) -> tuple[dict[str, Player], dict[str, list[set[str]]]]:
    """Watched players of a game, and the names of the tensors that change at each update, by
    player."""
    moved: dict[str, list[set[str]]] = {}
    return {name: WatchedPlayer(player, method, moved) for name, player in players.items()}, moved
