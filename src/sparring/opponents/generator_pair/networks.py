"""Generator and discriminator of images, both small residual networks.

The widths of the generator's layers are multiples of its last layer's. The discriminator uses
spectral norm; without it, a discriminator of a few thousand images memorises them within minutes.

Source: shapes after Brock et al. 2019, arXiv:1809.11096 (BigGAN), for small images and without
classes; spectral norm of Miyato et al. 2018, arXiv:1802.05957.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sparring.config import Settings
from sparring.errors import ConfigError

START = 4
"""Side of the smallest map in pixels."""
SIZES = (16, 32, 64)
"""Sides of images that the networks support, in pixels."""


class GeneratorSettings(Settings):
    """Sizes of the generator and the discriminator."""

    width: int = Field(default=32, ge=4)
    """Channels of the layer next to the image, in both networks (twice as many in the generator of
    16 px); the layer at the other end has four times as many."""
    latent: int = Field(default=128, ge=1)
    """Dimensions of the latent vector."""


class Generator(nn.Module):
    """Generator: standard normal latent vectors to images in [0, 1].

    Args:
        settings: width and size of the latent vectors.
        image_size: side of the images, one of `SIZES`.

    Raises:
        ConfigError: for another side.
    """

    def __init__(self, settings: GeneratorSettings, *, image_size: int) -> None:
        super().__init__()
        self.latent = settings.latent
        channels = [4 * settings.width] + [
            max(settings.width, 4 * settings.width >> step)
            for step in range(_doublings(image_size))
        ]
        self.start = nn.Linear(settings.latent, channels[0] * START * START)
        self.blocks = nn.Sequential(
            *(_Up(inputs, outputs) for inputs, outputs in pairwise(channels))
        )
        self.finish = nn.Sequential(
            nn.BatchNorm2d(channels[-1]), nn.ReLU(), nn.Conv2d(channels[-1], 3, 3, padding=1)
        )
        _initialise(self)

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch 3 size size"]:
        """Generate images in [0, 1]."""
        maps = self.start(latents).view(len(latents), -1, START, START)
        images: Tensor = torch.sigmoid(self.finish(self.blocks(maps)))
        return images


class Discriminator(nn.Module):
    """Discriminator: images in [0, 1] to realism, any number, higher for more real.

    Args:
        settings: width; the generator's.
        image_size: side of the images, one of `SIZES`.

    Raises:
        ConfigError: for another side.
    """

    def __init__(self, settings: GeneratorSettings, *, image_size: int) -> None:
        super().__init__()
        halvings = _doublings(image_size) - 1  # the last map has a side of 8
        channels = [min(settings.width << step, 4 * settings.width) for step in range(halvings + 2)]
        blocks: list[nn.Module] = [_Down(3, channels[0], is_first=True)]
        blocks += [
            _Down(inputs, outputs, halves=step < halvings)
            for step, (inputs, outputs) in enumerate(pairwise(channels), start=1)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.judge = nn.Linear(channels[-1], 1)
        _initialise(self)
        for module in list(self.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear):
                spectral_norm(module)

    def forward(self, images: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch"]:
        """Realism of each image, higher for more real."""
        maps = F.relu(self.blocks(2 * images - 1)).sum(dim=(2, 3))
        realism: Tensor = self.judge(maps)[:, 0]
        return realism


class _Up(nn.Module):
    """Residual block that doubles the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)])
        self.layers = nn.ModuleList(
            [nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)]
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Compute maps of twice the side."""
        inner = self.layers[0](_doubled(F.relu(self.norms[0](maps))))
        inner = self.layers[1](F.relu(self.norms[1](inner)))
        output: Tensor = inner + _doubled(
            self.shortcut(maps)
        )  # a 1 x 1 convolution costs a quarter before doubling, and gives the same
        return output


class _Down(nn.Module):
    """Residual block that halves the side, or keeps it."""

    def __init__(
        self, inputs: int, outputs: int, *, is_first: bool = False, halves: bool = True
    ) -> None:
        super().__init__()
        self.is_first, self.halves = is_first, halves
        self.layers = nn.ModuleList(
            [nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)]
        )
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1) if inputs != outputs or is_first else nn.Identity()
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Compute maps of half the side, or of the same side."""
        inner = self.layers[1](F.relu(self.layers[0](maps if self.is_first else F.relu(maps))))
        if self.halves:
            inner, maps = F.avg_pool2d(inner, 2), F.avg_pool2d(maps, 2)
        output: Tensor = inner + self.shortcut(maps)
        return output


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="nearest")


def _doublings(image_size: int) -> int:
    if image_size not in SIZES:
        raise ConfigError(
            f"training.image_size={image_size}: images can be made at a side of "
            f"{', '.join(map(str, SIZES))}; choose one of these"
        )
    return (image_size // START).bit_length() - 1


def _initialise(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
