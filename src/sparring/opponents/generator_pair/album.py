"""Snapshots of a generator pair over the joint training: images of fixed latents, and their
realism."""

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
from sparring.transfers import rare_read

MOMENTS = 8
"""Number of snapshots over the joint training, equally spaced from its first step."""
SHOWN = 12
"""Pairs per snapshot."""
MEASURED = 500
"""Number of latents whose images are compared with real ones."""
REAL = 2000
"""Largest number of real images in that comparison."""
UNKNOWN = -1.0


class Album(nn.Module):
    """Snapshots of generated pairs, and their Frechet distance from real images on random features;
    part of a checkpoint.

    Args:
        image_size: side of the images in pixels.
    """

    pictures: Tensor
    """Snapshots, uint8 (moments, 2, pairs, 3, size, size)."""
    is_taken: Tensor
    mean: Tensor
    covariance: Tensor
    distances: Tensor
    """Frechet distances: of the generated images at the last snapshot, and between two halves of
    the real images; -1: not known."""

    def __init__(self, *, image_size: int) -> None:
        super().__init__()
        self.register_buffer(
            "pictures", torch.zeros(MOMENTS, 2, SHOWN, 3, image_size, image_size, dtype=torch.uint8)
        )
        self.register_buffer("is_taken", torch.zeros(MOMENTS, dtype=torch.bool))
        self.register_buffer("mean", torch.zeros(64))
        self.register_buffer("covariance", torch.zeros(64, 64))
        self.register_buffer("distances", torch.full((2,), UNKNOWN))
        self._seen: set[int] | None = None
        """Moments whose snapshot is taken, as the host remembers them; None: not read yet."""
        self._is_measured = False
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def learn(self, dataset: Images) -> None:
        """Measure a random part of the real images."""
        order = torch.randperm(len(dataset), generator=generator(0, "album"))[:REAL]
        features = random_features(dataset.images(order).float() / 255)
        real = gaussian(features)
        self.mean.copy_(real.mean)
        self.covariance.copy_(real.covariance)
        half = len(order) // 2
        self.distances[1] = frechet_distance(gaussian(features[:half]), gaussian(features[half:]))

    def start_over(self, images: Images, *, is_other: bool) -> bool:
        """Remove the snapshots of an earlier run, and measure the real images again if they are
        others; returns whether there were any."""
        was_used = bool(self.is_taken.any())
        self.pictures.zero_()
        self.is_taken.zero_()
        if is_other and self.distances[1] >= 0:
            self.learn(images)
        self.distances[0] = UNKNOWN
        self._seen, self._is_measured = None, False
        return was_used

    @torch.no_grad()
    def note(self, pair: Pair, fraction: float) -> dict[str, Tensor]:
        """Store the snapshot of this moment of the joint training unless it exists, and return
        metrics of the images' realism."""
        moment = min(int(fraction * MOMENTS), MOMENTS - 1)
        if self._seen is None or moment not in self._seen:
            with rare_read():
                self._take(pair, moment)
        if not self._is_measured:
            return {}
        return {
            "generator_pair/frechet": self.distances[0].clone(),
            "generator_pair/frechet_real": self.distances[1].clone(),
        }

    def _take(self, pair: Pair, moment: int) -> None:
        """Store the snapshot of a moment unless it exists."""
        if not self.is_taken[moment]:
            self.is_taken[moment] = True
            images = pair(_latents(pair.first, SHOWN))
            self.pictures[moment].copy_(torch.stack([(255 * side).round() for side in images]))
            if self.distances[1] >= 0:
                made = torch.cat(pair(_latents(pair.first, MEASURED))).float().cpu()
                real = Gaussian(self.mean.cpu().double(), self.covariance.cpu().double())
                self.distances[0] = frechet_distance(gaussian(random_features(made)), real)
        self._seen = set(self.is_taken.nonzero().flatten().tolist())
        self._is_measured = bool(self.distances[0] >= 0)


def _forget(album: nn.Module, _: object) -> None:
    """Let the host read again which snapshots an album has, after other values are loaded."""
    assert isinstance(album, Album)
    album._seen = None


def _latents(maker: Generator, count: int) -> Tensor:
    """Fixed latents, equal for all snapshots and in all processes."""
    drawn = torch.randn(count, maker.latent, generator=generator(0, "album latents"))
    return drawn.to(next(maker.parameters()))
