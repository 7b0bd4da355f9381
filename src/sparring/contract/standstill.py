"""Check that a game whose checks are deferred changes nothing after a divergence."""

import torch

from sparring.contract.toy import FILLED, Subject, changed, extra_state, state
from sparring.optim.finite_check import deferred_checks
from sparring.optim.player import Added
from sparring.training.divergence import Divergence


def stands_still(subject: Subject) -> None:
    """Check that after a step in which the encoder's loss is not finite nothing changes, until the
    host reads it two steps later. Players that moved earlier in that step stay moved."""
    with deferred_checks():
        game = subject.game()
    divergence, name = Divergence(game), next(iter(game.players))
    lost = game.players[name].beside(Added(1.0, lambda: torch.full((), torch.nan)))
    before, extra = {}, {}
    for number in range(FILLED + 3):
        divergence.begin(number)
        players = dict(game.players)
        if number == FILLED:
            before, extra = state(game.method), extra_state(game.method)
            players[name] = lost
        context = subject.context(number)
        for player in players.values():
            player.prepare(context.position)
        game.method.step(subject.views(number), players, context)
    error = divergence.failed()
    assert error is not None, "the encoder's loss was not finite, and no player refused it"
    assert (error.player, error.step) == (name, FILLED), f"{error.player}, step {error.step}"
    others = [player for other, player in game.players.items() if other != name]
    free = {id(value) for player in others for value in player.parameters()}
    moved = changed(before, state(game.method))
    moved -= {key for key, value in game.method.named_parameters() if id(value) in free}
    assert not moved, (
        f"{', '.join(sorted(moved)[:5])} changed after the divergence; write tensors in place "
        "(`copy_`, `add_`), and register them as buffers"
    )
    assert extra == extra_state(game.method), "the extra state changed after the divergence"
