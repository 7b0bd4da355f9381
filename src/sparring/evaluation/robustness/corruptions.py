"""Common corruptions of photographs: noise, blur, weather and digital damage, at five severities.

The idea is that of Hendrycks & Dietterich 2019 (arXiv:1903.12261). Kinds and strengths are ours:
made for batches of any side, lengths relative to that side, and each kind's change growing with its
severity. Numbers are not comparable with ImageNet-C or CIFAR-C.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

from sparring.data.views.image_operations import LUMA
from sparring.errors import ConfigError, unknown_name

Images: TypeAlias = Float[Tensor, "batch 3 size size"]

SEVERITIES = (1, 2, 3, 4, 5)

_ZOOMS = 12
"""Number of enlarged images that a zoom blur averages."""
_FOG_OCTAVES = 5


@dataclass(frozen=True)
class Corruption:
    """A kind of damage.

    Attributes:
        group: `noise`, `blur`, `weather` or `digital`.
        apply: images, strength and generator to images; the result may leave [0, 1].
        strengths: at severity 1 to 5; what they measure is told by the function.
    """

    group: str
    apply: Callable[[Images, float, Generator], Images]
    strengths: tuple[float, float, float, float, float]


def corrupted(images: Images, name: str, *, severity: int, generator: Generator) -> Images:
    """Damaged images in [0, 1].

    Args:
        images: in [0, 1], on any device.
        name: one of `CORRUPTIONS`.
        severity: 1 (slight) to 5 (severe).
        generator: on the CPU; equal generators give the same noise, larger, at a higher severity,
            except for shot noise.

    Raises:
        ConfigError: for an unknown name or severity.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(unknown_name("corruption", name, CORRUPTIONS))
    if severity not in SEVERITIES:
        raise ConfigError(f"severity must be 1 (slight) to 5 (severe), got {severity}")
    kind = CORRUPTIONS[name]
    return kind.apply(images, kind.strengths[severity - 1], generator).clamp(0, 1)


def gaussian_noise(images: Images, deviation: float, generator: Generator) -> Images:
    """Independent normal noise on every value."""
    return images + deviation * torch.randn(images.shape, generator=generator).to(images)


def shot_noise(images: Images, share: float, generator: Generator) -> Images:
    """Counting noise of light: Poisson with 1 / share photons at full brightness."""
    return (torch.poisson(images.cpu() / share, generator=generator) * share).to(images)


def impulse_noise(images: Images, share: float, generator: Generator) -> Images:
    """That share of the values replaced by 0 or 1."""
    where, what = (
        torch.rand(images.shape, generator=generator).to(images.device) for _ in range(2)
    )
    return torch.where(where < share, (what < 0.5).to(images), images)


def defocus_blur(images: Images, radius: float, generator: Generator) -> Images:
    """Mean over a disc whose edge fades over one pixel; the radius is a share of the side."""
    radius = radius * images.shape[-1]
    down, across = _offsets(radius)
    disc = (radius + 1 - (down**2 + across**2).sqrt()).clamp(0, 1)
    return _filtered(images, disc.expand(len(images), -1, -1))


def motion_blur(images: Images, length: float, generator: Generator) -> Images:
    """Mean along a line through each pixel, in a direction drawn per image; the length is a share
    of the side."""
    half = length * images.shape[-1] / 2
    angle = torch.pi * torch.rand(len(images), 1, 1, generator=generator)
    down, across = _offsets(half)
    along, beside = (
        across * angle.cos() + down * angle.sin(),
        down * angle.cos() - across * angle.sin(),
    )
    line = (half + 1 - along.abs()).clamp(0, 1) * (1 - beside.abs()).clamp_min(0)
    return _filtered(images, line)


def zoom_blur(images: Images, zoom: float, generator: Generator) -> Images:
    """Mean of the image enlarged about its centre by factors from 1 to 1 + zoom."""
    total = torch.zeros_like(images)
    for factor in torch.linspace(1, 1 + zoom, _ZOOMS).tolist():
        matrix = (
            torch.tensor([[1 / factor, 0, 0], [0, 1 / factor, 0]])
            .to(images)
            .expand(len(images), -1, -1)
        )
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
        total += F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return total / _ZOOMS


def fog(images: Images, density: float, generator: Generator) -> Images:
    """Blend towards white, by 40 % to 100 % of the density, in clouds of all sizes."""
    size = images.shape[-1]
    clouds = torch.zeros(len(images), 1, size, size)
    for octave in range(_FOG_OCTAVES):
        grid = torch.rand(len(images), 1, 2 + 2**octave, 2 + 2**octave, generator=generator)
        clouds += 0.5**octave * F.interpolate(
            grid, (size, size), mode="bilinear", align_corners=False
        )
    low, high = clouds.amin(dim=(2, 3), keepdim=True), clouds.amax(dim=(2, 3), keepdim=True)
    share = density * (0.4 + 0.6 * (clouds - low) / (high - low).clamp_min(1e-6)).to(images)
    return images + share * (1 - images)


def brightness(images: Images, shift: float, generator: Generator) -> Images:
    """The shift added to every value."""
    return images + shift


def contrast(images: Images, loss: float, generator: Generator) -> Images:
    """Every value nearer to its image's mean by that share of its distance."""
    return images + loss * (images.mean(dim=(1, 2, 3), keepdim=True) - images)


def saturate(images: Images, gain: float, generator: Generator) -> Images:
    """Colours further from the pixel's grey by that many times their distance."""
    grey = (images * torch.tensor(LUMA).to(images)[:, None, None]).sum(dim=1, keepdim=True)
    return images + gain * (images - grey)


def pixelate(images: Images, block: float, generator: Generator) -> Images:
    """Means over blocks of about that many pixels a side."""
    size = images.shape[-1]
    blocks = max(1, round(size / block))
    number = torch.arange(size) * blocks // size
    mixing = (number[:, None] == number).to(images)
    mixing = mixing / mixing.sum(dim=1, keepdim=True)
    return mixing @ images @ mixing.T


def jpeg(images: Images, loss: float, generator: Generator) -> Images:
    """Through a JPEG of quality 100 - loss."""
    pixels = (images.permute(0, 2, 3, 1) * 255).round().to("cpu", torch.uint8).numpy()
    damaged = np.stack([_through_jpeg(image, quality=round(100 - loss)) for image in pixels])
    return torch.from_numpy(damaged).permute(0, 3, 1, 2).to(images) / 255


CORRUPTIONS = {
    "gaussian-noise": Corruption("noise", gaussian_noise, (0.03, 0.06, 0.1, 0.15, 0.22)),
    "shot-noise": Corruption("noise", shot_noise, (0.005, 0.015, 0.04, 0.08, 0.16)),
    "impulse-noise": Corruption("noise", impulse_noise, (0.01, 0.03, 0.06, 0.11, 0.18)),
    "defocus-blur": Corruption("blur", defocus_blur, (0.012, 0.02, 0.03, 0.042, 0.058)),
    "motion-blur": Corruption("blur", motion_blur, (0.05, 0.08, 0.12, 0.17, 0.23)),
    "zoom-blur": Corruption("blur", zoom_blur, (0.05, 0.1, 0.16, 0.24, 0.33)),
    "fog": Corruption("weather", fog, (0.2, 0.35, 0.5, 0.65, 0.8)),
    "brightness": Corruption("weather", brightness, (0.08, 0.16, 0.24, 0.33, 0.42)),
    "contrast": Corruption("digital", contrast, (0.25, 0.45, 0.62, 0.76, 0.88)),
    "saturate": Corruption("digital", saturate, (0.4, 0.9, 1.6, 2.6, 4.0)),
    "pixelate": Corruption("digital", pixelate, (1.25, 1.6, 2.2, 3.0, 4.0)),
    "jpeg": Corruption("digital", jpeg, (50, 68, 80, 87, 92)),
}
"""The corruptions by name; gentle at severity 1; at 5 a person still recognises most images."""


def _offsets(reach: float) -> tuple[Tensor, Tensor]:
    """Rows and columns of a kernel with this many pixels from its centre to its edge, counted from
    the centre."""
    steps = torch.arange(-_ceiling(reach), _ceiling(reach) + 1, dtype=torch.float32)
    return steps[:, None], steps[None, :]


def _ceiling(reach: float) -> int:
    return int(reach) + 1


def _through_jpeg(image: npt.NDArray[np.uint8], *, quality: int) -> npt.NDArray[np.uint8]:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


def _filtered(images: Images, kernels: Float[Tensor, "batch side side"]) -> Images:
    """Each image filtered by its own kernel, which is normalised here; the border's values reach
    beyond it."""
    kernels = (kernels / kernels.sum(dim=(1, 2), keepdim=True)).to(images)
    padded = F.pad(images, [kernels.shape[-1] // 2] * 4, mode="replicate").transpose(0, 1)
    return F.conv2d(padded, kernels[:, None], groups=len(images)).transpose(0, 1)
