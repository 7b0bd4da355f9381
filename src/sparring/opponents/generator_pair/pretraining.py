"""Training of a generator and its discriminator on the images, before the encoder's first step.

Each round updates the discriminator a few times, then the generator once; the moving average of the
generator is used afterwards. Both see images through an augmentation (`for_the_judge`), without
which a discriminator of a few thousand images memorises them.

Source: Zhao et al. 2020, arXiv:2006.10738 (DiffAugment), whose settings for CIFAR-10 are the
defaults unless a field says otherwise.
"""

import copy
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
from sparring.config import Settings
from sparring.data.images import Images
from sparring.opponents.generator_pair.differentiable_views import for_the_judge
from sparring.opponents.generator_pair.networks import Discriminator, Generator, GeneratorSettings
from sparring.opponents.generator_pair.realism_losses import judge_hinge, realism_loss
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import Position
from sparring.seeding import derived_seed, generator
from sparring.transfers import sent


class JudgeSettings(Settings):
    """Augmentation of the images that the discriminator sees."""

    translation: float = Field(default=0.125, ge=0, lt=1)
    """Largest shift of an image, as a share of the side."""
    cutout: float = Field(default=0.5, ge=0, lt=1)
    """Side of the square that is cut out, as a share of the side."""
    colour: bool = True
    """Whether to change colours too; the authors of DiffAugment advise it for fewer than about
    10,000 images."""

    def augmented(self, images: Tensor, *, generator: torch.Generator) -> Tensor:
        """Augmented copies of images in [0, 1], as the discriminator sees them."""
        return for_the_judge(
            images,
            translation=self.translation,
            cutout=self.cutout,
            colour=self.colour,
            generator=generator,
        )


def adam(learning_rate: float) -> PlayerSettings:
    """Optimiser settings of a generator and its discriminator: Adam without momentum, at a constant
    rate."""
    return PlayerSettings(
        optimizer="adamw",
        learning_rate=learning_rate,
        schedule="constant",
        momentum=0.0,
        weight_decay=0.0,
    )


class PretrainingPlayers(Settings):
    """Optimisers while the generator learns the images: Adam without momentum."""

    generator: PlayerSettings = adam(2e-4)
    discriminator: PlayerSettings = adam(2e-4)


class PretrainingSettings(Settings):
    """Settings of the generator's training on the images."""

    steps: int = Field(default=50_000, ge=0)
    """Updates of the generator; 0: it starts untrained."""
    batch_size: int = Field(default=64, ge=2)
    """Images per update, over all processes; 50 in the source."""
    discriminator_steps: int = Field(default=4, ge=1)
    """Updates of the discriminator for each of the generator's."""
    ema: float = Field(default=0.9999, ge=0, lt=1)
    """Coefficient of the generator's moving average, which is used afterwards; it rises to this
    value as (1 + updates) / (10 + updates)."""
    players: PretrainingPlayers = PretrainingPlayers()


class Pretraining(nn.Module):
    """Training of a generator and a discriminator; `state` and `restore` continue it to the bit.

    Args:
        size: sizes of both networks.
        settings: length and optimisers of the training.
        judge: augmentation for the discriminator.
        image_size: side of the images in pixels.
        seed: seed of all random draws.
    """

    def __init__(
        self,
        size: GeneratorSettings,
        settings: PretrainingSettings,
        judge: JudgeSettings,
        *,
        image_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "generator"))
            self.generator = Generator(size, image_size=image_size)
            self.discriminator = Discriminator(size, image_size=image_size)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.settings, self.judge, self.seed = settings, judge, seed
        self.done, self.total = 0, settings.steps
        self.players = {
            name: Player(
                name,
                dict(getattr(self, name).named_parameters()),
                getattr(settings.players, name),
                section=f"generator_pair.pretraining.players.{name}",
            )
            for name in ("generator", "discriminator")
        }

    def train_step(self, images: Images) -> None:
        """Update the discriminator, then the generator once."""
        s, num_images = self.settings, len(images)
        draws = generator(self.seed, "pretraining", self.done)
        rows = max(1, s.batch_size // distributed.num_processes())
        position = Position(
            step=self.done,
            num_steps=s.steps,
            steps_per_epoch=max(1, num_images // s.batch_size),
        )
        for player in self.players.values():
            player.prepare(position)
        for _ in range(s.discriminator_steps):
            joint = torch.randint(
                num_images, (rows * distributed.num_processes(),), generator=draws
            )
            pixels = images.images(distributed.own_share(joint))
            real = pixels.to(next(self.parameters()).device).float() / 255
            with torch.no_grad():
                made = self.generator(latents(self.generator, rows, generator=draws))
            shown = [self.judge.augmented(part, generator=draws) for part in (real, made)]
            verdicts = self.discriminator(torch.cat(shown))
            self.players["discriminator"].update(judge_hinge(verdicts[:rows], verdicts[rows:]))
        made = self.generator(latents(self.generator, rows, generator=draws))
        verdicts = self.discriminator(self.judge.augmented(made, generator=draws))
        self.players["generator"].update(realism_loss(verdicts))
        self.done += 1
        self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        """Update the moving average with the generator's current parameters. It has batch-norm
        statistics of its own, see `settle`."""
        weight = 1.0 - min(self.settings.ema, (1 + self.done) / (10 + self.done))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.generator.parameters()), weight
        )

    @torch.no_grad()
    def settle(self, batches: int = 64) -> None:
        """Set the batch-norm statistics of the averaged generator to the mean over batches of its
        own activations."""
        norms = [module for module in self.average.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
        draws = generator(self.seed, "pretraining", "settle")
        self.average.train()
        for _ in range(batches):
            self.average(
                latents(
                    self.average,
                    max(1, self.settings.batch_size // distributed.num_processes()),
                    generator=draws,
                )
            )
        self.average.eval()
        distributed.average(
            [buffer for buffer in self.average.buffers() if buffer.is_floating_point()]
        )

    def state(self) -> dict[str, Any]:
        """State that `restore` takes."""
        return {
            "done": self.done,
            "modules": self.state_dict(),
            "players": {name: player.state_dict() for name, player in self.players.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`'s value."""
        self.load_state_dict(state["modules"])
        for name, player in self.players.items():
            player.load_state_dict(state["players"][name])
        self.done = state["done"]


def latents(maker: Generator, rows: int, *, generator: torch.Generator) -> Tensor:
    """Standard normal latents, (rows, latent): this process's rows of a draw for all processes."""
    joint = torch.randn(rows * distributed.num_processes(), maker.latent, generator=generator)
    weight = next(maker.parameters())
    return sent(distributed.own_share(joint), weight.device, weight.dtype)
