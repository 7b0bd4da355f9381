"""What a pair of generators supplies to one step: images for the judge, and views for the
encoder."""

import torch
from torch import Tensor

from sparring import distributed
from sparring.data.views.views import Views
from sparring.methods.method import Step
from sparring.opponents.generator_pair.pair import GeneratorPairSettings, Pair, neighbours
from sparring.opponents.generator_pair.pretraining import latents
from sparring.seeding import generator


class Supply:
    """The pair of one game with its settings; every draw is named after the step and what it is
    for.

    Args:
        pair: generates.
        settings: how much, and which control plays.
    """

    def __init__(self, pair: Pair, settings: GeneratorPairSettings) -> None:
        self._pair, self._settings = pair, settings

    def images(self, step: Step, purpose: str) -> tuple[Tensor, Tensor]:
        """Two images of each latent vector, in [0, 1]; twice the same if one generator plays."""
        s, first = self._settings, self._pair.first
        draws, rows = draws_for(step, purpose), self._rows(step)
        z = latents(first, rows, generator=draws)
        match s.disarmed:
            case "static" | "single":
                images = first(z)
                return images, images
            case "latent-noise":
                return first(z), first(
                    neighbours(z, latents(first, rows, generator=draws), sigma=s.latent_noise)
                )
            case _:
                return first(z), self._pair.second(z)

    @torch.no_grad()
    def views(self, step: Step) -> list[Tensor]:
        """Views to be seen beside the batch: four of each latent vector, or as many in all, by the
        run's own augmentation."""
        assert step.images is not None
        draws = draws_for(step, "views")
        if self._settings.disarmed == "real-views":
            return _views(
                step.images, step, draws, count=max(2, round(4 * self._settings.made_share))
            )
        first, second = (_as_pixels(images) for images in self.images(step, "latents"))
        if self._settings.disarmed in (
            "static",
            "single",
        ):  # another image of the one generator in the second one's place
            return _views(
                torch.cat([first, _as_pixels(self.images(step, "other latents")[0])]),
                step,
                draws,
                count=2,
            )
        return [*_views(first, step, draws, count=2), *_views(second, step, draws, count=2)]

    def real(self, step: Step) -> Tensor:
        """As many images of the batch as the pair generates, in [0, 1]."""
        assert step.images is not None
        return step.images[: 2 * self._rows(step)].to(next(self._pair.parameters())) / 255

    def _rows(self, step: Step) -> int:
        return max(2, round(self._settings.made_share * len(step.indices)))


def draws_for(step: Step, purpose: str) -> torch.Generator:
    """Apart from the step's own generator, so that the method draws what it draws alone."""
    return generator(step.generator.initial_seed(), "generator pair", purpose)


def _as_pixels(images: Tensor) -> Tensor:
    """Whole numbers, as real images have."""
    return (255 * images).round().to(torch.uint8)


def _views(images: Tensor, step: Step, draws: torch.Generator, *, count: int) -> list[Tensor]:
    assert step.augment is not None
    recipes = step.augment.recipes[:2]
    augment = Views(
        [recipes[number % len(recipes)] for number in range(count)], image_size=images.shape[-1]
    )
    return augment(images, generator=draws, shard=(distributed.rank(), distributed.num_processes()))
