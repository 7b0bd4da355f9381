"""Images for the discriminator and views for the encoder that a pair of generators supplies to one
step."""

import torch
from torch import Tensor

from sparring import distributed
from sparring.data.views.views import Views
from sparring.methods.method import Context
from sparring.opponents.generator_pair.pair import GeneratorPairSettings, Pair, neighbours
from sparring.opponents.generator_pair.pretraining import latents
from sparring.seeding import generator


class Supply:
    """Images and views of one step; each random draw is named after the step and its purpose.

    Args:
        pair: generators of the images.
        settings: number of images, and which control is used.
    """

    def __init__(self, pair: Pair, settings: GeneratorPairSettings) -> None:
        self._pair, self._settings = pair, settings

    def images(self, context: Context, purpose: str) -> tuple[Tensor, Tensor]:
        """Two images of each latent vector, in [0, 1]; equal if only one generator is used."""
        s, first = self._settings, self._pair.first
        draws, rows = draws_for(context, purpose), self._rows(context)
        z = latents(first, rows, generator=draws)
        match s.disarmed:
            case "static" | "single":
                images = first(z)
                return images, images
            case "latent-noise":
                noise = latents(first, rows, generator=draws)
                return first(z), first(neighbours(z, noise, sigma=s.latent_noise))
            case _:
                return first(z), self._pair.second(z)

    @torch.no_grad()
    def views(self, context: Context) -> list[Tensor]:
        """Generated views that are added to the batch: four of each latent vector, or equally many
        in all, by the run's own augmentation."""
        assert context.images is not None
        draws, disarmed = draws_for(context, "views"), self._settings.disarmed
        if disarmed == "real-views":
            count = max(2, round(4 * self._settings.made_share))
            return _views(context.images, context, draws, count=count)
        first, second = (_as_pixels(images) for images in self.images(context, "latents"))
        if disarmed in ("static", "single"):
            # A second image of the same generator replaces the second generator's.
            other = _as_pixels(self.images(context, "other latents")[0])
            return _views(torch.cat([first, other]), context, draws, count=2)
        return [
            *_views(first, context, draws, count=2),
            *_views(second, context, draws, count=2),
        ]

    def real(self, context: Context) -> Tensor:
        """Images of the batch, as many as the pair generates, in [0, 1]."""
        assert context.images is not None
        images = context.images[: 2 * self._rows(context)]
        return images.to(next(self._pair.parameters())) / 255

    def _rows(self, context: Context) -> int:
        return max(2, round(self._settings.made_share * len(context.indices)))


def draws_for(context: Context, purpose: str) -> torch.Generator:
    """Random generator separate from the step's own, so that the method's draws are the same as
    without the opponent."""
    return generator(context.generator.initial_seed(), "generator pair", purpose)


def _as_pixels(images: Tensor) -> Tensor:
    """Images rounded to uint8 values, like real images."""
    return (255 * images).round().to(torch.uint8)


def _views(images: Tensor, context: Context, draws: torch.Generator, *, count: int) -> list[Tensor]:
    assert context.augment is not None
    recipes = context.augment.recipes[:2]
    chosen = [recipes[number % len(recipes)] for number in range(count)]
    augment = Views(chosen, image_size=images.shape[-1])
    return augment(images, generator=draws, shard=distributed.shard())
