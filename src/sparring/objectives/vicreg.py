"""VICReg's three terms: alignment of two views, and a spread of each batch; no negatives.

All take raw embeddings; nothing is normalised. The terms of a batch want all rows of the joint
batch, with gradient.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TINY = 1e-4
"""Added to a variance before its root, as published; so the gradient is finite at 0."""


def invariance(
    first: Float[Tensor, "batch dim"], second: Float[Tensor, "batch dim"]
) -> Float[Tensor, ""]:
    """Mean squared difference of the two embeddings of an image, over images and dimensions.

    mean_ij (z_ij - z'_ij)^2

    Args:
        first: embeddings of the first view.
        second: row i shows the image of row i of `first`.

    Source: Bardes et al. 2022, arXiv:2105.04906, eq. 5, divided by the dimension as in the released
    code.
    """
    return F.mse_loss(first, second)


def variance_hinge(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Mean shortfall of each dimension's standard deviation from 1.

    mean_j max(0, 1 - sqrt(Var(z_.j) + 1e-4)), the unbiased variance over the batch

    Args:
        embeddings: of one view of at least two images.

    Source: Bardes et al. 2022, arXiv:2105.04906, eq. 1 and 2.
    """
    return F.relu(1 - (embeddings.var(dim=0) + TINY).sqrt()).mean()


def covariance(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Sum of the squared covariances of different dimensions, divided by the dimension.

    (1 / d) sum_{j != k} C_jk^2,   C = sum_i (z_i - mean)(z_i - mean)^T / (n - 1)

    Args:
        embeddings: of one view of at least two images.

    Source: Bardes et al. 2022, arXiv:2105.04906, eq. 3 and 4.
    """
    centred = embeddings - embeddings.mean(dim=0)
    matrix = centred.T @ centred / (len(embeddings) - 1)
    return 2 * matrix.triu(diagonal=1).square().sum() / embeddings.shape[1]
