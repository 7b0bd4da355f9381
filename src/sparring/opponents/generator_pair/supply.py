"""Images for the discriminator and views for the encoder that a pair of generators supplies to one
step."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sparring import distributed
from sparring.data.views.views import Views
from sparring.methods.method import Context
from sparring.opponents.generator_pair.fixed import FixedGenerator, moving_rows
from sparring.opponents.generator_pair.pair import GeneratorPairSettings, Pair, neighbours
from sparring.opponents.generator_pair.pretraining import latents
from sparring.seeding import generator


class Supply:
    """Images and views of one step; each random draw is named after the step and its purpose.

    Args:
        pair: generators of the images.
        fixed: generator with which the pair began.
        settings: number of images, and which control is used.
    """

    def __init__(self, pair: Pair, fixed: FixedGenerator, settings: GeneratorPairSettings) -> None:
        self._pair, self._fixed, self._settings = pair, fixed, settings

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
        if disarmed in ("static", "single"):
            return self._views_of_one(self._pair.first, context)
        return _four_views(self.images(context, "latents"), context)

    @torch.no_grad()
    def static_views(self, context: Context) -> list[Tensor]:
        """Generated views of the twin `static`, whatever the pair has become."""
        return self._views_of_one(self._fixed, context)

    @torch.no_grad()
    def fixed_views(self, context: Context) -> list[Tensor]:
        """Generated views of the fixed generator with the latents and the augmentation of `views`:
        four of each image."""
        images = self._fixed(self._latents(context, "latents"))
        return _four_views((images, images), context)

    @torch.no_grad()
    def mixed_views(
        self, context: Context, share: Float[Tensor, ""], *, has_others: bool
    ) -> tuple[list[Tensor], Bool[Tensor, "batch"]]:
        """Generated views in which a share of the latents has images of the moving pair, and the
        others of the fixed generator; and the mask of the former.

        Args:
            context: the step's.
            share: in [0, 1]; 1: the views of the moving pair alone, to the bit.
            has_others: whether the last two views of a latent without the pair's images show
                another image, as in the twin `static`; otherwise all four show one image.
        """
        z = self._latents(context, "latents")
        is_moving = moving_rows(share, len(z), step=context.position.step)
        one = self._fixed(z)
        other = self._fixed(self._latents(context, "other latents")) if has_others else one
        sides = zip(self.images(context, "latents"), (one, other), strict=True)
        left, right = (
            torch.where(is_moving[:, None, None, None], made, still) for made, still in sides
        )
        return _four_views((left, right), context), is_moving

    def real(self, context: Context) -> Tensor:
        """Images of the batch, as many as the pair generates, in [0, 1]."""
        assert context.images is not None
        images = context.images[: 2 * self._rows(context)]
        return images.to(next(self._pair.parameters())) / 255

    def _views_of_one(self, maker: Callable[[Tensor], Tensor], context: Context) -> list[Tensor]:
        """Two views of each image of one generator; a second image of it replaces the second
        generator's."""
        sides = [maker(self._latents(context, f"{kind}latents")) for kind in ("", "other ")]
        images = torch.cat([_as_pixels(side) for side in sides])
        return _views(images, context, draws_for(context, "views"), count=2)

    def _latents(self, context: Context, purpose: str) -> Tensor:
        draws = draws_for(context, purpose)
        return latents(self._pair.first, self._rows(context), generator=draws)

    def _rows(self, context: Context) -> int:
        return max(2, round(self._settings.made_share * len(context.indices)))


def draws_for(context: Context, purpose: str) -> torch.Generator:
    """Random generator separate from the step's own, so that the method's draws are the same as
    without the opponent."""
    return generator(context.generator.initial_seed(), "generator pair", purpose)


def _as_pixels(images: Tensor) -> Tensor:
    """Images rounded to uint8 values, like real images."""
    return (255 * images).round().to(torch.uint8)


def _four_views(sides: tuple[Tensor, Tensor], context: Context) -> list[Tensor]:
    """Two views of each image of one side, then two of the other's."""
    draws = draws_for(context, "views")
    return [view for side in sides for view in _views(_as_pixels(side), context, draws, count=2)]


def _views(images: Tensor, context: Context, draws: torch.Generator, *, count: int) -> list[Tensor]:
    assert context.augment is not None
    recipes = context.augment.recipes[:2]
    chosen = [recipes[number % len(recipes)] for number in range(count)]
    augment = Views(chosen, image_size=images.shape[-1])
    return augment(images, generator=draws, shard=distributed.shard())
