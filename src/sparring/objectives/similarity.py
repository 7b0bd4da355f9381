"""Cosine similarity: the one place where rows are normalised."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TINY = 1e-12
"""Lower bound of the norm; small compared with any embedding, large compared with float32's
denormals."""


def unit_rows(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """Rows divided by their Euclidean norms."""
    return F.normalize(rows, dim=1, eps=TINY)


def cosine(
    left: Float[Tensor, "left dim"], right: Float[Tensor, "right dim"]
) -> Float[Tensor, "left right"]:
    """Cosine of every left row with every right row, in [-1, 1]."""
    return unit_rows(left) @ unit_rows(right).T
