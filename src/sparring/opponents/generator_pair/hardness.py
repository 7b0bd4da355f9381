"""Hardness of a pair of generated images, and the penalties that keep the game well posed.

Pure functions of embeddings, which are normalised inside. A generator that maximises hardness alone
has two degenerate solutions: the same image for every latent, and pairs of opposites.
`diversity_loss` penalises the first, `fence` the second.

Source: after Wu et al. 2022, arXiv:2202.06464; the forms are our reconstruction, not verified (its
body was not available to us).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sparring.objectives.similarity import cosine, unit_rows


def hardness(
    first: Float[Tensor, "batch dim"],
    second: Float[Tensor, "batch dim"],
    real: Float[Tensor, "real dim"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Contrastive loss of generated pairs among real images, in both directions; the generators
    maximise it.

    mean_i [ -s_i / t + log( exp(s_i / t) + sum_r exp(u_i.r / t) ) ],   s_i = u_i.u_i'

    u are unit rows of `first`, u' of `second`; the value is averaged with that for u' in place of u
    in the sum.

    Args:
        first: embeddings of augmented images from one generator.
        second: embeddings from the other generator; row i has the same latent as row i of `first`.
        real: embeddings of real images, the only negatives.
        temperature: t > 0.
    """
    similarity = pair_similarity(first, second)[:, None]
    losses = []
    for side in (first, second):
        logits = torch.cat([similarity, cosine(side, real)], dim=1) / temperature
        losses.append(
            F.cross_entropy(logits, torch.zeros(len(side), dtype=torch.long, device=side.device))
        )
    return (losses[0] + losses[1]) / 2


def pair_similarity(
    first: Float[Tensor, "batch dim"], second: Float[Tensor, "batch dim"]
) -> Float[Tensor, "batch"]:
    """Cosine of each row with its partner, in [-1, 1]."""
    return (unit_rows(first) * unit_rows(second)).sum(dim=1)


def fence(similarity: Float[Tensor, "batch"], *, floor: float) -> Float[Tensor, ""]:
    """Penalty of pairs less similar than a floor: mean_i max(0, floor - s_i)^2."""
    return F.relu(floor - similarity).square().mean()


def crowding(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Mean cosine of different rows; 1: the encoder gives all images the same embedding."""
    count = len(embeddings)
    return (unit_rows(embeddings).sum(dim=0).square().sum() - count) / (count * (count - 1))


def diversity_loss(made: Float[Tensor, ""], real: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Penalty of generated images more similar to each other than real ones: max(0, crowding(made)
    - crowding(real))^2."""
    return F.relu(made - real).square()


def similarity_floor(fraction: float, *, end: float, reached_at: float = 0.7) -> float:
    """Smallest allowed similarity of a pair at a fraction of the joint training: linear from 1 to
    `end`, then constant.

    Example:
        >>> [similarity_floor(fraction, end=0.7) for fraction in (0.0, 0.35, 0.7, 1.0)]
        [1.0, 0.85, 0.7, 0.7]
    """
    return 1.0 + (end - 1.0) * min(1.0, fraction / reached_at)
