"""Run by torchrun from test_two_processes.py: plays every method, alone and with each opponent
around it, on this process's half of the joint batch, and saves what came of it."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from arena import SIZE, SMALL, config, dataset, images, step, training_views
from torch import nn

from sparring import distributed
from sparring.methods.registry import OPPONENTS, settings_class
from sparring.models.backbones import Backbone
from sparring.opponents.generator_pair.networks import GeneratorSettings
from sparring.opponents.generator_pair.pretraining import (
    JudgeSettings,
    Pretraining,
    PretrainingSettings,
)
from sparring.training.build import make_contest

STEPS = 6
BOTH = "+".join(OPPONENTS)
GAMES = [
    *SMALL,
    *(f"{method}+{opponent}" for opponent in OPPONENTS for method in SMALL),
    f"simclr+{BOTH}",
    f"adco+{BOTH}",
]


class Plain(nn.Module):
    """Network without batch norm, so that half a batch is encoded as in the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map of features."""
        return self.layers(images)  # type: ignore[no-any-return]


def outcome(name: str) -> dict[str, object]:
    """Losses of every step, averaged over processes, and the state at the end."""
    method, *opponents = name.split("+")
    torch.manual_seed(3)
    settings: dict[str, Any] = {
        "projector": {"kind": "mocov2"},
        "players": {"encoder": {"learning_rate": 0.5}},
    }
    if "predictor" in settings_class(method).model_fields:
        settings["predictor"] = {"kind": "plain"}
    if method == "adco":
        # Far-from-saturated softmax, so that the bank's step is large enough to compare.
        settings |= {"bank": {"temperature": 0.1, "size": 40}}
        settings["players"] = {**settings["players"], "bank": {"learning_rate": 3.0}}
    settings["opponent"] = opponents
    game = make_contest(config(method, **settings), Backbone(Plain(), image_size=SIZE))
    augment, losses = training_views(method), []
    rank, processes = distributed.rank(), distributed.num_processes()
    rows = slice(rank * 16 // processes, (rank + 1) * 16 // processes)
    for number in range(STEPS):
        pixels = torch.from_numpy(images(16, seed=number)).permute(0, 3, 1, 2)[rows].contiguous()
        now = replace(step(number), indices=torch.arange(16)[rows], images=pixels)
        for player in game.players.values():
            player.prepare(now.progress)
        generator = torch.Generator().manual_seed(number)
        loss = game.method.step(
            augment(pixels, generator=generator, shard=(rank, processes)), game.players, now
        )["loss"]
        mean = torch.as_tensor(loss).clone()
        distributed.average([mean])
        losses.append(float(mean))
    tensors = {
        name: value
        for name, value in game.method.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    return {"losses": losses, **tensors}


def pretrained() -> dict[str, torch.Tensor]:
    """A generator's moving average and its judge after some moves on blobs."""
    settings = PretrainingSettings(steps=3, batch_size=8, discriminator_steps=2)
    camp = Pretraining(
        GeneratorSettings(width=4, latent=8), settings, JudgeSettings(), image_size=SIZE, seed=0
    )
    for _ in range(settings.steps):
        camp.play(dataset(32))
    camp.settle()
    return {
        name: value
        for name, value in camp.state_dict().items()
        if not name.startswith("generator.")
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.start()
    found = {name: outcome(name) for name in GAMES}
    found["pretraining"] = dict(pretrained())
    torch.save(found, Path(sys.argv[1]) / f"rank{distributed.rank()}.pt")
    distributed.barrier()
    distributed.stop()
