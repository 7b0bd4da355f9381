"""A pixel encoder and coloured images for the tests of what all protocols share."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparring.evaluation.catalogue import choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.protocol import Protocol, Result, evaluate

Images = tuple[np.ndarray, np.ndarray]
SIZE = 8


class Pixels(nn.Module):
    """Pixels as features; counts the images it has seen."""

    seen = 0

    def features(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images.flatten(1)


def coloured(count: int, seed: int, *, classes: int = 3) -> Images:
    """Images whose mean colour tells their class, more or less."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    base = np.eye(3)[:classes] * 60 + 80
    noise = rng.normal(0, 40, (count, 1, 1, 3)) + rng.normal(0, 20, (count, SIZE, SIZE, 3))
    return (base[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8), labels


def run(
    names: list[str | Protocol],
    train: Any,
    test: Any,
    encoder: nn.Module | None = None,
    **named: Any,
) -> dict[str, Result]:
    """Results of the run's encoder."""
    evaluation_data = EvaluationData(train, test, image_size=SIZE, **named)
    return evaluate(
        [EvaluatedEncoder("trained", encoder or Pixels())], evaluation_data, choose(names)
    )["trained"]


def matrices(train: Images, test: Images) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def pixels(images: np.ndarray) -> Tensor:
        return torch.from_numpy(images).permute(0, 3, 1, 2).flatten(1).float() / 255

    return pixels(train[0]), torch.from_numpy(train[1]), pixels(test[0]), torch.from_numpy(test[1])
