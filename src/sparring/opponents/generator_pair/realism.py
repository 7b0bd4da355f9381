"""Distance of generated images from real ones: a Frechet distance like FID's, on cheap random
features.

The features are those of a small convolutional network with fixed random weights: no download, no
training, a few milliseconds. They describe edges, colours and layout, not objects. Values are
comparable with each other at one image size, but not with FID in the literature. Report them next
to their floor, the distance between two halves of the real images.

Source: the distance is Heusel et al. 2017, arXiv:1706.08500; random features instead of Inception's
are our choice.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sparring.seeding import generator

CHANNELS = (32, 64, 64)
CHUNK = 250
CROWDED = 0.2
"""Excess of the mean cosine of generated images over that of real ones, above which they are too
similar."""


def crowding_warning(made: float | None, real: float | None) -> str | None:
    """A warning if the encoder hardly distinguishes generated images; None if it does, or if either
    mean cosine is unknown."""
    if made is None or real is None or made - real <= CROWDED:
        return None
    return (
        f"generated images are alike to the encoder (mean cosine {made:.2f}, of real ones "
        f"{real:.2f}), so they add little; "
        "raise generator_pair.pretraining.steps or generator_pair.diversity"
    )


@torch.no_grad()
def random_features(images: Float[Tensor, "images 3 size size"]) -> Float[Tensor, "images 64"]:
    """Features of images in [0, 1]: three strided convolutions with fixed random weights, averaged
    over space."""
    draws, weights, inputs = generator(0, "realism"), [], 3
    for outputs in CHANNELS:
        weights.append(
            torch.randn(outputs, inputs, 3, 3, generator=draws).to(images)
            * (2 / (9 * inputs)) ** 0.5
        )
        inputs = outputs
    features = []
    for part in torch.split((images - 0.5) / 0.25, CHUNK):
        for weight in weights[:-1]:
            part = F.relu(F.conv2d(part, weight, stride=2, padding=1))
        features.append(F.conv2d(part, weights[-1], stride=2, padding=1).mean(dim=(2, 3)))
    return torch.cat(features)


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of features, in double precision."""

    mean: Float[Tensor, "dim"]
    covariance: Float[Tensor, "dim dim"]


def gaussian(features: Float[Tensor, "images dim"]) -> Gaussian:
    """Mean and covariance of these features."""
    doubled = features.double()
    return Gaussian(doubled.mean(dim=0), torch.cov(doubled.T))


def frechet_distance(left: Gaussian, right: Gaussian) -> float:
    """Frechet distance |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians; 0 for equal ones.

    Source: Dowson & Landau 1982; Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """
    # The eigenvalues of C C' are those of the symmetric C^(1/2) C' C^(1/2).
    values, vectors = torch.linalg.eigh(left.covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ right.covariance @ root).clamp(min=0).sqrt().sum()
    apart = (left.mean - right.mean).square().sum()
    distance = apart + left.covariance.trace() + right.covariance.trace() - 2 * cross
    return max(0.0, float(distance))  # for equal ones it may round below 0
