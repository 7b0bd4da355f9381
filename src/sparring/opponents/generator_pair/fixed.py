"""The generator with which a pair began, which stays as it is, and the latents that it serves while
the pair's strength is held."""

import copy
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sparring import distributed
from sparring.opponents.generator_pair.networks import Generator
from sparring.transfers import sent

GOLDEN = 0.6180339887498949
"""Step of the sequence of places in [0, 1) whose every stretch is spread evenly."""
BELOW_ONE = 1 - 2**-24
"""Largest number below 1 in single precision."""


class FixedGenerator(nn.Module):
    """Copy of a pretrained generator that no player moves. It belongs to the checkpoint, and always
    uses its running statistics.

    Args:
        pretrained: generator that it copies.
    """

    def __init__(self, pretrained: Generator) -> None:
        super().__init__()
        self.generator = copy.deepcopy(pretrained).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "FixedGenerator":
        """Stay in evaluation mode, whatever the argument."""
        super().train(False)
        return self

    def begin(self, pretrained: Generator) -> None:
        """Copy another pretrained generator."""
        self.generator.load_state_dict(pretrained.state_dict())

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch 3 size size"]:
        """Generate images in [0, 1]."""
        images: Tensor = self.generator(latents)
        return images


def with_fixed(_: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
    """Let a state of versions without the fixed generator have the pair's first one in its
    place."""
    first, fixed = f"{prefix}pair.first.", f"{prefix}fixed.generator."
    for name in [name for name in state if name.startswith(first)]:
        state.setdefault(fixed + name.removeprefix(first), state[name])


def moving_rows(share: Float[Tensor, ""], count: int, *, step: int) -> Bool[Tensor, "count"]:
    """Mask of the latents of this process whose images the moving pair makes.

    Places in [0, 1) of all latents of a run go on as one golden sequence, over processes and steps;
    those below the share are taken. So a step's number is off by less than two, and the mean over
    steps is the share, however few latents a step has.

    Args:
        share: in [0, 1]; 0: none, 1: all.
        count: latents of this process.
        step: number of the step.
    """
    joint = count * distributed.num_processes()
    numbers = step * joint + torch.arange(joint, dtype=torch.float64)
    places = distributed.own_share(numbers * GOLDEN % 1.0).clamp(max=BELOW_ONE)
    return sent(places, share.device, share.dtype) < share
