"""A small contest on made-up images, for the tests that every method must pass."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.config import merged
from sparring.data.dataset import Dataset, open_dataset
from sparring.methods.method import Method, Step
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.build import Contest, make_contest
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
"""Settings that make each method's opponents small; a new method needs its line here."""
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


def config(method: str, **settings: Any) -> RunConfig:
    """Configuration of a contest that takes milliseconds per step."""
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


def contest(method: str, **settings: Any) -> Contest:
    """Untrained contest."""
    return make_contest(config(method, **settings))


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
    return Training(config=run, contest=make_contest(run), dataset=dataset(count), folder=target)


def views(method: str, *, step: int = 0, batch: int = 16) -> list[Tensor]:
    """Views of a batch of blobs."""
    return training_views(method)(pixels(step, batch=batch), generator=generator(0, "views", step))


def pixels(step: int, *, batch: int = 16) -> Tensor:
    """The batch of blobs itself."""
    return torch.from_numpy(images(batch, seed=step)).permute(0, 3, 1, 2).contiguous()


def training_views(method: str) -> Any:
    """The method's own augmentation."""
    from sparring.data.views.views import Views

    return Views(config(method).game.views.resolve(SIZE), image_size=SIZE)


def step(number: int = 0, *, batch: int = 16) -> Step:
    """A step in the middle of a plan of 100."""
    progress = Position(step=number, num_steps=100, steps_per_epoch=10)
    return Step(
        progress=progress,
        indices=torch.arange(batch),
        generator=generator(0, "step", number),
        images=pixels(number, batch=batch),
        augment=training_views("mocov2"),
    )


def play(method: str, game: Contest, number: int) -> dict[str, float]:
    """One round on the views of that step; metrics as numbers."""
    now = step(number)
    for player in game.players.values():
        player.prepare(now.progress)
    found = game.method.step(views(method, step=number), game.players, now)
    return plain(scored(found, None))


def state(method: Method) -> dict[str, Tensor]:
    """Copies of all tensors of a method."""
    return {
        name: value.clone()
        for name, value in method.state_dict().items()
        if isinstance(value, Tensor)
    }


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that differ in any bit."""
    return {name for name in before if not torch.equal(before[name], after[name])}
