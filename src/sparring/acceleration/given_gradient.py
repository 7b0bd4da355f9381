"""A scalar whose gradient was computed beside it, where autograd would compute it again."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor, gradient: Tensor) -> Tensor:
        """The value."""
        ctx.gradient = gradient
        return value.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[None, Tensor, None]:
        """The gradient, scaled by what stands around the value."""
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

    It can be differentiated once: that scales the gradient where it lies, as a copy of a large
    bank's costs a tenth of a look at it.

    Args:
        value: detached.
        source: what the gradient reaches.
        gradient: handed over, so it must be nobody else's.
    """
    result: Tensor = _WithGradient.apply(value, source, gradient)
    return result
