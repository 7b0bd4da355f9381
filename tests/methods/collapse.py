"""Whether embeddings stay apart: a short run on the sketches, move by move, so that a test can
leave out what prevents collapse."""

from collections.abc import Callable
from typing import Any

import arena
import sketches
import torch
from torch import Tensor

from sparring.config import merged
from sparring.data.views.views import Views
from sparring.measures.geometry import embedding_std
from sparring.seeding import generator
from sparring.training.build import Contest, make_contest

STEPS = 25
APART, TOGETHER = 0.6, 0.35
"""Standard deviation times sqrt(dim), 1 when spread, 0 in a point: 0.76 to 0.80 of SimSiam and
BYOL, at most 0.26 with a part left out, over three seeds and two instruction sets."""


def contest(method: str) -> Contest:
    """Untrained, with a projector that does not end in batch norm, which would spread the
    embeddings by itself."""
    own: dict[str, Any] = {"projector": {"kind": "simclr"}}
    if method == "byol":
        own["teacher_momentum"] = 0.9
    return make_contest(arena.config(method, **merged(sketches.SETTINGS, own)), sketches.network())


def spread_after(game: Contest, move: Callable[[list[Tensor], int], object]) -> float:
    """Standard deviation of the embeddings of all sketches after `STEPS` moves."""
    images, _ = sketches.sketches(256, seed=0)
    views = Views(
        arena.config("simclr", views=sketches.DISTORTION).game.views.resolve(arena.SIZE),
        image_size=arena.SIZE,
    )
    for number in range(STEPS):
        rows = torch.randperm(len(images), generator=generator(0, "rows", number))[:32]
        for player in game.players.values():
            player.prepare(arena.step(0).progress)
        move(views(images[rows], generator=generator(0, "views", number)), number)
    with torch.no_grad():
        return embedding_std(game.encoder(views(images, generator=generator(0, "look"))[0]))
