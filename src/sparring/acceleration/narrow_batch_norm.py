"""Batch norm of few channels on a CPU, faster and more exact than PyTorch's.

PyTorch's batch norm is slow if a pixel's channels do not fill a cache line, because its vectors run
over channels and its threads share lines. The same memory, viewed as fewer pixels with several
copies of each channel, runs at full speed; the sums of the copies are combined afterwards.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FEW = 16
"""Number of channels from which on a pixel fills a cache line of 64 bytes."""

_LANES = 64
_LARGE = 2**18
"""Elements of a batch from which on the fast path pays."""

Channels = Float[Tensor, " channels"]
Images = Float[Tensor, "batch channels height width"]


class NarrowBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that is faster on large channels-last batches in training on a CPU.

    Otherwise like its parent.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised images, equal to the parent's up to rounding."""
        if (
            self.momentum is None
            or self.running_mean is None
            or self.running_var is None
            or not self._is_worth_it(input)
        ):
            return super().forward(input)
        output: Tensor
        output, mean, variance = _Normalise.apply(input, self.weight, self.bias, self.eps)
        pixels = input.numel() // self.num_features
        with torch.no_grad():
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (pixels / (pixels - 1)), self.momentum)
        return output

    def _is_worth_it(self, images: Tensor) -> bool:
        is_usual = (
            self.training
            and self.affine
            and images.device.type == "cpu"
            and images.dtype == torch.float32 == self.weight.dtype
        )
        is_large = (
            images.ndim == 4
            and images.numel() >= _LARGE
            and images.numel() % (self.num_features * _copies(self.num_features)) == 0
        )
        return is_usual and is_large and images.is_contiguous(memory_format=torch.channels_last)


def quicken_narrow_norms(module: nn.Module) -> None:
    """Make every narrow `nn.BatchNorm2d` below a module a `NarrowBatchNorm2d`, in place.

    Narrow means fewer than 16 channels. Names and state stay.
    """
    for child in module.modules():
        if type(child) is nn.BatchNorm2d and child.num_features < FEW:
            child.__class__ = NarrowBatchNorm2d


class _Normalise(torch.autograd.Function):
    """Normalise by the statistics of the batch, scale and shift."""

    @staticmethod
    def forward(
        ctx: Any, images: Images, weight: Channels, bias: Channels, eps: float
    ) -> tuple[Images, Channels, Channels]:
        """Output, and the batch's mean and biased variance, which have no gradients."""
        copies = _copies(len(weight))
        wide = _regrouped(images, copies * len(weight))
        means, variances = (
            statistic.view(copies, -1)
            for statistic in torch.batch_norm_update_stats(wide, None, None, 0.0)
        )
        mean = means.mean(dim=0)
        variance = (variances + (means - mean).square()).mean(dim=0)
        ctx.save_for_backward(images, weight, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return (
            _affine(
                images,
                *(vector.repeat(copies) for vector in (weight, bias, mean, variance)),
                eps=eps,
            ),
            mean,
            variance,
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Images, *_: Tensor) -> tuple[Images, Channels, Channels, None]:
        """Gradients of images, weight and bias."""
        images, weight, mean, variance = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        copies, pixels, rate = (
            _copies(len(weight)),
            images.numel() // len(weight),
            (variance + ctx.eps).rsqrt(),
        )
        wide, wide_grad = (_regrouped(tensor, copies * len(weight)) for tensor in (images, grad))
        repeated = (vector.repeat(copies) for vector in (weight, mean, variance))
        sums = torch.ops.aten.native_batch_norm_backward(
            wide_grad, wide, *repeated, None, None, False, ctx.eps, [False, True, True]
        )
        grad_weight, grad_bias = (total.view(copies, -1).sum(dim=0) for total in sums[1:])
        # The images' gradient is weight * rate * (grad - mean of grad - normalised * mean of grad *
        # normalised): linear in grad and images.
        slope = -weight * rate.square() * grad_weight / pixels
        shift = -weight * rate * grad_bias / pixels - slope * mean
        unscaled = torch.zeros_like(mean), torch.ones_like(mean)
        result = _affine(
            grad, *(vector.repeat(copies) for vector in (weight * rate, shift, *unscaled)), eps=0.0
        )
        _regrouped(result, copies * len(weight)).addcmul_(
            wide, slope.repeat(copies).view(1, -1, 1, 1)
        )
        return result, grad_weight, grad_bias, None


def _copies(channels: int) -> int:
    """Number of copies that fit into 64 lanes, a power of two so that pixels usually divide
    evenly."""
    return 1 << (_LANES // channels).bit_length() - 1


def _regrouped(images: Images, lanes: int) -> Float[Tensor, "1 lanes pixels 1"]:
    """View of the same memory as pixels of `lanes` numbers each."""
    return images.permute(0, 2, 3, 1).view(1, -1, 1, lanes).permute(0, 3, 1, 2)


def _affine(
    images: Images, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, eps: float
) -> Images:
    """(images - mean) / sqrt(variance + eps) * weight + bias, per channel of the regrouped
    images."""
    result, unused = torch.empty_like(images, memory_format=torch.channels_last), torch.empty(0)
    wide, place = _regrouped(images, len(weight)), _regrouped(result, len(weight))
    torch.native_batch_norm(
        wide, weight, bias, mean, variance, False, 0.0, eps, out=(place, unused, unused)
    )
    return result
