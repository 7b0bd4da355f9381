"""Alignment objectives: distance of predictions from their targets; no negatives.

Both take raw embeddings and normalise inside. Neither stops a gradient: the method detaches its
targets.
"""

from jaxtyping import Float
from torch import Tensor

from sparring.objectives.similarity import unit_rows


def negative_cosine(
    prediction: Float[Tensor, "batch dim"], target: Float[Tensor, "batch dim"]
) -> Float[Tensor, ""]:
    """Minus the mean cosine of each prediction with its target, in [-1, 1].

    -mean_i p_i.z_i, unit rows p, z

    Args:
        prediction: online embeddings, as the predictor gives them.
        target: target embeddings; prediction i should point in the direction of row i.

    Source: Chen & He 2020, arXiv:2011.10566, eq. 1.
    """
    return -(unit_rows(prediction) * unit_rows(target)).sum(dim=1).mean()


def normalised_regression(
    prediction: Float[Tensor, "batch dim"], target: Float[Tensor, "batch dim"]
) -> Float[Tensor, ""]:
    """Mean squared distance of unit predictions from their unit targets, in [0, 4].

    mean_i |p_i - z_i|^2 = 2 - 2 mean_i p_i.z_i, unit rows p, z

    Args:
        prediction: online embeddings, as the predictor gives them.
        target: target embeddings; prediction i should equal row i.

    Source: Grill et al. 2020, arXiv:2006.07733, eq. 2.
    """
    return 2 + 2 * negative_cosine(prediction, target)
