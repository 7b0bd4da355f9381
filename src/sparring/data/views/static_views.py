"""Views as one fixed sequence of operations, for accelerators.

Every sample goes through every operation of the recipe; where one does not apply, its parameters
are neutral or its result is not selected. So neither shapes nor the sequence of kernels depend on
what was drawn, the host reads nothing back, and the whole can be compiled or captured as a graph.
The slow twin, `views.view_by_tensors`, sorts samples and skips what few of them need, which suits
a CPU.

Channels are separate planes, so that a compiler fuses everything between two reads of neighbouring
pixels into one kernel.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from sparring import acceleration
from sparring.data.views.image_operations import LUMA, NEGLIGIBLE, blur_kernel_size
from sparring.data.views.view_parameters import CONTRAST, HUE, SATURATION, ViewParameters
from sparring.data.views.view_settings import ViewSettings

Planes = list[Float[Tensor, "batch _ height width"]]
"""Red, green and blue, or all channels of other images in a single tensor; values in [0, 1]."""


CHUNK_PIXELS = 2**24
"""Pixels made at once: 334 views of 224 x 224. It bounds the memory of the steps in between, at
some 1.5 GB without a compiler."""


def is_chosen(device: torch.device) -> bool:
    """Whether views are made in this form there: on every device but a CPU, where the compiled
    kernel and the slow twin are faster."""
    return device.type != "cpu" and acceleration.is_on()


def in_chunks(
    make: Callable[[Tensor, Tensor], Tensor],
    images: UInt8[Tensor, "batch bands height width"],
    parameters: Float[Tensor, "batch columns"],
    *,
    size: int,
) -> Float[Tensor, "batch bands size size"]:
    """Views of a batch, in chunks of at most `CHUNK_PIXELS`.

    All chunks have one shape, as a compiled function wants it: the last may repeat some samples of
    the one before.

    Args:
        make: gives the views of images and parameters, like `static_view`.
        images: the batch.
        parameters: packed, one row per image, on the same device.
        size: side of the views in pixels.
    """
    batch, channels = images.shape[:2]
    chunks = max(1, math.ceil(batch * size * size / CHUNK_PIXELS))
    if chunks == 1:
        return make(images, parameters)
    length = math.ceil(batch / min(chunks, batch))
    views = torch.empty(batch, size, size, channels, device=images.device).permute(0, 3, 1, 2)
    for start in range(0, batch, length):
        rows = slice(min(start, batch - length), min(start + length, batch))
        views[rows] = make(images[rows], parameters[rows])
    return views


def static_view(
    images: UInt8[Tensor, "batch bands height width"],
    parameters: Float[Tensor, "batch columns"],
    *,
    recipe: ViewSettings,
    size: int,
) -> Float[Tensor, "batch bands size size"]:
    """View of each image, equal to `views.view_by_tensors` up to rounding; channels last in memory.

    The view of a sample depends on its own image and parameters only.

    Args:
        images: on any device.
        parameters: packed (`ViewParameters.packed`), one row per image, on the device of the
            images.
        recipe: gives the solarisation threshold. Operations that it gives a probability or a
            strength of zero are left out.
        size: side of the views in pixels.
    """
    given, is_rgb = ViewParameters.unpacked(parameters), images.shape[1] == len(LUMA)
    given = given if is_rgb else given.without_colour()
    whole = (
        flipped(images, given.flip)
        if given.box is None
        else resized_crop(images, given.box, given.flip, size=size)
    )
    planes = list(torch.split(whole, 1, dim=1)) if is_rgb else [whole]
    if recipe.jitter:
        planes = jittered(planes, given, with_hue=is_rgb and recipe.hue > 0)
    if is_rgb and recipe.greyscale:
        luma = brightness(planes)
        planes = [torch.where(_spread(given.greyscale), luma, plane) for plane in planes]
    view = torch.cat([plane.permute(0, 2, 3, 1) for plane in planes], dim=3).permute(0, 3, 1, 2)
    if recipe.blur:
        view = blurred(view, blur_kernels(given.blur, given.sigma, size=size))
    if recipe.solarise:
        bright = view >= recipe.solarise_threshold
        view = torch.where(_spread(given.solarise) & bright, 1 - view, view)
    return view.contiguous(memory_format=torch.channels_last)


def _spread(values: Tensor) -> Tensor:
    """One value per sample, to be combined with all of its pixels."""
    return values[:, None, None, None]


def flipped(
    images: UInt8[Tensor, "batch bands height width"], flip: Bool[Tensor, "batch"]
) -> Float[Tensor, "batch bands height width"]:
    """Images in [0, 1], mirrored where `flip` is set."""
    return torch.where(_spread(flip), images.flip(-1), images) / 255


def resized_crop(
    images: UInt8[Tensor, "batch bands height width"],
    box: Int[Tensor, "batch 4"],
    flip: Bool[Tensor, "batch"],
    *,
    size: int,
) -> Float[Tensor, "batch bands size size"]:
    """Crops of images, resized to size x size, antialiased, and mirrored where `flip` is set.

    The sums of `image_operations.resized_crop` without their zeros: a pixel is a sum over the few
    neighbours that its triangle covers, which are gathered. At 32 pixels these are two by two.
    Matrix products would spend 16 times the additions, and their precision follows a global switch.
    """
    top, left, box_height, box_width = box.unbind(1)
    upright = torch.zeros_like(flip)
    across = resize_taps(left, box_width, flip, source=images.shape[3], target=size)
    down = resize_taps(top, box_height, upright, source=images.shape[2], target=size)
    narrow = _gathered_sum(images, 3, *across) / 255
    # Weights may sum to slightly more than one.
    return _gathered_sum(narrow, 2, *down).clamp(0, 1)


def _gathered_sum(
    images: Tensor,
    axis: int,
    pixels: Int[Tensor, "batch taps target"],
    weights: Float[Tensor, "batch taps target"],
) -> Tensor:
    """Images whose pixels along an axis are weighted sums of a few of their pixels."""
    shape = list(images.shape)
    shape[axis] = pixels.shape[2]
    across = [len(images), 1, 1, 1]
    across[axis] = pixels.shape[2]
    terms = [
        images.gather(axis, pixel.view(across).expand(shape)) * weight.view(across)
        for pixel, weight in zip(pixels.unbind(1), weights.unbind(1), strict=True)
    ]
    return sum(terms[1:], terms[0])


def resize_taps(
    start: Int[Tensor, "batch"],
    length: Int[Tensor, "batch"],
    mirror: Bool[Tensor, "batch"],
    *,
    source: int,
    target: int,
) -> tuple[Int[Tensor, "batch taps target"], Float[Tensor, "batch taps target"]]:
    """Places among `source` pixels, and their weights, whose sum gives each of `target` pixels.

    The weights are those of `image_operations.resize_weights`. There are as many taps as the widest
    triangle covers, that of a crop of all pixels.
    """
    begin, extent = start[:, None, None], length.float()[:, None, None]
    step = extent / target
    halfwidth = step.clamp_min(1)
    places = torch.arange(target, device=start.device) + 0.5
    centres = step * torch.where(mirror[:, None, None], target - places, places)
    taps = torch.arange(math.ceil(2 * max(source / target, 1)), device=start.device)
    pixels = (centres - halfwidth + 0.5).floor().clamp_min(0) + taps[:, None]
    weights = (1 - ((pixels + 0.5 - centres) / halfwidth).abs()).clamp_min(0)
    weights = torch.where(pixels < extent, weights, 0)
    inside = pixels.minimum(extent - 1).long()
    return begin + inside, weights / weights.sum(dim=1, keepdim=True)


def brightness(planes: Planes) -> Float[Tensor, "batch 1 height width"]:
    """Luma of colours; the plain mean of any other number of channels."""
    if len(planes) != len(LUMA):
        return planes[0].mean(dim=1, keepdim=True)
    red, green, blue = planes
    return (LUMA[0] * red).add(green, alpha=LUMA[1]).add(blue, alpha=LUMA[2])


def blended(
    planes: Planes,
    *,
    keep: Float[Tensor, "batch"],
    to_grey: Float[Tensor, "batch"],
    to_mean: Float[Tensor, "batch"],
) -> Planes:
    """Blend of each image with its grey image and its mean grey, as `image_operations.blend`.

    Weights of (1, 0, 0) leave an image as it is, to the bit.
    """
    luma = brightness(planes)
    level = _spread(to_mean) * luma.mean(dim=(1, 2, 3), keepdim=True)
    ground = level.addcmul(_spread(to_grey), luma)
    return [ground.addcmul(_spread(keep), plane).clamp(0, 1) for plane in planes]


def hue_shifted(planes: Planes, shift: Float[Tensor, "batch"]) -> Planes:
    """Colours whose hue is shifted by `shift` turns, by the formula of `shift_hue`."""
    red, green, blue = planes
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = (torch.maximum(torch.maximum(red, green), blue) - low).clamp_min(1e-30)
    sixths = torch.copysign((green + blue - red - low) / chroma + 1, green - blue)
    sixths = 6 * _spread(shift + 1).add(sixths, alpha=1 / 6).frac()
    levels = ((sixths - 3).abs() - 1, 2 - (sixths - 2).abs(), 2 - (sixths - 4).abs())
    return [low.addcmul(chroma, level.clamp(0, 1)) for level in levels]


def jittered(planes: Planes, given: ViewParameters, *, with_hue: bool) -> Planes:
    """Colour jitter, every sample in its own order.

    Brightness, contrast and saturation have one form (`blended`): all samples run their first,
    second and third of them together. The hue shift is computed at each of the four places around
    them, and selected where it is a sample's turn.
    """
    is_hue = given.order == HUE
    turns = is_hue & given.jitter[:, None]
    weights = _blend_weights(given, is_hue)
    for place in range(4):
        if with_hue:
            turn, shifted = _spread(turns[:, place]), hue_shifted(planes, given.hue)
            planes = [torch.where(turn, *pair) for pair in zip(shifted, planes, strict=True)]
        if place < 3:
            keep, to_grey, to_mean = weights[:, :, place]
            planes = blended(planes, keep=keep, to_grey=to_grey, to_mean=to_mean)
    return planes


def _blend_weights(
    given: ViewParameters, is_hue: Bool[Tensor, "batch 4"]
) -> Float[Tensor, "3 batch 3"]:
    """Weights of `blended` (keep, to_grey, to_mean) for the three operations other than hue, in
    each sample's order."""
    places = torch.arange(4, device=is_hue.device)
    hue_came = (is_hue * places).sum(dim=1, keepdim=True) <= places[:3]
    operation = torch.where(hue_came, given.order[:, 1:], given.order[:, :3])
    is_grey, is_mean = operation == SATURATION, operation == CONTRAST
    factor = torch.where(is_grey, given.saturation[:, None], given.brightness[:, None])
    factor = torch.where(is_mean, given.contrast[:, None], factor)
    keep = torch.where(given.jitter[:, None], factor, 1)
    return torch.stack([keep, (1 - keep) * is_grey, (1 - keep) * is_mean])


def blur_kernels(
    blur: Bool[Tensor, "batch"], sigma: Float[Tensor, "batch"], *, size: int
) -> Float[Tensor, "batch taps"]:
    """Right half of each sample's Gaussian, from its centre on; (1, 0, 0, ...) where `blur` is not
    set, which leaves an image as it is, to the bit.

    Taps that `image_operations.gaussian_blurred` skips have weight zero.
    """
    reach = min(blur_kernel_size(size) // 2, size - 1)
    places = torch.arange(reach + 1, device=sigma.device)
    taps = torch.exp(-0.5 * (places / sigma[:, None]) ** 2)
    taps = torch.where((taps >= NEGLIGIBLE) & (blur[:, None] | (places == 0)), taps, 0)
    return taps / (2 * taps.sum(dim=1, keepdim=True) - taps[:, :1])


def blurred(
    images: Float[Tensor, "batch bands height width"], kernel: Float[Tensor, "batch taps"]
) -> Float[Tensor, "batch bands height width"]:
    """Images blurred along rows, then columns, borders mirrored, by half kernels per sample.

    Sums over neighbours also at 224 pixels: there, products with banded matrices would need ten
    times the additions of the 23 taps.
    """
    reach, (height, width) = kernel.shape[1] - 1, images.shape[2:]
    # PyTorch 2.11 traces strides of padded channels-last images that a CPU does not give them.
    images = images.contiguous()
    for axis, side, pad in ((3, width, (reach, reach, 0, 0)), (2, height, (0, 0, reach, reach))):
        source = F.pad(images, pad, mode="reflect")
        images = source.narrow(axis, reach, side) * _spread(kernel[:, 0])
        for tap in range(1, reach + 1):
            pair = source.narrow(axis, reach - tap, side) + source.narrow(axis, reach + tap, side)
            images = images.addcmul(pair, _spread(kernel[:, tap]))
        # Tells a compiler to store the sums: fused into the next axis, it would store each term.
        images = images.as_strided(images.shape, images.stride())
    return images.clamp(0, 1)
