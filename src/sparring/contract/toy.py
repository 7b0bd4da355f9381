"""Toy games on generated images, with steps of milliseconds, for the checks of the contract."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sparring import distributed
from sparring.config import Tree, merged
from sparring.data.dataset import Dataset, open_dataset
from sparring.data.views.views import Views
from sparring.methods import registry
from sparring.methods.method import Context, Method
from sparring.models.view import View, as_views
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.build import Game, build
from sparring.training.loop import Training
from sparring.training.metrics import plain, scored
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

SIZE = 16
"""Side of the images in pixels."""
BATCH = 16
"""Images per step."""
FILLED = 3
"""Number of steps after which the banks of toy games (at most 48 vectors) are full."""

BASE: Tree = {
    "encoder": {"backbone": "resnet18", "width": 0.0625},
    "projector": {"dim": 16, "hidden": 32},
    # A loss of any scale can be trained at the usual rates; gradients below this length stay.
    "players": {"encoder": {"clip_norm": 10.0}},
    "training": {
        "image_size": SIZE,
        "batch_size": BATCH,
        "epochs": 3,
        "device": "cpu",
        "log_steps": 1,
        "monitor_images": 32,
    },
}
"""Settings of every toy game."""


@dataclass(frozen=True)
class Subject:
    """Subject of a check: a method, with opponents around it.

    Attributes:
        method: name of the method in a configuration.
        opponents: names of the opponents around it, the innermost first.
        settings: further settings of all its games.
    """

    method: str
    opponents: tuple[str, ...] = ()
    settings: Tree = field(default_factory=dict)

    @property
    def method_class(self) -> type[Method]:
        """Class of the method."""
        return registry.method_class(self.method)

    def config(self, **settings: Any) -> RunConfig:
        """Configuration of a toy game.

        Args:
            settings: settings that override all others.
        """
        around = [
            {registry.section_of(name): dict(registry.opponent_class(name).toy.small)}
            for name in self.opponents
        ]
        own = {"method": self.method, "opponent": list(self.opponents)}
        small = dict(self.method_class.toy.small)
        return RunConfig.from_tree(merged(BASE, small, *around, self.settings, own, settings))

    def game(self, **settings: Any) -> Game:
        """Toy game at its first step."""
        return build(self.config(**settings))

    def training(self, folder: Path, *, count: int = 64, **settings: Any) -> Training:
        """Training on toy images at its first step.

        Args:
            folder: run folder.
            count: number of images.
            settings: settings that override the toy game's own.
        """
        config = self.config(**settings)
        target = RunFolder(folder)
        target.path.mkdir(parents=True, exist_ok=True)
        target.write_config(config)
        return Training(config=config, game=build(config), dataset=dataset(count), folder=target)

    def augmentation(self) -> Views:
        """Augmentation of the method."""
        return Views(self.config().method_settings.views.resolve(SIZE), image_size=SIZE)

    def views(self, number: int = 0) -> list[View]:
        """Views of the batch of a given step."""
        draws = generator(0, "views", number)
        return as_views(self.augmentation()(pixels(number), generator=draws))

    def context(self, number: int = 0) -> Context:
        """Context of a step in the middle of a plan of 100."""
        return Context(
            position=Position(step=number, num_steps=100, steps_per_epoch=10),
            indices=torch.arange(BATCH),
            generator=generator(0, "step", number),
            images=pixels(number),
            augment=self.augmentation(),
        )

    def play(self, game: Game, number: int) -> dict[str, float]:
        """Make one step on its views; returns the metrics as numbers."""
        context = self.context(number)
        for player in game.players.values():
            player.prepare(context.position)
        found = game.method.step(self.views(number), game.players, context)
        return plain(scored(found, lambda rows: None))

    def play_share(self, game: Game, number: int) -> dict[str, float]:
        """Make one step on this process's share of its views; the loss is the mean over all
        processes."""
        rows = distributed.own_rows(BATCH // distributed.num_processes())
        whole, images = self.context(number), pixels(number)[rows].contiguous()
        context = Context(
            position=whole.position,
            indices=rows,
            generator=whole.generator,
            images=images,
            augment=whole.augment,
        )
        for player in game.players.values():
            player.prepare(context.position)
        draws = generator(0, "views", number)
        views = self.augmentation()(images, generator=draws, shard=distributed.shard())
        found = game.method.step(as_views(views), game.players, context)
        mean = torch.as_tensor(found["loss"]).clone()
        distributed.average([mean])
        return {"loss": float(mean)}


def images(count: int = 64, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Images of two classes, (count, size, size, 3): a bright disc on the left, or on the right, on
    noise."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    values = draw.integers(0, 120, (count, SIZE, SIZE, 3))
    for number, image in enumerate(values):
        centre = draw.uniform(2, 6) if number % 2 else draw.uniform(10, 14)
        disc = (x - centre) ** 2 + (y - draw.uniform(5, 11)) ** 2 < 12
        image[disc] += draw.integers(80, 130, 3)
    return values.clip(0, 255).astype(np.uint8)


def pixels(number: int) -> Tensor:
    """Batch of a step, uint8 (batch, 3, size, size)."""
    return torch.from_numpy(images(BATCH, seed=number)).permute(0, 3, 1, 2).contiguous()


def dataset(count: int = 64) -> Dataset:
    """Toy images with their labels."""
    settings = RunConfig.from_tree({"method": registry.DEFAULT_METHOD}).data
    return open_dataset((images(count), np.arange(count) % 2), settings, image_size=SIZE)


def state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all tensors of a module."""
    return {
        name: value.clone()
        for name, value in module.state_dict().items()
        if isinstance(value, Tensor)
    }


def extra_state(module: nn.Module) -> dict[str, Any]:
    """All parts of a module's state that are not tensors."""
    return {
        name: value for name, value in module.state_dict().items() if not isinstance(value, Tensor)
    }


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that differ in at least one bit."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def without_statistics(names: Sequence[str] | set[str]) -> set[str]:
    """Names without those of batch-norm statistics, which change in every forward pass in training
    mode."""
    return {name for name in names if "running_" not in name and "num_batches" not in name}
