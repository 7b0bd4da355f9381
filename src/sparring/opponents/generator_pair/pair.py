"""A pair of generators that makes two similar but distinct images from each latent vector.

`Pair` makes images, `GeneratorPairSettings` limit how hard they may be, and `pair_loss` is the loss
of the generators. The game is in `opponent.py`, the training before it in `pretraining.py`.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
from sparring.acceleration.given_gradient import with_gradient
from sparring.config import Settings
from sparring.measures.metric import Metric
from sparring.opponents.generator_pair.differentiable_views import Colour
from sparring.opponents.generator_pair.hardness import (
    crowding,
    diversity_loss,
    fence,
    hardness,
    pair_similarity,
)
from sparring.opponents.generator_pair.networks import Generator, GeneratorSettings
from sparring.opponents.generator_pair.pretraining import JudgeSettings, PretrainingSettings, adam
from sparring.opponents.generator_pair.realism_losses import realism_loss
from sparring.optim.player import PlayerSettings
from sparring.optim.schedule import Position
from sparring.seeding import generator as draws_of
from sparring.strength.dial import INNER_METRICS, STRENGTH_METRICS
from sparring.strength.settings import Strength

GENERATOR_PAIR_METRICS = {
    **STRENGTH_METRICS,
    **INNER_METRICS,
    "learning_rate/generator": Metric("learning rate of the generators' player"),
    "learning_rate/discriminator": Metric("learning rate of the discriminator's player"),
    "generator_pair/similarity": Metric(
        "S: mean cosine of a pair's embeddings, without augmentation",
        title="Similarity of generated pairs, S",
    ),
    "generator_pair/floor": Metric("how far S may fall, at this step"),
    "generator_pair/hardness": Metric(
        "contrastive loss of generated pairs among real images, which the generators raise",
        title="Hardness of generated pairs",
    ),
    "generator_pair/hardness_weight": Metric(
        "weight of hardness in the generators' loss, after its rise and the clipping"
    ),
    "generator_pair/realism": Metric(
        "mean verdict of the discriminator on generated images; higher: more real to it"
    ),
    "generator_pair/judge": Metric(
        "hinge loss of the discriminator; 0: it tells all apart by a margin, 2: it cannot tell"
    ),
    "generator_pair/crowding": Metric("mean cosine of different generated images of one generator"),
    "generator_pair/crowding_real": Metric("mean cosine of different images of the batch"),
    "generator_pair/frechet": Metric(
        "Frechet distance of generated from real images on random features, as measured last "
        "(not FID)",
        title="Distance of generated from real images",
    ),
    "generator_pair/frechet_real": Metric(
        "Frechet distance of one half of the real images from the other: as good as it gets"
    ),
}
"""Metrics of the generator pair."""


class GeneratorPairPlayers(Settings):
    """Optimisers during the joint training: Adam without momentum, at a tenth of the pretraining's
    rate."""

    generator: PlayerSettings = adam(2e-5)
    discriminator: PlayerSettings = adam(2e-5)


class GeneratorPairSettings(Settings):
    """Sizes, training and limits of the pair. The defaults are our reconstruction after Wu et al.
    2022, not verified."""

    generator: GeneratorSettings = GeneratorSettings()
    judge: JudgeSettings = JudgeSettings()
    pretraining: PretrainingSettings = PretrainingSettings()
    pretraining_seed: int | None = Field(default=None, ge=0)
    """Seed of the generator's training on the images, which is done once per seed and set of
    images; None: the run's. One number for all runs shares one generator, which saves its training
    and hides how much scores vary with it."""
    players: GeneratorPairPlayers = GeneratorPairPlayers()
    real_only: float = Field(default=0.1, ge=0, lt=1)
    """Share of the run in which the encoder sees only real images; then the joint training
    begins."""
    made_share: float = Field(default=0.5, gt=0, le=1)
    """Latent vectors per step, as a share of the batch size; each gives two images and four
    views."""
    loss: Literal["multi-positive", "align"] = "multi-positive"
    """Loss of the encoder on generated views. `multi-positive`: the method's own loss, with all
    four views of a latent as positives of each other. `align`: only their squared distances,
    without negatives (as in a later work of three of the authors with another generator)."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of a generated view relative to a real one; with loss=align, weight of the
    distances."""
    hardness: float = 1.0
    """Weight of hardness in the generators' loss; negative: they make easy pairs."""
    hardness_temperature: float = Field(default=0.2, gt=0)
    """Temperature of the contrastive loss that the generators maximise."""
    hardness_rise: float = Field(default=0.1, ge=0, le=1)
    """Share of the joint training in which the weight `hardness` rises from 0."""
    adaptive: bool = True
    """Whether to clip the gradient of hardness with respect to the images to the norm of realism's
    gradient."""
    similarity: float = Field(default=0.7, ge=-1, le=1)
    """Smallest allowed cosine of a pair's embeddings at the end; the limit falls from 1 to this
    value in the first 70 % of the joint training."""
    fence: float = Field(default=10.0, ge=0)
    """Weight of the penalty on pairs whose cosine is below the limit `similarity`."""
    diversity: float = Field(default=10.0, ge=0)
    """Weight of the penalty on generated images that are more similar to each other than real
    ones."""
    generator_every: int = Field(default=1, ge=1)
    """Steps between updates of the generators and the discriminator."""
    init_noise: float = Field(default=0.01, ge=0)
    """Standard deviation of the noise added to the second generator's weights at the start,
    relative to each weight tensor's root mean square."""
    colour: Colour = "partial"
    """Colours of the augmentation through which the generators are trained to be hard: `partial`,
    brightness, contrast and saturation; `full`, hue and greyscale too, as in the encoder's own
    views. What is left out is what generators change first."""
    moves: Literal["both", "second"] = "both"
    """Generators that are trained in the joint training: both, or only the second."""
    strength: Strength = "released"
    """How hard the pair is: `released`, by the settings above; or the loss in nats per query that
    its images add above those of the fixed generator, held by the share of latents whose images
    the moving pair makes (docs/strength.md)."""
    norms: Literal["shared", "split"] = "shared"
    """Batch norms of generated views: `shared` uses the encoder's, `split` a second set, which they
    share with attacked images."""
    latent_noise: float = Field(default=0.3, gt=0)
    """Standard deviation of the difference of a pair's latents, for disarmed=latent-noise."""
    disarmed: Literal["static", "single", "latent-noise", "real-views"] | None = None
    """Control with equally many views. `static`: one fixed generator. `single`: one generator that
    is trained to be hard. `latent-noise`: two images from neighbouring latents of one fixed
    generator. `real-views`: further views of the real images instead of generated ones."""


def has_nats(settings: GeneratorPairSettings, nats: float | None) -> bool:
    """Whether the loss on generated views is a negative log-likelihood, so that it has nats.

    Args:
        settings: the pair's.
        nats: the method's, see `Method.nats`.
    """
    return nats is not None and settings.loss != "align"


class Pair(nn.Module):
    """Two generators that start from nearly equal weights. Their batch norms always use their
    running statistics, so an image depends only on its latent."""

    def __init__(self, size: GeneratorSettings, *, image_size: int) -> None:
        super().__init__()
        self.first = Generator(size, image_size=image_size)
        self.second = copy.deepcopy(self.first)
        self.train()

    def train(self, mode: bool = True) -> "Pair":
        """Stay in evaluation mode, whatever the argument."""
        super().train(False)
        return self

    @torch.no_grad()
    def begin(self, pretrained: Generator, *, noise: float, seed: int) -> None:
        """Copy a generator into both, and add noise to the second."""
        self.first.load_state_dict(pretrained.state_dict())
        self.second.load_state_dict(pretrained.state_dict())
        draws = draws_of(seed, "pair")
        for parameter in self.second.parameters():
            size = parameter.square().mean().sqrt()
            parameter.add_(
                noise * size * torch.randn(parameter.shape, generator=draws).to(parameter)
            )

    def forward(self, latents: Float[Tensor, "batch latent"]) -> tuple[Tensor, Tensor]:
        """Both images of each latent vector, each (batch, 3, size, size) in [0, 1]."""
        return self.first(latents), self.second(latents)


def joint_fraction(progress: Position, *, real_only: float) -> float | None:
    """Fraction of the joint training that has passed, in [0, 1); None before it begins.

    Args:
        progress: fraction of the whole run that has passed.
        real_only: share of the run before the joint training.
    """
    start = real_only * progress.num_steps
    return None if progress.step < start else (progress.step - start) / (progress.num_steps - start)


def neighbours(
    latents: Float[Tensor, "batch latent"], noise: Float[Tensor, "batch latent"], *, sigma: float
) -> Tensor:
    """Latent vectors near the given ones: z + sigma * noise.

    Source: Jahanian et al. 2022, arXiv:2106.05258 (GenRep).
    """
    return latents + sigma * noise


@dataclass(frozen=True, kw_only=True)
class Opposite:
    """The encoder and the discriminator in the generators' loss: fixed, but differentiable with
    respect to images.

    Attributes:
        encode: function from images in [0, 1] to embeddings.
        view: differentiable augmentation for the encoder; draws anew at every call.
        judge: function from images to realism; includes the discriminator's augmentation.
    """

    encode: Callable[[Tensor], Tensor]
    view: Callable[[Tensor], Tensor]
    judge: Callable[[Tensor], Tensor]


def pair_loss(
    first: Float[Tensor, "batch 3 size size"],
    second: Float[Tensor, "batch 3 size size"],
    real: Float[Tensor, "real 3 size size"],
    opposite: Opposite,
    settings: GeneratorPairSettings,
    *,
    floor: float,
    rise: float,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Loss of the generators, L_adv - hardness * H + fence * F + diversity * Q, and its metrics.

    Args:
        first: images from one generator, in [0, 1], with gradient.
        second: images from the other generator, from the same latents.
        real: images of the batch.
        opposite: encoder and discriminator that they play against.
        settings: weights of the terms.
        floor: smallest allowed similarity of a pair at this step.
        rise: factor of the weight of hardness, in [0, 1].
    """
    s, joined = settings, torch.cat([first, second])
    images = joined.detach().requires_grad_()
    a, b = images.chunk(2)
    with torch.no_grad():
        real_views = distributed.gather(opposite.encode(opposite.view(real)))
        crowd_real = crowding(distributed.gather(opposite.encode(real)))
    realism = realism_loss(torch.cat([opposite.judge(a), opposite.judge(b)]))
    hard = hardness(
        opposite.encode(opposite.view(a)),
        opposite.encode(opposite.view(b)),
        real_views,
        temperature=s.hardness_temperature,
    )
    plain = [opposite.encode(side) for side in (a, b)]
    similarity = pair_similarity(*plain)
    crowds = [crowding(distributed.gather_with_gradient(side)) for side in plain]
    crowded = diversity_loss(crowds[0], crowd_real) + diversity_loss(crowds[1], crowd_real)
    limits = s.fence * fence(similarity, floor=floor) + s.diversity * crowded
    to_realism, to_hardness, to_limits = (
        torch.autograd.grad(loss, images)[0] for loss in (realism, hard, limits)
    )
    weight = images.new_full((), s.hardness * rise)
    if s.adaptive:
        norms = torch.stack(
            [gradient.square().sum() for gradient in (to_realism, weight * to_hardness)]
        )
        distributed.average([norms])
        weight = weight * (norms[0] / norms[1].clamp(min=1e-30)).sqrt().clamp(max=1.0)
    value = (realism - weight * hard + limits).detach()
    found = {
        "similarity": similarity.mean(),
        "hardness": hard,
        "hardness_weight": weight,
        "realism": -realism,
        "crowding": (crowds[0] + crowds[1]) / 2,
        "crowding_real": crowd_real,
    }
    loss = with_gradient(value, joined, to_realism - weight * to_hardness + to_limits)
    return loss, {f"generator_pair/{name}": tensor.detach() for name, tensor in found.items()}


@contextmanager
def standing_still(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode within the context: neither batch-norm statistics nor spectral norm's vectors
    change."""
    before = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, was_training in before:
            part.training = was_training
