"""Whether embeddings stay apart: a short run on the sketches, move by move, so that a test can
leave out what prevents collapse."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import games
from sparring.config import merged
from sparring.contract import learning
from sparring.data.views.views import Views
from sparring.measures.geometry import embedding_std
from sparring.seeding import generator
from sparring.training.build import Game, build

STEPS = 25
APART, TOGETHER = 0.6, 0.35
"""Standard deviation times sqrt(dim), 1 when spread, 0 in a point: 0.76 to 0.80 of SimSiam and
BYOL, at most 0.26 with a part left out, over three seeds and two instruction sets."""


def game(method: str) -> Game:
    """Untrained, with a projector that does not end in batch norm, which would spread the
    embeddings by itself."""
    own: dict[str, Any] = {"projector": {"kind": "simclr"}}
    if method == "byol":
        own["teacher_momentum"] = 0.9
    return build(games.config(method, **merged(learning.SETTINGS, own)), learning.network())


def spread_after(game: Game, move: Callable[[list[Tensor], int], object]) -> float:
    """Standard deviation of the embeddings of all sketches after `STEPS` moves."""
    images, _ = learning.sketches(256, seed=0)
    views = Views(
        games.config("simclr", views=learning.DISTORTION).method_settings.views.resolve(games.SIZE),
        image_size=games.SIZE,
    )
    for number in range(STEPS):
        rows = torch.randperm(len(images), generator=generator(0, "rows", number))[:32]
        for player in game.players.values():
            player.prepare(games.context(0).position)
        move(views(images[rows], generator=generator(0, "views", number)), number)
    with torch.no_grad():
        return embedding_std(game.encoder(views(images, generator=generator(0, "look"))[0]))
