"""A scalar with a precomputed gradient, so that autograd does not compute it again."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor, gradient: Tensor) -> Tensor:
        """Return the value."""
        ctx.gradient = gradient
        return value.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[None, Tensor, None]:
        """Return the gradient, scaled by the gradient of the value."""
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError(
                "a value with a given gradient can be differentiated once; compute it again"
            )
        return None, gradient.mul_(outer), None


def with_gradient(
    value: Float[Tensor, ""], source: Float[Tensor, "*shape"], gradient: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Scalar that has the given value, and the given gradient with respect to `source`.

    It can be differentiated only once, because the backward pass scales the gradient in place: for
    a large bank, a copy would cost a tenth of the loss's time.

    Args:
        value: detached scalar.
        source: tensor that the gradient flows to.
        gradient: gradient with respect to `source`; overwritten, so nothing else may use it.
    """
    result: Tensor = _WithGradient.apply(value, source, gradient)
    return result
