"""Small games on made-up images, in the short forms that the tests of methods, opponents and
training share."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparring.contract.toy import SIZE, Subject, changed, dataset, images, state
from sparring.data.views.views import Views
from sparring.methods import registry
from sparring.methods.method import Context
from sparring.models.view import as_views
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.build import Game
from sparring.training.loop import Training
from sparring.training.metrics import plain, scored
from sparring.training.settings import RunConfig

__all__ = [
    "METHODS",
    "SIZE",
    "Plain",
    "augmentation",
    "batch",
    "changed",
    "config",
    "context",
    "dataset",
    "game",
    "images",
    "pixels",
    "play",
    "state",
    "training",
]

METHODS = list(registry.shipped("method"))


class Plain(nn.Module):
    """Network without batch norm, so that a part of a batch is encoded as in the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map of features."""
        return self.layers(images)  # type: ignore[no-any-return]


def config(method: str, **settings: Any) -> RunConfig:
    """Configuration of a game that takes milliseconds per step."""
    opponents = tuple(settings.pop("opponent", ()))
    return Subject(method, opponents).config(**settings)


def game(method: str, **settings: Any) -> Game:
    """Game at its first step."""
    opponents = tuple(settings.pop("opponent", ()))
    return Subject(method, opponents).game(**settings)


def training(method: str, folder: Path, *, count: int = 64, **settings: Any) -> Training:
    """Training on the made-up images, at its first step."""
    opponents = tuple(settings.pop("opponent", ()))
    return Subject(method, opponents).training(folder, count=count, **settings)


def augmentation(method: str) -> Views:
    """The method's own augmentation."""
    return Subject(method).augmentation()


def batch(step: int, *, count: int = 16) -> Tensor:
    """The batch of a step, uint8."""
    return torch.from_numpy(images(count, seed=step)).permute(0, 3, 1, 2).contiguous()


def pixels(method: str, *, step: int = 0, count: int = 16) -> list[Tensor]:
    """Pixels of the views of a batch."""
    return augmentation(method)(batch(step, count=count), generator=generator(0, "views", step))


def context(step: int = 0, *, count: int = 16) -> Context:
    """Context of a step in a plan of 100, ten an epoch."""
    return Context(
        position=Position(step=step, num_steps=100, steps_per_epoch=10),
        indices=torch.arange(count),
        generator=generator(0, "step", step),
        images=batch(step, count=count),
        augment=augmentation("mocov2"),
    )


def play(method: str, game: Game, step: int) -> dict[str, float]:
    """One round on the views of that step; metrics as numbers."""
    now = context(step)
    for player in game.players.values():
        player.prepare(now.position)
    found = game.method.step(as_views(pixels(method, step=step)), game.players, now)
    return plain(scored(found, lambda rows: None))
