"""Differentiable augmentation of generated images, for the discriminator and the encoder.

Gradients reach the pixels. The augmentation of `data.views` is faster and matches torchvision, but
works in place and rounds boxes to pixels. Parameters are drawn per sample for the joint batch of
all processes; each process keeps its rows.
"""

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from sparring import distributed
from sparring.data.views.image_operations import LUMA
from sparring.data.views.view_parameters import crop_boxes, jitter_factor
from sparring.data.views.view_settings import ViewSettings
from sparring.transfers import filled, sent

Images = Float[Tensor, "batch 3 size size"]

Colour: TypeAlias = Literal["partial", "full"]
"""Colour operations of a view: brightness, contrast and saturation, or hue and greyscale too."""

Beyond: TypeAlias = Literal["border", "zeros"]
"""Values of pixels beyond the border of an image."""

GREY_LEVEL = 0.5
"""Value of pixels beyond the border of a shifted image, and inside a square that is cut out."""


def differentiable_view(
    images: Images, recipe: ViewSettings, *, colour: Colour = "partial", generator: Generator
) -> Images:
    """Random resized crop, flip and colours of a recipe; no blur or solarisation.

    Args:
        images: images in [0, 1].
        recipe: distributions of crop, flip and jitter, and the probabilities of jitter and
            greyscale; its size is that of the images.
        colour: `partial`: brightness, contrast and saturation; `full`: hue and greyscale too.
        generator: CPU generator, equal in all processes.

    Returns:
        Images in [0, 1]. The jitter applies hue first, then saturation, contrast and brightness.
    """
    batch, size = len(images), images.shape[-1]
    sides = torch.full((batch * distributed.num_processes(),), size)
    boxes = crop_boxes(
        sides, sides, scale=recipe.crop_scale, ratio=recipe.crop_ratio, generator=generator
    )
    flip = _draw(batch, generator) < recipe.flip
    strengths = (recipe.saturation, recipe.contrast, recipe.brightness)
    factors = [jitter_factor(_draw(batch, generator), strength) for strength in strengths]
    is_jittered = _draw(batch, generator) < recipe.jitter
    saturation, contrast, brightness = (torch.where(is_jittered, factor, 1.0) for factor in factors)
    shown = _resampled(images, distributed.own_share(boxes).float() / size, flip, beyond="border")
    if colour == "full":
        shift = recipe.hue * (2 * _draw(batch, generator) - 1)
        shown = hue_shifted(shown, torch.where(is_jittered, shift, 0.0))
    shown = _coloured(shown, saturation=saturation, contrast=contrast, brightness=brightness).clamp(
        0, 1
    )
    if colour == "full":
        is_grey = sent(_draw(batch, generator) < recipe.greyscale, shown.device)
        shown = torch.where(is_grey[:, None, None, None], _grey(shown), shown)
    return shown


def hue_shifted(images: Images, shift: Float[Tensor, "batch"]) -> Images:
    """Images whose hue is shifted by `shift` turns of the colour circle; saturation and value of
    HSV stay.

    The equations are those of `image_operations.shift_hue`. Where a pixel is grey its hue has no
    gradient.

    Args:
        images: images in [0, 1].
        shift: turns per image.
    """
    red, green, blue = images.unbind(dim=1)
    low = images.amin(dim=1)
    # The floor bounds 1 / chroma; hue only enters times chroma, so that gradients stay near 1.
    chroma = (images.amax(dim=1) - low).clamp(min=1e-6)
    sixths = torch.copysign((green + blue - red - low) / chroma + 1, green - blue)
    sixths = torch.remainder(sixths + 6 * _like(images, shift)[:, None, None], 6)
    levels = ((sixths - 3).abs() - 1, 2 - (sixths - 2).abs(), 2 - (sixths - 4).abs())
    return torch.stack([low + chroma * level.clamp(0, 1) for level in levels], dim=1)


def for_the_judge(
    images: Images, *, translation: float, cutout: float, colour: bool, generator: Generator
) -> Images:
    """Augmentation for a discriminator trained on few images: flip, shift, cutout, colour changes.

    Args:
        images: images in [0, 1].
        translation: largest shift as a share of the side; whole pixels.
        cutout: side of the square as a share of the side.
        colour: whether to change brightness (by up to 0.25), saturation (factor 0 to 2) and
            contrast (0.5 to 1.5) too.
        generator: CPU generator, equal in all processes.

    Source: Zhao et al. 2020, arXiv:2006.10738 (DiffAugment).
    """
    batch, size = len(images), images.shape[-1]
    flip = _draw(batch, generator) < 0.5
    reach, side = round(translation * size), round(cutout * size)
    shift = torch.stack(
        [(_draw(batch, generator) * (2 * reach + 1)).floor() - reach for _ in range(2)], dim=1
    )
    centre = torch.stack([(_draw(batch, generator) * size).floor() for _ in range(2)], dim=1)
    colours = [_draw(batch, generator) for _ in range(3)]
    if colour:
        images = _coloured(
            images,
            saturation=2 * colours[0],
            contrast=0.5 + colours[1],
            brightness=torch.ones(batch),
        )
        images = images + _like(images, 0.5 * colours[2] - 0.25)[:, None, None, None]
    boxes = torch.cat([shift / size, torch.ones(batch, 2)], dim=1)
    moved = _resampled(images - GREY_LEVEL, boxes, flip, beyond="zeros")
    square = _like(images, _outside_square(centre, side=side, size=size))
    return moved * square + GREY_LEVEL


def _draw(batch: int, generator: Generator) -> Float[Tensor, "batch"]:
    """Uniform numbers in [0, 1): this process's rows of a draw for the joint batch."""
    joint = torch.rand(batch * distributed.num_processes(), generator=generator)
    return distributed.own_share(joint)


def _like(images: Tensor, drawn: Tensor) -> Tensor:
    """Random numbers of the CPU where images are, and of their type."""
    return sent(drawn, images.device, images.dtype)


def _resampled(
    images: Tensor,
    boxes: Float[Tensor, "batch 4"],
    flip: Tensor,
    *,
    beyond: Beyond,
) -> Tensor:
    """Crops resized bilinearly to the images' size; boxes (top, left, height, width) are shares of
    the side.

    A box at the border is sampled up to half a pixel beyond it, where pixels have the border's
    value or zero.
    """
    if images.device.type == "cpu":
        return resampled_on_a_grid(images, boxes, flip, beyond=beyond)
    return resampled_by_products(images, boxes, flip, beyond=beyond)


def resampled_on_a_grid(
    images: Tensor, boxes: Float[Tensor, "batch 4"], flip: Tensor, *, beyond: Beyond
) -> Tensor:
    """Crops of `_resampled` from PyTorch's sampling, whose backward pass on CUDA adds up in no
    fixed order."""
    top, left, height, width = boxes.unbind(dim=1)
    zero = torch.zeros_like(top)
    across = torch.stack([torch.where(flip, -width, width), zero, 2 * left + width - 1], dim=1)
    down = torch.stack([zero, height, 2 * top + height - 1], dim=1)
    grid = F.affine_grid(
        _like(images, torch.stack([across, down], dim=1)), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=beyond, align_corners=False)


def resampled_by_products(
    images: Tensor, boxes: Float[Tensor, "batch 4"], flip: Tensor, *, beyond: Beyond
) -> Tensor:
    """Crops of `_resampled` from two matrix products per image, as boxes have no rotation: in a
    fixed order on every device, forwards and backwards."""
    size, device = images.shape[-1], images.device
    top, left, height, width = boxes.to(device)[:, :, None].unbind(dim=1)
    places = (torch.arange(size, device=device) + 0.5) / size
    across = torch.where(flip.to(device)[:, None], 1 - places, places)
    rows, columns = (
        _bilinear_weights((start + extent * share) * size - 0.5, beyond=beyond)
        for start, extent, share in ((top, height, places), (left, width, across))
    )
    return rows[:, None] @ (images @ columns.transpose(1, 2)[:, None])


def _bilinear_weights(
    centres: Float[Tensor, "batch size"], *, beyond: Beyond
) -> Float[Tensor, "batch size size"]:
    """Share of each source pixel in each pixel of the result, whose centres are given in source
    pixels."""
    size = centres.shape[1]
    if beyond == "border":
        centres = centres.clamp(0, size - 1)
    return (1 - (centres[:, :, None] - torch.arange(size, device=centres.device)).abs()).clamp_min(
        0
    )


def _grey(images: Tensor) -> Tensor:
    """Luma of each pixel in all channels."""
    return (images * filled(LUMA, images)[:, None, None]).sum(dim=1, keepdim=True).expand_as(images)


def _coloured(
    images: Tensor, *, saturation: Tensor, contrast: Tensor, brightness: Tensor
) -> Tensor:
    saturation, contrast, brightness = (
        _like(images, factor)[:, None, None, None] for factor in (saturation, contrast, brightness)
    )
    grey = images.mean(dim=1, keepdim=True)
    images = grey + saturation * (images - grey)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return brightness * (mean + contrast * (images - mean))


def _outside_square(centre: Tensor, *, side: int, size: int) -> Float[Tensor, "batch 1 size size"]:
    """Mask: 0 within a square around the centre, which may reach beyond the border, else 1."""
    place = torch.arange(size)
    first = centre - side // 2
    inside = (place >= first[..., None]) & (place < first[..., None] + side)
    return 1.0 - (inside[:, 0, :, None] & inside[:, 1, None, :]).float()[:, None]
