"""Realism losses of a generator and its discriminator: pure functions of the discriminator's
outputs, which are higher for more real images."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def judge_hinge(real: Float[Tensor, "real"], made: Float[Tensor, "made"]) -> Float[Tensor, ""]:
    """Hinge loss of the discriminator: mean max(0, 1 - D(real)) + mean max(0, 1 + D(made)).

    Source: Lim & Ye 2017, arXiv:1705.02894; Tran et al. 2017.
    """
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def realism_loss(made: Float[Tensor, "made"]) -> Float[Tensor, ""]:
    """Realism loss of the generator: -mean D(made)."""
    return -made.mean()
