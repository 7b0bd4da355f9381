"""The album: what a pair of generators made of the same latents over the joint training, and how
real it was."""

import torch
from torch import Tensor, nn

from sparring.data.images import Images
from sparring.opponents.generator_pair.networks import Generator
from sparring.opponents.generator_pair.pair import Pair
from sparring.opponents.generator_pair.realism import (
    Gaussian,
    frechet_distance,
    gaussian,
    random_features,
)
from sparring.seeding import generator

MOMENTS = 8
"""Pictures taken over the joint training, at equal distances from its first step."""
SHOWN = 12
"""Pairs per picture."""
MEASURED = 500
"""Latents whose images are measured."""
REAL = 2000
"""Real images with which they are compared, at most."""
UNKNOWN = -1.0


class Album(nn.Module):
    """Pictures of pairs, and their Frechet distance from real images on random features; part of a
    checkpoint.

    Args:
        image_size: side of the images.
    """

    pictures: Tensor
    """uint8, (moments, 2, pairs, 3, size, size)."""
    is_taken: Tensor
    mean: Tensor
    covariance: Tensor
    distances: Tensor
    """Of the generated images as measured last, and of one half of the real ones from the other;
    -1: not known."""

    def __init__(self, *, image_size: int) -> None:
        super().__init__()
        self.register_buffer(
            "pictures", torch.zeros(MOMENTS, 2, SHOWN, 3, image_size, image_size, dtype=torch.uint8)
        )
        self.register_buffer("is_taken", torch.zeros(MOMENTS, dtype=torch.bool))
        self.register_buffer("mean", torch.zeros(64))
        self.register_buffer("covariance", torch.zeros(64, 64))
        self.register_buffer("distances", torch.full((2,), UNKNOWN))

    @torch.no_grad()
    def learn(self, dataset: Images) -> None:
        """Measure real images, a random part of them."""
        order = torch.randperm(len(dataset), generator=generator(0, "album"))[:REAL]
        features = random_features(dataset.images(order).float() / 255)
        real = gaussian(features)
        self.mean.copy_(real.mean)
        self.covariance.copy_(real.covariance)
        half = len(order) // 2
        self.distances[1] = frechet_distance(gaussian(features[:half]), gaussian(features[half:]))

    @torch.no_grad()
    def note(self, pair: Pair, fraction: float) -> dict[str, Tensor]:
        """Take the picture of this moment of the joint training unless it is taken, and say how
        real the images are."""
        moment = min(int(fraction * MOMENTS), MOMENTS - 1)
        if not self.is_taken[moment]:
            self.is_taken[moment] = True
            images = pair(_latents(pair.first, SHOWN))
            self.pictures[moment].copy_(torch.stack([(255 * side).round() for side in images]))
            if self.distances[1] >= 0:
                made = torch.cat(pair(_latents(pair.first, MEASURED))).float().cpu()
                real = Gaussian(self.mean.double().cpu(), self.covariance.double().cpu())
                self.distances[0] = frechet_distance(gaussian(random_features(made)), real)
        if self.distances[0] < 0:
            return {}
        return {
            "generator_pair/frechet": self.distances[0].clone(),
            "generator_pair/frechet_real": self.distances[1].clone(),
        }


def _latents(maker: Generator, count: int) -> Tensor:
    """The same ones at every moment, in all processes."""
    return torch.randn(count, maker.latent, generator=generator(0, "album latents")).to(
        next(maker.parameters())
    )
