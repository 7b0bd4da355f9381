"""A task that an untrained encoder cannot do well and a minute of training can: which of 24
sketches an image is a view of.

Every image is a view of one sketch, distorted by the augmentation against which the methods train.
So what the label says is what views share, and what an untrained network sees first, colour and
brightness, is nuisance.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import games
from sparring.config import merged
from sparring.data.dataset import open_dataset
from sparring.data.views.views import Views, ViewsSettings
from sparring.measures.knn import knn_accuracy
from sparring.models.encoder import Encoder
from sparring.seeding import generator
from sparring.training.build import Game, build
from sparring.training.loop import Training
from sparring.training.run_folder import RunFolder

NUM_SKETCHES = 24
DISTORTION = {"preset": "mocov2-small", "crop_scale": [0.5, 1.0], "jitter": 1.0}
SETTINGS: dict[str, Any] = {
    "views": DISTORTION,
    # AdamW, because a few hundred steps are few for SGD.
    "players": {"encoder": {"optimizer": "adamw", "learning_rate": 0.003}},
    "training": {"epochs": 40, "batch_size": 32, "monitor_images": 16, "log_steps": 10},
}
OF_A_METHOD: dict[str, dict[str, Any]] = {
    # Half as many negatives as images, and a bank that moves at the published rate / (K *
    # temperature) = 0.0023.
    "mocov2": {"queue": {"size": 128}},
    "adco": {
        "bank": {"size": 128, "temperature": 0.04},
        "queue_epochs": 5.0,
        "players": {"bank": {"learning_rate": 0.012}},
    },
    # CaCo chooses well only once embeddings have spread, and learns slowly by its own choices; the
    # first 5 epochs are momentum contrast.
    "caco": {
        "bank": {"size": 128},
        "queue_epochs": 5.0,
        "teacher_momentum": 0.95,
        "training": {"epochs": 80},
    },
    # A teacher that moves within a few hundred steps. The triplet learns more slowly than InfoNCE:
    # 53 % after 40 epochs, 65 % after 60.
    "acssl": {"teacher_momentum": 0.9, "predictor": {"hidden": 512}, "training": {"epochs": 60}},
    # Teachers that move within a few hundred steps. Without negatives learning is slower: BYOL
    # finds 49 % after 40 epochs, 60 % after 80; SimSiam 43 %, 48 % and, after 160, 63 %.
    "byol": {
        "projector": {"kind": "mocov3", "dim": 64, "hidden": 128},
        "teacher_momentum": 0.95,
        "training": {"epochs": 80},
    },
    "simsiam": {
        "projector": {"dim": 64, "hidden": 128},
        "predictor": {"hidden": 16},
        "training": {"epochs": 160},
    },
    "mocov3": {"projector": {"dim": 64, "hidden": 128}, "teacher_momentum": 0.95},
}


def sketches(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Distorted views of the sketches in uint8, and which sketch each shows."""
    coarse = torch.rand(NUM_SKETCHES, 3, 4, 4, generator=generator(0, "sketches"))
    drawn = (255 * F.interpolate(coarse, size=games.SIZE, mode="bicubic").clamp(0, 1)).to(
        torch.uint8
    )
    labels = torch.arange(count) % NUM_SKETCHES
    recipe = ViewsSettings.build(DISTORTION).resolve(games.SIZE)[:1]
    distorted = Views(recipe, image_size=games.SIZE)(
        drawn[labels], generator=generator(seed, "distortion")
    )[0]
    return (255 * distorted).round().to(torch.uint8), labels


def network() -> nn.Module:
    """Three convolutions; a step takes milliseconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((3, 16, 1), (16, 32, 2), (32, 64, 2)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        return nn.Sequential(*layers)


def training(method: str, folder: Path, **settings: Any) -> Training:
    """Training of the small network on 256 distorted sketches."""
    run = games.config(method, **merged(SETTINGS, OF_A_METHOD.get(method, {}), settings))
    images, labels = sketches(256, seed=0)
    dataset = open_dataset(
        (images.permute(0, 2, 3, 1).numpy(), labels.numpy()), run.data, image_size=games.SIZE
    )
    return Training(
        config=run, game=build(run, network()), dataset=dataset, folder=RunFolder(folder)
    )


def untrained(run: Training) -> Game:
    """The game from which the run started, with the batch-norm statistics of its images: they
    are no learning."""
    game = build(run.config, network())
    images, _ = sketches(256, seed=0)
    with torch.no_grad():
        for _ in range(5):
            for batch in images.split(32):
                game.encoder.features(batch.float() / 255)
    return game


@torch.no_grad()
def score(encoder: Encoder) -> float:
    """Share of 512 new images whose sketch is found by their neighbours among 256 others."""
    encoder.eval()
    (known, labels), (new, wanted) = sketches(256, seed=1), sketches(512, seed=2)
    features = [encoder.features(images.float() / 255) for images in (known, new)]
    return knn_accuracy(features[0], labels, features[1], wanted, num_neighbors=5)
