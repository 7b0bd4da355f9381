"""Steps per second of fine-tuning over the bare step: forward pass, backward pass and SGD on a
ready batch.

Both sides in turns, each on a fresh copy of the same network. Left out: decoding, scoring.

    python benchmarks/finetune_steps.py [--device cpu] [--width 0.25] [--size 32] [--batch 64]
"""

import argparse
import json
import time
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F

from sparring.data.dataset import DataSettings, open_dataset
from sparring.evaluation.finetuning.finetuning import Classifier, FineTuningSettings, fine_tuned
from sparring.models.backbones import EncoderSettings, make_backbone
from sparring.models.encoder import Encoder


def main() -> None:
    """Print one line per turn and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    device = torch.device(given.device)
    settings = EncoderSettings(width=given.width)
    backbone = make_backbone(settings, image_size=given.size)
    encoder = Encoder(backbone, torch.nn.Identity(), mean=settings.mean, std=settings.std)
    encoder = encoder.to(device, memory_format=torch.channels_last)
    found = []
    for turn in range(given.turns + 1):
        seconds = {
            "fine-tuning": tuning_seconds(encoder, given, device),
            "bare": bare_seconds(encoder, given, device),
        }
        if turn:  # the first warms up
            found.append(seconds["bare"] / seconds["fine-tuning"])
            rates = {name: given.steps / value for name, value in seconds.items()}
            print(", ".join(f"{name} {rate:.1f} steps/s" for name, rate in rates.items()))
    print(json.dumps({"device": given.device, "fine-tuning over bare": float(np.median(found))}))


def tuning_seconds(encoder: Encoder, given: argparse.Namespace, device: torch.device) -> float:
    """Time of the steps of the protocol."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (given.images, given.size, given.size, 3), dtype=np.uint8)
    labels = draw.integers(0, 10, given.images)
    dataset = open_dataset((images, labels), DataSettings(), image_size=given.size)
    settings = FineTuningSettings(steps=given.steps, batch_size=given.batch)
    rows, learner = torch.arange(given.images), deepcopy(encoder)
    start = now(device)
    fine_tuned(
        learner,
        dataset,
        rows,
        torch.from_numpy(labels),
        num_classes=10,
        settings=settings,
        seed=0,
    )
    return now(device) - start


def bare_seconds(encoder: Encoder, given: argparse.Namespace, device: torch.device) -> float:
    """Time of as many steps on one ready batch."""
    classifier = Classifier(deepcopy(encoder).train(), num_classes=10, seed=0)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.01, momentum=0.9)
    images = torch.rand(given.batch, 3, given.size, given.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (given.batch,), device=device)
    start = now(device)
    for _ in range(given.steps):
        loss = F.cross_entropy(classifier(images), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return now(device) - start


def now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
