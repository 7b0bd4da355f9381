"""Small games on made-up images: what the tests of methods, opponents and training share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparring.config import merged
from sparring.data.dataset import Dataset, open_dataset
from sparring.data.views.views import Views
from sparring.methods.method import Context
from sparring.models.view import as_views
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.build import Game, build
from sparring.training.loop import Training
from sparring.training.metrics import plain, scored
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

SIZE = 16
SMALL: dict[str, dict[str, Any]] = {
    "simclr": {},
    "mocov2": {"queue": {"size": 40}},
    "byol": {},
    "simsiam": {},
    "mocov3": {},
    "plain": {},
    "uel": {},
    "adco": {"bank": {"size": 40}, "queue_epochs": 0.0},
    "caco": {"bank": {"size": 40}, "queue_epochs": 0.0},
    "acssl": {"predictor": {"hidden": 32}},
}
"""Settings that make each method's opponents small."""
AROUND: dict[str, dict[str, Any]] = {
    "perturbation": {},
    "generator-pair": {
        "generator_pair": {
            "generator": {"width": 4, "latent": 8},
            "pretraining": {"steps": 0},
            "real_only": 0.0,
            "players": {
                "generator": {"learning_rate": 1e-3},
                "discriminator": {"learning_rate": 1e-3},
            },
        }
    },
}
"""Likewise for opponents in image space, which are to play from the first step."""


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
    tree = {
        "method": method,
        "encoder": {"backbone": "resnet18", "width": 0.0625},
        "projector": {"dim": 16, "hidden": 32},
        "training": {
            "image_size": SIZE,
            "batch_size": 16,
            "epochs": 3,
            "device": "cpu",
            "log_steps": 1,
            "monitor_images": 32,
        },
    }
    around = [AROUND[name] for name in settings.get("opponent", ())]
    return RunConfig.from_tree(merged(tree, SMALL[method], *around, settings))


def game(method: str, **settings: Any) -> Game:
    """Game at its first step."""
    return build(config(method, **settings))


def images(count: int = 64, *, seed: int = 0) -> np.ndarray:
    """Blobs of two kinds: a bright disc on the left, or on the right, on noise."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels = draw.integers(0, 120, (count, SIZE, SIZE, 3))
    for number, image in enumerate(pixels):
        centre = draw.uniform(2, 6) if number % 2 else draw.uniform(10, 14)
        image[(x - centre) ** 2 + (y - draw.uniform(5, 11)) ** 2 < 12] += draw.integers(80, 130, 3)
    return pixels.clip(0, 255).astype(np.uint8)


def dataset(count: int = 64) -> Dataset:
    """The blobs with their labels."""
    run = config("simclr")
    return open_dataset((images(count), np.arange(count) % 2), run.data, image_size=SIZE)


def training(method: str, folder: Path, *, count: int = 64, **settings: Any) -> Training:
    """Training on the blobs, at its first step."""
    run = config(method, **settings)
    target = RunFolder(folder)
    target.path.mkdir(parents=True, exist_ok=True)
    return Training(config=run, game=build(run), dataset=dataset(count), folder=target)


def augmentation(method: str) -> Views:
    """The method's own augmentation."""
    return Views(config(method).method_settings.views.resolve(SIZE), image_size=SIZE)


def batch(step: int, *, count: int = 16) -> Tensor:
    """The batch of blobs of a step, uint8."""
    return torch.from_numpy(images(count, seed=step)).permute(0, 3, 1, 2).contiguous()


def pixels(method: str, *, step: int = 0, count: int = 16) -> list[Tensor]:
    """Pixels of the views of a batch of blobs."""
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
    return plain(scored(found, None))


def state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all tensors of a method or a part of one."""
    return {
        name: value.clone()
        for name, value in module.state_dict().items()
        if isinstance(value, Tensor)
    }


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that differ in any bit."""
    return {name for name in before if not torch.equal(before[name], after[name])}
