"""A task that shows learning within a minute: recognise of which of 24 sketches an image is a view.

Every image is a view of one sketch, distorted by the augmentation with which the methods train. So
views share the label, while colour and brightness, which dominate the features of an untrained
network, are nuisance factors.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.config import merged
from sparring.contract.toy import SIZE, Subject
from sparring.data.dataset import open_dataset
from sparring.data.views.view_settings import ViewsSettings
from sparring.data.views.views import Views
from sparring.measures.knn import knn_accuracy
from sparring.models.encoder import Encoder
from sparring.seeding import generator
from sparring.training.build import build
from sparring.training.loop import Training
from sparring.training.run_folder import RunFolder

NUM_SKETCHES = 24
GAIN = 0.12
"""Smallest gain of kNN accuracy that counts as learning. On 24 sketches an untrained encoder
reaches 36 to 40 %, methods of this library 57 to 67 % after training; the standard error of either
is 2 %."""
UNTRAINED = 0.45
"""Upper bound of the kNN accuracy of untrained encoders."""
DISTORTION = {"preset": "mocov2-small", "crop_scale": [0.5, 1.0], "jitter": 1.0}
SETTINGS: dict[str, Any] = {
    "views": DISTORTION,
    # AdamW, because SGD needs more than a few hundred steps, and because it does not depend on the
    # scale of the loss.
    "players": {"encoder": {"optimizer": "adamw", "learning_rate": 0.003}},
    "training": {"epochs": 40, "batch_size": 32, "monitor_images": 16, "log_steps": 10},
}


def sketches(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Distorted views, uint8 (count, 3, size, size), and the number of the sketch of each."""
    coarse = torch.rand(NUM_SKETCHES, 3, 4, 4, generator=generator(0, "sketches"))
    drawn = F.interpolate(coarse, size=SIZE, mode="bicubic").clamp(0, 1)
    labels = torch.arange(count) % NUM_SKETCHES
    recipe = ViewsSettings.build(DISTORTION).resolve(SIZE)[:1]
    draws = generator(seed, "distortion")
    pixels = (255 * drawn).to(torch.uint8)[labels]
    distorted = Views(recipe, image_size=SIZE)(pixels, generator=draws)[0]
    return (255 * distorted).round().to(torch.uint8), labels


def network() -> nn.Sequential:
    """Small network of three convolutions; a step takes milliseconds."""
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


def training(subject: Subject, folder: Path, **settings: Any) -> Training:
    """Training of the small network on 256 distorted sketches, with a method's own toy settings.

    Args:
        subject: method, with opponents around it, to train.
        folder: run folder.
        settings: settings that override the method's own.
    """
    learning = dict(subject.method_class.toy.learning)
    config = subject.config(**merged(SETTINGS, learning, settings))
    images, labels = sketches(256, seed=0)
    pixels = images.permute(0, 2, 3, 1).numpy()
    dataset = open_dataset((pixels, labels.numpy()), config.data, image_size=SIZE)
    game = build(config, network())
    return Training(config=config, game=game, dataset=dataset, folder=RunFolder(folder))


def untrained(run: Training) -> Encoder:
    """Encoder from which a run starts, with the batch-norm statistics of its images, which do not
    count as learning."""
    encoder = build(run.config, network()).encoder
    images, _ = sketches(256, seed=0)
    with torch.no_grad():
        for _ in range(5):
            for batch in torch.split(images, 32):
                encoder.features(batch.float() / 255)
    return encoder


@torch.no_grad()
def score(encoder: Encoder) -> float:
    """kNN accuracy of 512 new images, with 256 others as neighbours."""
    encoder.eval()
    (known, labels), (new, wanted) = sketches(256, seed=1), sketches(512, seed=2)
    features = [encoder.features(images.float() / 255) for images in (known, new)]
    return knn_accuracy(features[0], labels, features[1], wanted, num_neighbors=5)
