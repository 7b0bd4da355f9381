"""A player that notes, at every update, which tensors of a method have moved."""

from collections.abc import Mapping

from torch import Tensor

from sparring.contract.toy import changed, state
from sparring.methods.method import Method
from sparring.optim.player import Player


class WatchedPlayer(Player):
    """A player whose updates are noted; it moves what the player moves.

    Args:
        player: shares its parameters, its optimiser and its terms.
        method: all its tensors are watched.
        moved: gains the names of the tensors that moved, update by update, by player.
    """

    def __init__(self, player: Player, method: Method, moved: dict[str, list[set[str]]]) -> None:
        self.__dict__.update(player.__dict__)
        self._method, self._moved = method, moved

    def update(self, loss: Tensor) -> Tensor:
        """Update, and note what has moved."""
        before = state(self._method)
        found = super().update(loss)
        self._moved.setdefault(self.name, []).append(changed(before, state(self._method)))
        return found


def watched_players(
    players: Mapping[str, Player], method: Method
) -> tuple[dict[str, Player], dict[str, list[set[str]]]]:
    """The players of a game, watched; and what moved at each update, by player."""
    moved: dict[str, list[set[str]]] = {}
    return {name: WatchedPlayer(player, method, moved) for name, player in players.items()}, moved
