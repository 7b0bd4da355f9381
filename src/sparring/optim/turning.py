"""A step by a stated angle, for parameters whose rows are directions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def turned(
    rows: Float[Tensor, "rows dim"], gradients: Float[Tensor, "rows dim"], *, degrees: float
) -> Float[Tensor, "rows dim"]:
    """Unit rows, each turned against its gradient by an angle, whatever the gradient's size.

    n cos(a) - d sin(a),   n = w / |w|,  d = (g - (g.n) n) / |g - (g.n) n|

    A row whose gradient has no part across it stays where it is.

    Args:
        rows: vectors w, none of them zero.
        gradients: gradient g of the loss with respect to each row.
        degrees: angle a.
    """
    unit = torch.nn.functional.normalize(rows, dim=1)
    # Gradients are often tiny: their squares would vanish in float32.
    scaled = gradients / gradients.abs().amax(dim=1, keepdim=True).clamp(min=1e-37)
    across = scaled - (scaled * unit).sum(dim=1, keepdim=True) * unit
    length = across.norm(dim=1, keepdim=True)
    angle = math.radians(degrees)
    moved = unit * math.cos(angle) - across / length * math.sin(angle)
    # Renormalised, so that rounding does not add up over steps.
    return torch.where(length > 1e-6, torch.nn.functional.normalize(moved, dim=1), unit)
