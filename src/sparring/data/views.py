"""Views of a batch: augmentation on the device of the images, with parameters of its own for every sample."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Generator, Tensor

from sparring.data import image_operations as ops
from sparring.data.view_parameters import CONTRAST, HUE, SATURATION, ViewParameters, crop_boxes, draw_parameters
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

Images = UInt8[Tensor, "batch 3 _ _"]
View = Float[Tensor, "batch 3 _ _"]

CHUNK_PIXELS = 65_536
"""Pixels worked on at once on a CPU: few enough for the second-level cache, enough to hide the cost of calls."""


class Views:
    """Random views of image batches, one per recipe; `recipes` holds them with their sizes filled in."""

    def __init__(self, recipes: Sequence[ViewSettings], *, image_size: int) -> None:
        self.recipes = tuple(recipe.model_copy(update={"size": recipe.size or image_size}) for recipe in recipes)

    def __call__(self, images: Images | Sequence[Images], *, generator: Generator, shard: tuple[int, int] = (0, 1)) -> list[View]:
        """One view of every image per recipe: in [0, 1], on the device of the images, channels last in memory.

        Args:
            images: one batch for all views, or one batch per view that is already cropped to that view's size.
            generator: on the CPU, equal in all processes.
            shard: (rank, processes). Parameters are drawn for the joint batch of all processes, of which this one holds
                rows [rank * batch, (rank + 1) * batch); so the group makes the views that one process would.
        """
        batches = [images] * len(self.recipes) if isinstance(images, Tensor) else list(images)
        views = []
        for recipe, batch in zip(self.recipes, batches, strict=True):
            parameters = _shard_parameters(recipe, batch, generator, shard)
            if not isinstance(images, Tensor):
                assert batch.shape[2:] == (recipe.size, recipe.size)
                parameters = replace(parameters, box=None)
            views.append(make_view(batch, parameters, recipe))
        return views


def _shard_parameters(recipe: ViewSettings, images: Images, generator: Generator, shard: tuple[int, int]) -> ViewParameters:
    rank, processes = shard
    batch, _, height, width = images.shape
    joint = torch.ones(batch * processes, dtype=torch.long)
    parameters = draw_parameters(recipe, joint * height, joint * width, generator=generator)
    return parameters.rows(slice(rank * batch, (rank + 1) * batch))


def make_view(images: Images, parameters: ViewParameters, recipe: ViewSettings) -> View:
    """View of each image with the given parameters: crop, flip, jitter, greyscale, blur, solarise.

    A sample's view depends on its own image and parameters only, to the bit.

    Args:
        images: the batch, on any device.
        parameters: one row per image, on the CPU.
        recipe: supplies the size and the threshold; its probabilities have done their work in the parameters.
    """
    size = images.shape[-1] if parameters.box is None else recipe.size or images.shape[-1]
    chunk = max(1, CHUNK_PIXELS // (size * size)) if images.device.type == "cpu" else len(images)
    view = torch.empty(len(images), size, size, 3, device=images.device)
    for rows in torch.split(_hue_place(parameters).argsort(stable=True), chunk):
        index = rows.to(images.device)
        planes = _augmented(images[index], parameters.rows(rows), recipe, size=size)
        # Two copies, the second of whole samples: one that both scatters and interleaves takes twice as long.
        view.index_copy_(0, index, planes.permute(1, 2, 3, 0).contiguous())
    return view.permute(0, 3, 1, 2)


def _augmented(images: Images, parameters: ViewParameters, recipe: ViewSettings, *, size: int) -> ops.Planes:
    """Planes of a chunk whose samples are sorted by `_hue_place`."""
    device = images.device
    flip, blur = parameters.flip.to(device), parameters.blur
    if parameters.box is None:
        planes = ops.flipped(images, flip)
    else:
        planes = ops.resized_crop(images, parameters.box.to(device), flip, size=size)
    _jitter(planes, parameters, with_hue=recipe.hue > 0)
    sigma, taps = parameters.sigma[blur].to(device), ops.blur_kernel_size(size)
    _change(planes, parameters.greyscale, lambda part: ops.grey(part).expand_as(part))
    _change(planes, blur, lambda part: ops.gaussian_blurred(part, sigma, kernel_size=taps))
    _change(planes, parameters.solarise, lambda part: ops.solarised(part, threshold=recipe.solarise_threshold))
    return planes


def _change(planes: ops.Planes, chosen: Bool[Tensor, "batch"], operation: Callable[[ops.Planes], ops.Planes]) -> None:
    """Put the chosen samples through the operation, in place; the others cost nothing."""
    index = chosen.nonzero()[:, 0].to(planes.device)
    if len(index):
        planes.index_copy_(1, index, operation(planes.index_select(1, index)))


def _jitter(planes: ops.Planes, parameters: ViewParameters, *, with_hue: bool) -> None:
    """Colour jitter in place, every sample in its own order; samples must be sorted by `_hue_place`.

    Brightness, contrast and saturation have one form (`blended`), so all samples take their first, second and third of
    them together. Hue alone differs: it runs between those passes on the neighbours whose turn it is.
    """
    starts = torch.searchsorted(_hue_place(parameters), torch.arange(5)).tolist()
    active = planes[:, : starts[4]]
    keep, to_grey, to_mean = (part.to(planes.device) for part in _blend_weights(parameters.rows(slice(starts[4]))))
    shift = parameters.hue.to(planes.device)
    for place in range(4):
        group = slice(starts[place], starts[place + 1])
        if with_hue and group.start < group.stop:
            planes[:, group] = ops.hue_shifted(planes[:, group], shift[group])
        if place < 3 and starts[4]:
            active.copy_(ops.blended(active, keep=keep[place], to_grey=to_grey[place], to_mean=to_mean[place]))


def _hue_place(parameters: ViewParameters) -> Int[Tensor, "batch"]:
    """Place of the hue shift among the four operations of the jitter, 4 for samples without jitter."""
    return torch.where(parameters.jitter, (parameters.order == HUE).byte().argmax(dim=1), 4)


def _blend_weights(parameters: ViewParameters) -> tuple[Float[Tensor, "3 batch"], ...]:
    """Weights of `blended` (keep, to_grey, to_mean) for the operations other than hue, in each sample's own order."""
    order = parameters.order[parameters.order != HUE].view(-1, 3).t()
    factors = torch.stack([parameters.brightness, parameters.contrast, parameters.saturation])
    keep = factors.gather(0, order)
    return keep, (1 - keep) * (order == SATURATION), (1 - keep) * (order == CONTRAST)
