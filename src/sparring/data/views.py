"""Views of a batch: augmentation on the device of the images, with parameters of its own for every sample."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor

from sparring.data import image_operations as ops
from sparring.data.view_parameters import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    ViewParameters,
    crop_boxes,
    draw_parameters,
)
from sparring.data.view_settings import PRESETS, ViewSettings, ViewsSettings

__all__ = [
    "PRESETS",
    "ViewParameters",
    "ViewSettings",
    "Views",
    "ViewsSettings",
    "crop_boxes",
    "draw_parameters",
    "make_view",
]

Images = UInt8[Tensor, "batch 3 height width"]

CHUNK_PIXELS = 65_536
"""Pixels worked on at once on a CPU: the planes of a chunk (0.8 MB) stay in the second-level cache."""


class Views:
    """Random views of image batches, one list entry per recipe."""

    def __init__(self, recipes: Sequence[ViewSettings], *, image_size: int) -> None:
        self.recipes = tuple(recipe.model_copy(update={"size": recipe.size or image_size}) for recipe in recipes)
        self.sizes = tuple(recipe.size or image_size for recipe in recipes)

    def __call__(
        self, images: Images | Sequence[Images], *, generator: Generator, shard: tuple[int, int] = (0, 1)
    ) -> list[Float[Tensor, "batch 3 size size"]]:
        """Views in [0, 1] on the device of the images, channels last in memory.

        Args:
            images: one batch for all views, or one batch per view that is already cropped to that view's size.
            generator: on the CPU, equal in all processes.
            shard: (rank, processes). Parameters are drawn for the joint batch of all processes, of which this one holds
                rows [rank * batch, (rank + 1) * batch); so the group makes the views that one process would.
        """
        is_cropped = not isinstance(images, Tensor)
        batches = [images] * len(self.recipes) if isinstance(images, Tensor) else list(images)
        views = []
        for recipe, batch in zip(self.recipes, batches, strict=True):
            parameters = _shard_parameters(recipe, batch, generator, shard)
            views.append(make_view(batch, parameters, recipe, is_cropped=is_cropped))
        return views


def _shard_parameters(
    recipe: ViewSettings, images: Images, generator: Generator, shard: tuple[int, int]
) -> ViewParameters:
    rank, processes = shard
    batch, _, height, width = images.shape
    joint = torch.ones(batch * processes, dtype=torch.long)
    parameters = draw_parameters(recipe, joint * height, joint * width, generator=generator)
    return parameters.rows(slice(rank * batch, (rank + 1) * batch))


def make_view(
    images: Images, parameters: ViewParameters, recipe: ViewSettings, *, is_cropped: bool = False
) -> Float[Tensor, "batch 3 size size"]:
    """View of each image with the given parameters (on the CPU): crop, flip, jitter, greyscale, blur, solarise.

    Samples are sorted so that those whose hue comes at the same place of the jitter are neighbours; see `_jittered`.

    Args:
        images: the batch.
        parameters: one row per image.
        recipe: supplies size and thresholds; its probabilities are already in the parameters.
        is_cropped: the images are crops of the right size already, the boxes are ignored.
    """
    size = images.shape[-1] if is_cropped else recipe.size or images.shape[-1]
    hue_place = _hue_place(parameters)
    order = hue_place.argsort(stable=True)
    chunk = max(1, CHUNK_PIXELS // (size * size)) if images.device.type == "cpu" else len(images)
    result = torch.empty(len(images), size, size, 3, device=images.device)
    for rows in torch.split(order, chunk):
        planes = _planes(images, parameters.rows(rows), recipe, rows=rows, size=None if is_cropped else size)
        result[rows.to(images.device)] = planes.permute(1, 2, 3, 0)
    return result.permute(0, 3, 1, 2)


def _hue_place(parameters: ViewParameters) -> Int[Tensor, "batch"]:
    """Place of the hue shift among the four operations of the jitter, 4 for samples without jitter."""
    return torch.where(parameters.jitter, (parameters.order == HUE).byte().argmax(dim=1), 4)


def _planes(
    images: Images, parameters: ViewParameters, recipe: ViewSettings, *, rows: Int[Tensor, "rows"], size: int | None
) -> ops.Planes:
    device = images.device
    chosen, flip = images[rows.to(device)], parameters.flip.to(device)
    if size is None:
        planes = ops.flipped(chosen, flip)
    else:
        planes = ops.resized_crop(chosen, parameters.box.to(device), flip, size=size)
    _jitter(planes, parameters, with_hue=recipe.hue > 0)
    if len(grey := parameters.greyscale.nonzero()[:, 0].to(device)):
        planes[:, grey] = ops.grey(planes[:, grey])[None]
    if len(blur := parameters.blur.nonzero()[:, 0]):
        sigma, blur = parameters.sigma[blur].to(device), blur.to(device)
        planes[:, blur] = ops.gaussian_blurred(
            planes[:, blur], sigma, kernel_size=ops.blur_kernel_size(planes.shape[-1])
        )
    if len(solarise := parameters.solarise.nonzero()[:, 0].to(device)):
        planes[:, solarise] = ops.solarised(planes[:, solarise], threshold=recipe.solarise_threshold)
    return planes


def _jitter(planes: ops.Planes, parameters: ViewParameters, *, with_hue: bool) -> None:
    """Colour jitter in place, every sample in its own order; samples must be sorted by `_hue_place`.

    Brightness, contrast and saturation have one form (`blended`), so all samples take their first, second and third of
    them together. Hue alone differs: it runs between those passes on the neighbours whose turn it is.
    """
    starts = torch.searchsorted(_hue_place(parameters), torch.arange(5)).tolist()
    num_jittered = starts[4]
    if not num_jittered:
        return
    device = planes.device
    blends = [part.to(device) for part in _blends(parameters.rows(slice(num_jittered)))]
    shift = parameters.hue.to(device)
    active = planes[:, :num_jittered]
    for place in range(4):
        group = slice(starts[place], starts[place + 1])
        if with_hue and group.start < group.stop:
            planes[:, group] = ops.hue_shifted(planes[:, group], shift[group])
        if place < 3:
            keep, to_grey, to_mean = (part[:, place] for part in blends)
            active.copy_(ops.blended(active, keep=keep, to_grey=to_grey, to_mean=to_mean))


def _blends(parameters: ViewParameters) -> tuple[Float[Tensor, "batch 3"], ...]:
    """Weights of `blended` (keep, to_grey, to_mean) for the three operations other than hue, in each sample's order."""
    order = parameters.order[parameters.order != HUE].view(-1, 3)
    factors = torch.stack([parameters.brightness, parameters.contrast, parameters.saturation], dim=1)
    keep = factors.gather(1, order)
    assert (BRIGHTNESS, CONTRAST, SATURATION) == (0, 1, 2)
    return keep, (1 - keep) * (order == SATURATION), (1 - keep) * (order == CONTRAST)
