"""Views of a batch: augmentation on the device of the images.

Every sample has parameters of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Generator, Tensor

from sparring import acceleration
from sparring.acceleration import view_kernel
from sparring.acceleration.view_kernel import KernelParameters
from sparring.data.views import image_operations as ops
from sparring.data.views import static_views
from sparring.data.views.static_views import static_view
from sparring.data.views.view_parameters import (
    CONTRAST,
    HUE,
    NUM_COLUMNS,
    SATURATION,
    ViewParameters,
    crop_boxes,
    draw_parameters,
)
from sparring.data.views.view_settings import PRESETS, ViewSettings, ViewsSettings
from sparring.step_parts import step_part
from sparring.transfers import sent

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

Images = UInt8[Tensor, "batch bands _ _"]
View = Float[Tensor, "batch bands _ _"]
Compile: TypeAlias = Callable[..., Callable[..., Tensor]]

CHUNK_PIXELS = 131_072
"""Pixels that PyTorch's kernels process at once on a CPU: few enough to stay in cache, enough to
amortise the calls."""


class Views:
    """Random views of image batches, one per recipe.

    `recipes` holds the recipes with their sizes.
    """

    def __init__(self, recipes: Sequence[ViewSettings], *, image_size: int) -> None:
        self.recipes = tuple(
            recipe.model_copy(update={"size": recipe.size or image_size}) for recipe in recipes
        )
        self._compile: Compile | None = None
        self._compiled: dict[ViewSettings, Callable[..., Tensor]] = {}
        self._compiled_batch = 0

    def compile(self, compiled: Compile, *, batch_size: int) -> None:
        """Compile what makes views on an accelerator, each kind of view at its first use.

        Batches of any other number of images, and those made without gradients, as in the monitor,
        are made as they are: each shape and mode would be a compilation of its own.

        Args:
            compiled: gives the compiled form of a function and its `name`, with static shapes.
            batch_size: images of this process in a step.
        """
        self._compile, self._compiled_batch = compiled, batch_size

    def __call__(
        self,
        images: Images | Sequence[Images],
        *,
        generator: Generator,
        shard: tuple[int, int] = (0, 1),
    ) -> list[View]:
        """One view of every image per recipe: `make` with the parameters of `draw`.

        Args:
            images: one batch for all views, or one batch per view that is already cropped to that
                view's size.
            generator: on the CPU, equal in all processes.
            shard: (rank, processes), see `draw`.
        """
        is_shared = isinstance(images, Tensor)
        num_images, _, height, width = (images if isinstance(images, Tensor) else images[0]).shape
        parameters = self.draw(
            num_images, height, width, generator=generator, shard=shard, is_cropped=not is_shared
        )
        return self.make(images, parameters)

    def draw(
        self,
        num_images: int,
        height: int,
        width: int,
        *,
        generator: Generator,
        shard: tuple[int, int] = (0, 1),
        is_cropped: bool = False,
    ) -> list[ViewParameters]:
        """Random parameters of every view, on the CPU, without a look at any pixel.

        A loader's thread can call it ahead of the step.

        Args:
            num_images: images of this process.
            height: height of the images in pixels; it has no say where they are cropped already.
            width: width of the images in pixels.
            generator: on the CPU, equal in all processes; advanced by an amount that depends on the
                number of images of all processes alone.
            shard: (rank, processes). Parameters are drawn for the joint batch of all processes, of
                which this process holds rows [rank * num_images, (rank + 1) * num_images), so the
                processes together make the views that one process would.
            is_cropped: whether the images are already cropped to the size of their view.
        """
        rank, processes = shard
        joint = torch.ones(num_images * processes, dtype=torch.long)
        own = slice(rank * num_images, (rank + 1) * num_images)
        drawn = [
            draw_parameters(recipe, joint * height, joint * width, generator=generator).rows(own)
            for recipe in self.recipes
        ]
        return [replace(each, box=None) for each in drawn] if is_cropped else drawn

    @step_part("views")
    def make(
        self,
        images: Images | Sequence[Images],
        parameters: Sequence[ViewParameters] | Float[Tensor, "views batch columns"],
    ) -> list[View]:
        """One view of every image per recipe, in [0, 1], with given parameters.

        The views are on the device of the images, channels last in memory.

        Args:
            images: one batch for all views, or one batch per view that is already cropped to that
                view's size.
            parameters: one per recipe, as `draw` gives them, or all of them packed and stacked
                (`ViewParameters.packed`), on the CPU or already on the device of the images.
        """
        batches = [images] * len(self.recipes) if isinstance(images, Tensor) else images
        if static_views.is_chosen(batches[0].device):
            if not isinstance(parameters, Tensor):
                parameters = torch.stack([drawn.packed() for drawn in parameters])
            rows = sent(parameters, batches[0].device)
            each = zip(self.recipes, batches, rows, strict=True)
            return [self._static_view(recipe, batch, packed) for recipe, batch, packed in each]
        if isinstance(parameters, Tensor):
            parameters = [ViewParameters.unpacked(rows) for rows in parameters]
        views = []
        for recipe, batch, drawn in zip(self.recipes, batches, parameters, strict=True):
            assert drawn.box is not None or batch.shape[2:] == (recipe.size, recipe.size)
            views.append(make_view(batch, drawn, recipe))
        return views

    def _static_view(
        self, recipe: ViewSettings, images: Images, parameters: Float[Tensor, "batch columns"]
    ) -> View:
        size = recipe.size or images.shape[-1]
        assert parameters.shape[1] == NUM_COLUMNS or images.shape[2:] == (size, size)
        make: Callable[..., Tensor] = partial(static_view, recipe=recipe, size=size)
        is_usual = len(images) == self._compiled_batch and torch.is_grad_enabled()
        if self._compile is not None and is_usual:
            if recipe not in self._compiled:
                self._compiled[recipe] = self._compile(make, name=f"views of {size} px")
            make = self._compiled[recipe]
        return static_views.in_chunks(make, images, parameters, size=size)


def make_view(images: Images, parameters: ViewParameters, recipe: ViewSettings) -> View:
    """View of each image with the given parameters.

    The operations are crop, flip, jitter, greyscale, blur and solarisation, in this order. Images
    of other than three channels are spared what needs colours: saturation, hue and greyscale.

    The view of a sample depends on its own image and parameters only, to the bit.

    Args:
        images: the batch, on any device.
        parameters: one row per image, on the CPU.
        recipe: gives the size and the solarisation threshold; its probabilities are already applied
            in the parameters. What it gives a probability of zero is left out on an accelerator.
    """
    size = images.shape[-1] if parameters.box is None else recipe.size or images.shape[-1]
    if static_views.is_chosen(images.device):
        rows = sent(parameters.packed(), images.device)
        make = partial(static_view, recipe=recipe, size=size)
        return static_views.in_chunks(make, images, rows, size=size)
    is_rgb = images.shape[1] == view_kernel.CHANNELS
    if not is_rgb:
        recipe, parameters = recipe.without_colour(), parameters.without_colour()
    is_fast = is_rgb and acceleration.is_on() and images.device.type == "cpu"
    if is_fast and view_kernel.library() is not None:
        return view_by_kernel(images, parameters, recipe, size=size)
    return view_by_tensors(images, parameters, recipe, size=size)


def view_by_kernel(
    images: Images, parameters: ViewParameters, recipe: ViewSettings, *, size: int
) -> View:
    """View of `make_view` on a CPU, computed by the compiled kernel."""
    p = parameters
    given = KernelParameters(
        boxes=p.box,
        order=p.order,
        factors=torch.stack([p.brightness, p.contrast, p.saturation, p.hue, p.sigma], dim=1),
        flags=torch.stack([p.flip, p.jitter, p.greyscale, p.blur, p.solarise], dim=1).to(
            torch.uint8
        ),
        threshold=recipe.solarise_threshold,
        with_hue=recipe.hue > 0,
        reach=min(ops.blur_kernel_size(size) // 2, size - 1),
        negligible=ops.NEGLIGIBLE,
    )
    return view_kernel.make_view(images, given, size=size).permute(0, 3, 1, 2)


def view_by_tensors(
    images: Images, parameters: ViewParameters, recipe: ViewSettings, *, size: int
) -> View:
    """View of `make_view` on any device, computed with PyTorch's own kernels.

    Samples are sorted by the place of the hue shift in their jitter, so that many samples share
    each operation.
    """
    chunk = max(1, CHUNK_PIXELS // (size * size)) if images.device.type == "cpu" else len(images)
    order = _hue_place(parameters).argsort(stable=True)
    parameters, blends = parameters.rows(order), _blend_weights(parameters.rows(order))
    view = torch.empty(len(images), size, size, images.shape[1], device=images.device)
    for first in range(0, len(images), chunk):
        rows = slice(first, first + chunk)
        index, part = order[rows].to(images.device), parameters.rows(rows)
        planes = _planes(images.index_select(0, index), part, size=size)
        _jitter(planes, part, blends[:, :, rows], with_hue=recipe.hue > 0)
        _finish(planes, part, recipe)
        _put(view, index, planes)
    return view.permute(0, 3, 1, 2)


def _put(
    view: Float[Tensor, "batch size size bands"],
    index: Int[Tensor, "chosen"],
    planes: Float[Tensor, "bands chosen size size"],
) -> None:
    """Write a chunk to its rows, channel by channel: a copy that interleaves all three at once
    takes four times as long."""
    rows = torch.empty_like(view[: len(index)])
    for channel, plane in enumerate(planes):
        rows[..., channel].copy_(plane)
    view.index_copy_(0, index, rows)


def _planes(
    images: Images, parameters: ViewParameters, *, size: int
) -> Float[Tensor, "bands batch size size"]:
    """Images cropped, unless they already are, and flipped."""
    if parameters.box is None:
        return ops.flipped(images, parameters.flip)
    return ops.resized_crop(
        images, parameters.box.to(images.device), parameters.flip.to(images.device), size=size
    )


def _finish(planes: ops.Planes, parameters: ViewParameters, recipe: ViewSettings) -> None:
    """Apply greyscale, blur and solarisation in place."""
    blur = parameters.blur
    sigma, taps = parameters.sigma[blur], ops.blur_kernel_size(planes.shape[-1])
    _change(planes, parameters.greyscale, lambda part: ops.grey(part).expand_as(part))
    _change(planes, blur, lambda part: ops.gaussian_blurred(part, sigma, kernel_size=taps))
    _change(
        planes,
        parameters.solarise,
        lambda part: ops.solarised(part, threshold=recipe.solarise_threshold),
    )


def _change(
    planes: ops.Planes, chosen: Bool[Tensor, "batch"], operation: Callable[[ops.Planes], ops.Planes]
) -> None:
    """Apply the operation to the chosen samples, in place; the others cost nothing."""
    if chosen.all():
        planes.copy_(operation(planes))
    elif chosen.any():
        index = chosen.nonzero()[:, 0].to(planes.device)
        planes.index_copy_(1, index, operation(planes.index_select(1, index)))


def _jitter(
    planes: ops.Planes,
    parameters: ViewParameters,
    blends: Float[Tensor, "3 3 batch"],
    *,
    with_hue: bool,
) -> None:
    """Apply colour jitter in place, every sample in its own order.

    Samples must be sorted by `_hue_place`.

    Brightness, contrast and saturation have one form (`blend`), so all samples run their first,
    second and third of them together. Hue differs: it runs between those passes, on the contiguous
    samples whose turn it is.
    """
    starts = torch.searchsorted(_hue_place(parameters), torch.arange(5)).tolist()
    active = planes[:, : starts[4]]
    blends, shift = blends[:, :, : starts[4]], parameters.hue.to(planes.device)
    for place in range(4):
        group = slice(starts[place], starts[place + 1])
        if with_hue and group.start < group.stop:
            ops.shift_hue(planes[:, group], shift[group])
        if place < 3 and starts[4]:
            keep, to_grey, to_mean = blends[place]
            ops.blend(active, keep=keep, to_grey=to_grey, to_mean=to_mean)


def _hue_place(parameters: ViewParameters) -> Int[Tensor, "batch"]:
    """Place of the hue shift among the four jitter operations; 4 for samples without jitter."""
    return torch.where(parameters.jitter, (parameters.order == HUE).byte().argmax(dim=1), 4)


def _blend_weights(parameters: ViewParameters) -> Float[Tensor, "3 3 batch"]:
    """Weights of `blend` (keep, to_grey, to_mean) for the three operations other than hue, in each
    sample's order."""
    order = parameters.order[parameters.order != HUE].view(-1, 3).t()
    factors = torch.stack([parameters.brightness, parameters.contrast, parameters.saturation])
    keep = factors.gather(0, order)
    return torch.stack(
        [keep, (1 - keep) * (order == SATURATION), (1 - keep) * (order == CONTRAST)], dim=1
    )
