"""Pixel operations on batches with parameters per sample.

Each equals torchvision's on a single image.

Images are planes, (channels, batch, height, width), so that a colour operation reads and writes
whole contiguous channels: vector code instead of strided loops on a CPU. Values are in [0, 1].
"""

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

Planes = Float[Tensor, "bands batch height width"]

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R BT.601, rounded as in torchvision."""


def resize_weights(
    start: Int[Tensor, "batch"],
    length: Int[Tensor, "batch"],
    mirror: Bool[Tensor, "batch"],
    *,
    source: int,
    target: int,
) -> Float[Tensor, "batch target source"]:
    """Matrices that cut a range out of `source` pixels and resize it to `target`, antialiased.

    The range is [start, start + length).

    Row i is the triangle of half-width max(length / target, 1) around the centre of output pixel i,
    cut off at the borders of the box and normalised to sum to one. Mirroring reverses the rows at
    no cost.
    """
    start, length, mirror = (
        start.float()[:, None, None],
        length.float()[:, None, None],
        mirror[:, None, None],
    )
    step = length / target
    halfwidth = step.clamp_min(1)
    places = torch.arange(target, device=start.device)[:, None] + 0.5
    centres = start + step * torch.where(mirror, target - places, places)
    pixels = torch.arange(source, device=start.device) + 0.5
    # Pixels outside the box are moved to infinity, which masks the small tensor, not the large one.
    pixels = torch.where(
        (pixels > start) & (pixels < start + length), pixels / halfwidth, torch.inf
    )
    weights = (pixels - centres / halfwidth).abs_().neg_().add_(1).clamp_min_(0)
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def resized_crop(
    images: UInt8[Tensor, "batch bands height width"],
    box: Int[Tensor, "batch 4"],
    flip: Bool[Tensor, "batch"],
    *,
    size: int,
) -> Float[Tensor, "bands batch size size"]:
    """Crops of images, resized to size x size and mirrored where `flip` is set.

    Computed as two matrix products per image.

    Args:
        images: uint8 images.
        box: top, left, height and width of each crop in pixels.
        flip: whether to mirror each image.
        size: side of the result in pixels.
    """
    batch, channels, height, width = images.shape
    top, left, box_height, box_width = box.unbind(1)
    rows = resize_weights(top, box_height, torch.zeros_like(flip), source=height, target=size)
    columns = resize_weights(left, box_width, flip, source=width, target=size).div_(255)
    narrow = torch.bmm(
        images.float().view(batch, channels * height, width), columns.transpose(1, 2)
    )
    narrow = narrow.view(batch, channels, height, size)
    planes = torch.empty(channels, batch, size, size, device=images.device)
    for channel in range(channels):
        torch.bmm(rows, narrow[:, channel], out=planes[channel])
    return planes.clamp_(0, 1)  # weights may sum to slightly more than one


def flipped(
    images: UInt8[Tensor, "batch bands height width"], flip: Bool[Tensor, "batch"]
) -> Planes:
    """Images in [0, 1] as planes, mirrored where `flip` (on the CPU) is set."""
    batch, channels, height, width = images.shape
    planes = torch.empty(channels, batch, height, width, device=images.device)
    # Channel by channel, so that no copy interleaves channels, whatever the memory format.
    for channel in range(channels):
        planes[channel].copy_(images[:, channel])
    planes.div_(255)
    if flip.all():
        return planes.flip(-1)
    return (
        torch.where(flip.to(planes.device)[:, None, None], planes.flip(-1), planes)
        if flip.any()
        else planes
    )


def grey(planes: Planes) -> Float[Tensor, "batch height width"]:
    """Luma of each pixel: the weighted mean of red, green and blue."""
    red, green, blue = planes.unbind()
    return torch.mul(red, LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def brightness(planes: Planes) -> Float[Tensor, "batch height width"]:
    """Luma of colours; the plain mean of any other number of channels."""
    return grey(planes) if len(planes) == len(LUMA) else planes.mean(dim=0)


def blend(
    planes: Planes,
    *,
    keep: Float[Tensor, "batch"],
    to_grey: Float[Tensor, "batch"],
    to_mean: Float[Tensor, "batch"],
) -> None:
    """Replace each image by a blend with its grey image and its mean grey.

    clamp(keep * image + to_grey * grey(image) + to_mean * mean(grey(image)), 0, 1)

    With factor f: brightness is (f, 0, 0), contrast (f, 0, 1 - f), saturation (f, 1 - f, 0). One
    form for the three lets samples at different operations of their jitter share a pass; terms that
    no sample needs are skipped.

    Args:
        planes: changed in place.
        keep: weight of the image, on the CPU like the others.
        to_grey: weight of the grey image.
        to_mean: weight of the mean of the grey image.
    """
    factor, is_grey, is_mean = (
        keep.to(planes.device)[:, None, None],
        bool(to_grey.any()),
        bool(to_mean.any()),
    )
    if is_grey or is_mean:
        luma = brightness(planes)
        level = (to_mean.to(planes.device) * luma.mean(dim=(1, 2)))[:, None, None]
        ground = (
            luma.mul_(to_grey.to(planes.device)[:, None, None]).add_(level) if is_grey else level
        )
        planes.mul_(factor).add_(ground).clamp_(0, 1)
    else:
        planes.mul_(factor).clamp_(0, 1)


def shift_hue(planes: Planes, shift: Float[Tensor, "batch"]) -> None:
    """Shift the hue of each image by `shift` turns of the colour circle.

    Saturation and value of HSV stay.

    h = sign(g - b) (1 + (g + b - r - low) / chroma), in sixths of a turn from red
    h' = h + 6 shift mod 6
    r', g', b' = low + chroma * (clamp(|h' - 3| - 1), clamp(2 - |h' - 2|), clamp(2 - |h' - 4|))

    Algebraically equal to the six cases of the textbook, but without masks: on a CPU a comparison
    or `where` costs as much as five additions.
    """
    red, green, blue = planes.unbind()
    low = torch.minimum(torch.minimum(red, green), blue)
    # A grey pixel has chroma 0 and numerator 0; the floor gives it some hue, with weight 1e-30.
    chroma = torch.maximum(torch.maximum(red, green), blue).sub_(low).clamp_min_(1e-30)
    sixths = torch.add(green, blue).sub_(red).sub_(low).div_(chroma).add_(1).copysign_(green - blue)
    # + 1 because frac keeps the sign.
    sixths = torch.add((shift + 1)[:, None, None], sixths, alpha=1 / 6).frac_().mul_(6)
    torch.addcmul(low, chroma, torch.sub(sixths, 3).abs_().sub_(1).clamp_(0, 1), out=red)
    torch.addcmul(low, chroma, torch.sub(sixths, 2).abs_().neg_().add_(2).clamp_(0, 1), out=green)
    torch.addcmul(low, chroma, sixths.sub_(4).abs_().neg_().add_(2).clamp_(0, 1), out=blue)


def blur_kernel_size(size: int) -> int:
    """Taps of the Gaussian blur for a view of this side.

    A tenth of the side, rounded to an odd number, at least 3.

    Source: Chen et al. 2020 (SimCLR), arXiv:2002.05709, appendix A (10 % of the side; 23 at 224).

    Example:
        >>> [blur_kernel_size(size) for size in (32, 64, 96, 224)]
        [3, 7, 9, 23]
    """
    return max(3, size // 10 // 2 * 2 + 1)


NEGLIGIBLE = 2.0**-20
"""Share of the central tap below which taps are skipped: together they weigh a thousandth of a grey
level at most."""


def gaussian_blurred(planes: Planes, sigma: Float[Tensor, "batch"], *, kernel_size: int) -> Planes:
    """Square images blurred by a separable Gaussian, borders mirrored.

    Rows with their mirrored borders are contiguous in memory, so that a neighbour is at a fixed
    offset and a sum over neighbours is a sum over long contiguous stretches. The values computed
    for the borders are dropped at the end.

    Args:
        planes: square images.
        sigma: standard deviation per image in pixels, > 0, on the CPU.
        kernel_size: taps, odd.
    """
    taps = torch.exp(-0.5 * (torch.arange(kernel_size // 2 + 1) / sigma[:, None]) ** 2)
    taps = torch.where(taps < NEGLIGIBLE, 0, taps)
    kernel = (taps / (2 * taps.sum(dim=1) - taps[:, 0])[:, None]).to(planes.device)
    side, reach = planes.shape[-1], int(taps.any(dim=0).sum()) - 1
    width = side + 2 * reach
    source = F.pad(planes, (reach,) * 4, mode="reflect").flatten(2)
    for neighbour in (1, width):
        length = source.shape[-1] - 2 * reach * neighbour
        blurred = source.narrow(-1, reach * neighbour, length) * kernel[:, :1]
        for tap in range(1, reach + 1):
            pair = source.narrow(-1, (reach - tap) * neighbour, length) + source.narrow(
                -1, (reach + tap) * neighbour, length
            )
            blurred.addcmul_(pair, kernel[:, tap, None])
        source = blurred
    return source.as_strided(
        (*source.shape[:2], side, side), (*source.stride()[:2], width, 1)
    ).clamp(0, 1)


def solarised(planes: Planes, *, threshold: float) -> Planes:
    """Images whose values from the threshold on are inverted: |[x >= threshold] - x|."""
    return planes.clone().ge_(threshold).sub_(planes).abs_()  # without a mask, see `shift_hue`
