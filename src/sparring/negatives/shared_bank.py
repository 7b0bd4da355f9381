"""How views ask a shared bank, and how much it adds to their loss: by its negatives, and by the
positives that it supplies."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparring.distributed import JointRows
from sparring.negatives.bank import Bank
from sparring.objectives.bank_games import (
    BankGame,
    SharedBankGame,
    adversarial_bank_game,
    shared_bank_game,
    shared_bank_loss,
)


class Asked(NamedTuple):
    """Queries of one view, and their positives.

    Attributes:
        share: weight of this view's loss; the weights of all views add up to 2.
        query: raw online embeddings.
        places: entries of the bank chosen as positives, one row per choice.
        keys: raw keys of the images' other views, one row per view.
    """

    share: float
    query: Float[Tensor, "batch dim"]
    places: Int[Tensor, "choices batch"]
    keys: Float[Tensor, "keys batch dim"]


@torch.no_grad()
def strengths(
    asked: Sequence[Asked],
    bank: Bank,
    loss: Float[Tensor, ""],
    *,
    met: Float[Tensor, "bank dim"] | None,
    temperature: float,
    tau_plus: float | Float[Tensor, ""] = 0.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Excess loss of the negatives and gain of the positives, in nats per query.

    The excess is the loss minus that with the same positives, where the queue beside the bank
    supplies all other entries. The gain is the loss with the images' own keys in the positives'
    places, minus the loss.

    Args:
        asked: queries and positives of all views.
        bank: the bank that supplied the positives.
        loss: weighted sum of the losses of all views.
        met: negatives that the encoder met; None: the bank.
        temperature: the encoder's, > 0.
        tau_plus: assumed share of false negatives.
    """
    vectors = bank.vectors.detach()
    against_queue, with_keys = torch.zeros_like(loss), torch.zeros_like(loss)
    for share, query, places, keys in asked:
        against_queue += share * shared_bank_loss(
            query,
            vectors[places],
            places,
            bank.past,
            temperature=temperature,
            tau_plus=tau_plus,
        )
        with_keys += share * shared_bank_loss(
            query,
            keys,
            places.expand(len(keys), -1),
            vectors if met is None else met,
            temperature=temperature,
            tau_plus=tau_plus,
        )
    return (loss - against_queue) / 2, (with_keys - loss) / 2


def games_on_keys(
    queries: Sequence[Float[Tensor, "batch dim"]],
    joint: Sequence[JointRows],
    negatives: Float[Tensor, "bank dim"],
    **settings: Any,
) -> list[tuple[float, BankGame]]:
    """Weight and game of each view whose positives are the images' own keys.

    Args:
        queries: raw online embeddings of each view.
        joint: keys of the first two views.
        negatives: raw vectors shared by all queries.
        settings: those of `adversarial_bank_game`.
    """
    return [
        (
            share / len(keys),
            adversarial_bank_game(queries[number], joint[key], negatives, **settings),
        )
        for number, (share, keys) in enumerate(keys_of_views(len(queries)))
        for key in keys
    ]


def games_on_choices(
    asked: Sequence[Asked],
    bank: Float[Tensor, "bank dim"],
    met: Float[Tensor, "bank dim"] | None,
    *,
    temperature: float,
    tau_plus: float | Float[Tensor, ""],
    **roles: Any,
) -> list[tuple[float, SharedBankGame]]:
    """Weight and game of each view whose positives are entries of the bank.

    Args:
        asked: queries and positives of all views.
        bank: raw stored vectors.
        met: vectors that the encoder meets in place of the other entries, row by row, see
            `shared_bank_loss`; the bank's loss and the metrics are of the bank. None: the bank.
        temperature: the encoder's, > 0.
        tau_plus: assumed share of false negatives.
        roles: further settings of `shared_bank_game`.
    """
    games = []
    for share, query, places, _ in asked:
        heard = query if met is None else query.detach()
        game = shared_bank_game(
            heard, places, bank, temperature=temperature, tau_plus=tau_plus, **roles
        )
        if met is not None:
            chosen = bank.detach()[places]
            loss = shared_bank_loss(
                query, chosen, places, met, temperature=temperature, tau_plus=tau_plus
            )
            game = replace(game, loss=loss)
        games.append((share, game))
    return games


def keys_of_views(num_views: int) -> list[tuple[float, list[int]]]:
    """Weight of each view's loss, and the views whose keys are its positives.

    Two views have weight 1 each. With multi-crop, the two large crops have weight 1 together, and
    so do the small ones.
    """
    small = num_views - 2
    if not small:
        return [(1.0, [1]), (1.0, [0])]
    return [(0.5, [1]), (0.5, [0]), *[(1 / small, [0, 1])] * small]
