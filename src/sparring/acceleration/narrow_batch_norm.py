"""Batch norm for few channels on a CPU: the result of PyTorch's, computed faster and more
precisely.

PyTorch's batch norm is slow if a pixel's channels do not fill a cache line, because it vectorises
over channels and its threads share cache lines. If the same memory is viewed as fewer pixels with
several copies of each channel, it runs at full speed; the sums of the copies are added afterwards.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FEW = 16
"""Channels below which a pixel does not fill a cache line of 64 bytes."""

_LANES = 64
_LARGE = 2**18
"""Number of elements of a batch from which on the faster computation pays."""

Channels = Float[Tensor, " channels"]
Images = Float[Tensor, "batch channels height width"]


class NarrowBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that is faster for large channels-last batches on a CPU in training mode;
    otherwise, and where it is compiled, it behaves like its parent."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise images, with the parent's result up to rounding."""
        if (
            self.momentum is None
            or self.running_mean is None
            or self.running_var is None
            or torch.compiler.is_compiling()
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


def with_narrow_batch_norms(module: nn.Module) -> None:
    """Replace every `nn.BatchNorm2d` of fewer than 16 channels by a `NarrowBatchNorm2d`.

    The module is changed in place, like by `nn.SyncBatchNorm.convert_sync_batchnorm`: parameters,
    buffers and names in the state dict stay the same.

    Args:
        module: module whose layers are replaced.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d and child.num_features < FEW:
                setattr(parent, name, _narrow(child))


def _narrow(norm: nn.BatchNorm2d) -> NarrowBatchNorm2d:
    """`NarrowBatchNorm2d` with the settings, parameters and buffers of a layer."""
    layer = NarrowBatchNorm2d(
        norm.num_features, eps=norm.eps, momentum=norm.momentum, device="meta"
    )
    layer.affine, layer.track_running_stats = norm.affine, norm.track_running_stats
    layer.weight, layer.bias = norm.weight, norm.bias
    layer.running_mean, layer.running_var = norm.running_mean, norm.running_var
    layer.num_batches_tracked = norm.num_batches_tracked
    return layer.train(norm.training)


class _Normalise(torch.autograd.Function):
    """Autograd function that normalises by the batch's statistics, scales and shifts."""

    @staticmethod
    def forward(
        ctx: Any, images: Images, weight: Channels, bias: Channels, eps: float
    ) -> tuple[Images, Channels, Channels]:
        """Compute the output, and the batch's mean and biased variance, which have no gradients."""
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
        """Compute the gradients of images, weight and bias."""
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
    """Number of copies of each channel: as many as fit 64 lanes, and a power of two, so that pixels
    can usually be divided evenly."""
    return 1 << (_LANES // channels).bit_length() - 1


def _regrouped(images: Images, lanes: int) -> Float[Tensor, "1 lanes pixels 1"]:
    """View of the same memory as pixels of the given number of elements."""
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
