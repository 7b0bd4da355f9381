"""Random parameters of views, drawn on the CPU, independent of any pixel.

They are drawn for the joint batch of all processes.

The distributions are torchvision's (`RandomResizedCrop`, `ColorJitter`, `RandomApply`), drawn for
all samples at once.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from sparring.data.views.view_settings import ViewSettings

CROP_ATTEMPTS = 10
"""Boxes drawn before the central fallback, as in torchvision."""
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Jitter operations in `ViewParameters.order`, numbered as in torchvision."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewParameters:
    """Random parameters of one view, a row per sample.

    `box` is (top, left, height, width) in pixels, or None for images already cropped; `order[i]`
    lists the jitter operations in the order in which they apply to sample i.
    """

    box: Int[Tensor, "batch 4"] | None
    flip: Bool[Tensor, "batch"]
    jitter: Bool[Tensor, "batch"]
    order: Int[Tensor, "batch 4"]
    brightness: Float[Tensor, "batch"]
    contrast: Float[Tensor, "batch"]
    saturation: Float[Tensor, "batch"]
    hue: Float[Tensor, "batch"]
    greyscale: Bool[Tensor, "batch"]
    blur: Bool[Tensor, "batch"]
    sigma: Float[Tensor, "batch"]
    solarise: Bool[Tensor, "batch"]

    def rows(self, index: Int[Tensor, "rows"] | slice) -> "ViewParameters":
        """Parameters of the chosen samples, in that order."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {
            name: None if value is None else value[index] for name, value in values.items()
        }
        return ViewParameters(**chosen)

    def without_colour(self) -> "ViewParameters":
        """Parameters without what needs red, green and blue: saturation, hue and greyscale."""
        return replace(
            self,
            saturation=torch.ones_like(self.saturation),
            hue=torch.zeros_like(self.hue),
            greyscale=torch.zeros_like(self.greyscale),
        )

    def packed(self) -> Float[Tensor, "batch columns"]:
        """All parameters in one tensor, a row per sample; `unpacked` gives exactly them back.

        One copy brings them to a device. Pixels and flags are small whole numbers, which float32
        holds exactly.
        """
        values = [getattr(self, name) for name in _COLUMNS]
        return torch.cat(
            [value.float().view(len(value), -1) for value in values if value is not None], dim=1
        )

    @staticmethod
    def unpacked(rows: Float[Tensor, "batch columns"]) -> "ViewParameters":
        """Parameters of rows that `packed` made, on the device of the rows."""
        names = [name for name in _COLUMNS if name != "box" or rows.shape[1] == NUM_COLUMNS]
        parts: dict[str, Any] = dict(
            zip(names, torch.split(rows, [_COLUMNS[name][0] for name in names], dim=1), strict=True)
        )
        parts = {
            name: (part if name in ("box", "order") else part[:, 0]).to(_COLUMNS[name][1])
            for name, part in parts.items()
        }
        return ViewParameters(**{"box": None, **parts})


_WHOLE, _REAL, _FLAG = torch.int64, torch.float32, torch.bool
_COLUMNS = {
    "order": (4, _WHOLE),
    **dict.fromkeys(("brightness", "contrast", "saturation", "hue", "sigma"), (1, _REAL)),
    **dict.fromkeys(("flip", "jitter", "greyscale", "blur", "solarise"), (1, _FLAG)),
    "box": (4, _WHOLE),
}
"""Number of columns of each parameter in `ViewParameters.packed`, in their order, and its type."""
NUM_COLUMNS = sum(columns for columns, _ in _COLUMNS.values())
"""Columns of packed parameters with a box; without one there are four fewer."""


def draw_parameters(
    recipe: ViewSettings,
    heights: Int[Tensor, "batch"],
    widths: Int[Tensor, "batch"],
    *,
    generator: Generator,
) -> ViewParameters:
    """Independent parameters for each sample of a batch.

    Args:
        recipe: the distributions.
        heights: height of each image in pixels.
        widths: width of each image in pixels.
        generator: on the CPU; advanced by an amount that depends on the batch size alone.
    """
    batch = len(heights)
    low, high = recipe.blur_sigma
    spread = torch.rand(5, batch, generator=generator)
    chance = torch.rand(5, batch, generator=generator)
    return ViewParameters(
        box=crop_boxes(
            heights, widths, scale=recipe.crop_scale, ratio=recipe.crop_ratio, generator=generator
        ),
        order=torch.rand(batch, 4, generator=generator).argsort(dim=1),
        brightness=jitter_factor(spread[0], recipe.brightness),
        contrast=jitter_factor(spread[1], recipe.contrast),
        saturation=jitter_factor(spread[2], recipe.saturation),
        hue=(2 * spread[3] - 1) * recipe.hue,
        sigma=low + (high - low) * spread[4],
        flip=chance[0] < recipe.flip,
        jitter=chance[1] < recipe.jitter,
        greyscale=chance[2] < recipe.greyscale,
        blur=chance[3] < recipe.blur,
        solarise=chance[4] < recipe.solarise,
    )


def jitter_factor(uniform: Float[Tensor, "batch"], strength: float) -> Float[Tensor, "batch"]:
    """Factor of brightness, contrast or saturation from a draw in [0, 1).

    It is within `strength` of 1 and at least 0.
    """
    low, high = max(0.0, 1 - strength), 1 + strength
    return low + (high - low) * uniform


def crop_boxes(
    heights: Int[Tensor, "batch"],
    widths: Int[Tensor, "batch"],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: Generator,
) -> Int[Tensor, "batch 4"]:
    """Random crops as rows of (top, left, height, width), one per image, inside its borders.

    Area uniform in `scale`, log of width / height uniform in log `ratio`; the first of ten draws
    that fits, otherwise the largest central box of an allowed ratio. Same distribution as
    torchvision's `RandomResizedCrop`.

    Args:
        heights: height of each image in pixels.
        widths: width of each image in pixels.
        scale: range of the crop's area as a share of the image.
        ratio: range of width / height.
        generator: on the CPU.
    """
    batch = len(heights)
    image_height, image_width = heights.double(), widths.double()
    uniform = torch.rand(2 * CROP_ATTEMPTS + 2, batch, generator=generator, dtype=torch.float64)
    shares, logs, place = torch.split(uniform, [CROP_ATTEMPTS, CROP_ATTEMPTS, 2])
    area = image_height * image_width * (scale[0] + (scale[1] - scale[0]) * shares)
    aspect = torch.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * logs)
    tried_width, tried_height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (
        (tried_width > 0)
        & (tried_width <= image_width)
        & (tried_height > 0)
        & (tried_height <= image_height)
    )
    first = fits.byte().argmax(dim=0, keepdim=True)
    found = fits.any(dim=0)
    # Fallback: cut the longer side until the ratio is allowed.
    whole_height = torch.minimum(image_height, (image_width / ratio[0]).round())
    whole_width = torch.minimum(image_width, (image_height * ratio[1]).round())
    height = torch.where(found, tried_height.gather(0, first)[0], whole_height)
    width = torch.where(found, tried_width.gather(0, first)[0], whole_width)
    free = torch.stack([image_height - height, image_width - width])
    offset = torch.where(found, (place * (free + 1)).floor().minimum(free), (free / 2).floor())
    return torch.stack([offset[0], offset[1], height, width], dim=1).long()


def crop_box(
    height: int,
    width: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: Generator,
) -> tuple[int, int, int, int]:
    """Box (top, left, height, width) that `crop_boxes` draws for a single image.

    Computed without tensors, for images decoded one by one.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        scale: range of the crop's area as a share of the image.
        ratio: range of width / height.
        generator: on the CPU.
    """
    uniform = torch.rand(2 * CROP_ATTEMPTS + 2, generator=generator, dtype=torch.float64).tolist()
    shares, logs, place = uniform[:CROP_ATTEMPTS], uniform[CROP_ATTEMPTS:-2], uniform[-2:]
    for share, log in zip(shares, logs, strict=True):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
        aspect = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * log)
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            free = height - box_height, width - box_width
            top, left = (
                min(int(share * (room + 1)), room) for share, room in zip(place, free, strict=True)
            )
            return top, left, box_height, box_width
    box_height, box_width = (
        min(height, round(width / ratio[0])),
        min(width, round(height * ratio[1])),
    )
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width
