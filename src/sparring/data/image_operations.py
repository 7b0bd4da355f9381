"""Pixel operations on batches, each sample with its own parameters, each equal to torchvision's on a single image.

Images are kept as planes, (channels, batch, height, width): a colour operation then reads and writes whole contiguous
channels, which on a CPU is the difference between vector code and strided loops. Values are in [0, 1].
"""

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

Planes = Float[Tensor, "3 batch height width"]

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R BT.601, in torchvision's rounding."""


def resize_weights(
    start: Int[Tensor, "batch"], length: Int[Tensor, "batch"], *, source: int, target: int
) -> Float[Tensor, "batch target source"]:
    """Matrices that cut [start, start + length) out of `source` pixels and resize it to `target`, antialiased.

    Row i is the triangle of half-width max(length / target, 1) around the centre of output pixel i, cut off at the
    borders of the box and normalised to one.
    """
    start, length = start.float()[:, None, None], length.float()[:, None, None]
    step = length / target
    centres = start + step * (torch.arange(target, device=start.device)[:, None] + 0.5)
    pixels = torch.arange(source, device=start.device) + 0.5
    weights = (pixels - centres).abs_().div_(step.clamp_min(1)).neg_().add_(1).clamp_min_(0)
    weights.mul_((pixels > start) & (pixels < start + length))
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def resized_crop(
    images: UInt8[Tensor, "batch 3 height width"],
    box: Int[Tensor, "batch 4"],
    flip: Bool[Tensor, "batch"],
    *,
    size: int,
) -> Planes:
    """Box (top, left, height, width) of each image at size x size, mirrored where `flip` says so.

    Two matrix products per image; mirroring reverses the columns of one of them and so costs nothing.
    """
    batch, channels, height, width = images.shape
    rows = resize_weights(box[:, 0], box[:, 2], source=height, target=size).div_(255)
    columns = resize_weights(box[:, 1], box[:, 3], source=width, target=size)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    narrow = torch.bmm(images.float().view(batch, channels * height, width), columns.transpose(1, 2))
    narrow = narrow.view(batch, channels, height, size)
    planes = torch.empty(channels, batch, size, size, device=images.device)
    for channel in range(channels):
        torch.bmm(rows, narrow[:, channel], out=planes[channel])
    return planes.clamp_(0, 1)  # sums of weights may exceed one by a rounding error


def flipped(images: UInt8[Tensor, "batch 3 height width"], flip: Bool[Tensor, "batch"]) -> Planes:
    """Images in [0, 1] as planes, mirrored where `flip` says so."""
    planes = images.transpose(0, 1).float().div_(255)
    return torch.where(flip[:, None, None], planes.flip(-1), planes)


def grey(planes: Planes) -> Float[Tensor, "batch height width"]:
    """Brightness of each pixel."""
    red, green, blue = planes.unbind()
    return torch.mul(red, LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def blended(
    planes: Planes, *, keep: Float[Tensor, "batch"], to_grey: Float[Tensor, "batch"], to_mean: Float[Tensor, "batch"]
) -> Planes:
    """clamp(keep * image + to_grey * grey(image) + to_mean * mean(grey(image))), each weight per sample.

    With factor f: brightness is (f, 0, 0), contrast (f, 0, 1 - f), saturation (f, 1 - f, 0). One form for the three
    lets samples that are at different operations of their jitter share a pass.
    """
    luma = grey(planes)
    level = (to_mean * luma.mean(dim=(1, 2)))[:, None, None]
    luma.mul_(to_grey[:, None, None]).add_(level)
    return torch.addcmul(luma, planes, keep[:, None, None]).clamp_(0, 1)


def hue_shifted(planes: Planes, shift: Float[Tensor, "batch"]) -> Planes:
    """Images whose hue moved by `shift` turns of the colour circle; saturation and value of HSV stay.

    With hue h in turns: red = low + chroma * clamp(6 |h - 1/2| - 1, 0, 1), green and blue = low + chroma *
    clamp(2 - 6 |h - c|, 0, 1) with c = 1/3 and 2/3; algebraically equal to the six cases of the textbook.
    """
    red, green, blue = planes.unbind()
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    chroma = high - low
    is_red, is_green = high == red, high == green
    numerator = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    sector = torch.where(is_red, 1.0, torch.where(is_green, 4 / 3, 5 / 3))  # one turn more keeps it positive for frac
    # A grey pixel has numerator 0 and chroma 0: any guard gives hue 0, which chroma 0 then hides.
    turns = numerator.div_(torch.clamp_min(chroma, 1e-30)).div_(6).add_(sector).add_((shift + 1)[:, None, None]).frac_()
    result = torch.empty_like(planes)
    for channel, (centre, slope, offset) in enumerate(((1 / 2, 6, -1), (1 / 3, -6, 2), (2 / 3, -6, 2))):
        weight = torch.sub(turns, centre).abs_().mul_(slope).add_(offset).clamp_(0, 1)
        torch.addcmul(low, chroma, weight, out=result[channel])
    return result


def blur_kernel_size(size: int) -> int:
    """Taps of the Gaussian blur for a view of this side: a tenth of it, the next odd number, at least 3.

    Source: Chen et al. 2020 (SimCLR), arXiv:2002.05709, appendix A (10 % of the side; 23 at 224).

    Example:
        >>> [blur_kernel_size(size) for size in (32, 64, 96, 224)]
        [3, 7, 9, 23]
    """
    return max(3, size // 10 // 2 * 2 + 1)


def gaussian_blurred(planes: Planes, sigma: Float[Tensor, "batch"], *, kernel_size: int) -> Planes:
    """Images blurred by a separable Gaussian of standard deviation `sigma` pixels, borders mirrored."""
    reach = kernel_size // 2
    taps = torch.arange(reach + 1, device=planes.device)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    kernel = (kernel / (2 * kernel.sum(dim=1) - kernel[:, 0])[:, None])[:, :, None, None]
    for dim in (2, 3):
        pad = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
        length = planes.shape[dim]
        padded = F.pad(planes, pad, mode="reflect")
        planes = padded.narrow(dim, reach, length) * kernel[:, 0]
        for tap in range(1, reach + 1):
            pair = padded.narrow(dim, reach - tap, length) + padded.narrow(dim, reach + tap, length)
            planes.addcmul_(pair, kernel[:, tap])
    return planes.clamp_(0, 1)


def solarised(planes: Planes, *, threshold: float) -> Planes:
    """Images whose values from the threshold on are inverted."""
    return torch.where(planes >= threshold, 1 - planes, planes)
