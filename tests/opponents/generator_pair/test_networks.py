"""Generator and discriminator: shapes, ranges, the bound, and that each can do its work."""

from itertools import pairwise
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError
from sparring.opponents.generator_pair.networks import (
    SIZES,
    Discriminator,
    Generator,
    GeneratorSettings,
)
from sparring.opponents.generator_pair.realism_losses import judge_hinge, realism_loss

SMALL = GeneratorSettings(width=4, latent=8)

Network = TypeVar("Network", Generator, Discriminator)


def seeded(
    kind: type[Network], *, size: int = 16, settings: GeneratorSettings = SMALL, seed: int = 0
) -> Network:
    """A network with first weights of its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(settings, image_size=size)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES)
def test_images_have_their_size_and_range_and_are_judged_one_by_one(size: int) -> None:
    images = seeded(Generator, size=size)(noise(5, 8))
    assert images.shape == (5, 3, size, size)
    assert 0 <= float(images.min().detach()) < float(images.max().detach()) <= 1
    judge = seeded(Discriminator, size=size).eval()
    verdicts = judge(images)
    assert verdicts.shape == (5,)
    for row in range(5):
        torch.testing.assert_close(judge(images[row : row + 1]), verdicts[row : row + 1])
    assert verdicts.detach().unique().numel() == 5


@pytest.mark.parametrize("kind", [Generator, Discriminator])
@pytest.mark.parametrize("size", [8, 48, 128])
def test_another_side_is_refused_with_those_that_are_not(kind: type[nn.Module], size: int) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"image_size={size}: images can be made at a side of 16, 32, 64; "
        "choose one of these",
    ):
        kind(SMALL, image_size=size)


def test_outside_training_an_image_depends_on_its_own_latent_alone() -> None:
    generator, latents = seeded(Generator), noise(6, 8)
    generator(noise(32, 8, seed=1))  # statistics that are not those of the start
    other = latents.clone()
    other[2] = noise(8, seed=2)
    in_training = generator(latents), generator(other)
    generator.eval()
    images, changed = generator(latents), generator(other)
    differs = (images != changed).flatten(1).any(dim=1)
    assert differs.tolist() == [False, False, True, False, False, False]
    torch.testing.assert_close(generator(latents[4:5]), images[4:5])
    assert (
        (in_training[0] != in_training[1]).flatten(1).any(dim=1).all()
    )  # batch norm tells the others


def test_the_same_latents_make_the_same_images_and_others_make_others() -> None:
    generator = seeded(Generator).eval()
    assert torch.equal(generator(noise(4, 8)), generator(noise(4, 8)))
    first, second = generator(noise(2, 8))
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("size", SIZES)
def test_every_weight_of_both_receives_a_gradient(size: int) -> None:
    generator, judge = seeded(Generator, size=size), seeded(Discriminator, size=size)
    judge(generator(noise(5, 8))).sum().backward()
    for module in (generator, judge):
        for name, parameter in module.named_parameters():
            # A bias before a batch norm moves nothing, and its gradient is rounding.
            assert parameter.grad is not None, name
            if name.endswith("weight") or "original" in name:
                assert parameter.grad.abs().max() > 0, name


def test_both_have_their_width_next_to_the_image_and_four_times_as_much_at_the_other_end() -> None:
    for size in (32, 64):  # at 16 the generator doubles twice only, and ends at twice the width
        generator, judge = seeded(Generator, size=size), seeded(Discriminator, size=size)
        made = [
            layer.out_channels
            for layer in generator.blocks.modules()
            if isinstance(layer, nn.Conv2d)
        ]
        seen = [
            layer.out_channels for layer in judge.blocks.modules() if isinstance(layer, nn.Conv2d)
        ]
        assert made[-1] == seen[0] == SMALL.width
        assert all(later <= earlier for earlier, later in pairwise(made))
        assert all(later >= earlier for earlier, later in pairwise(seen))
        assert made[0] == seen[-1] == 4 * SMALL.width


def test_the_judges_layers_stretch_nothing_by_more_than_one() -> None:
    judge = seeded(Discriminator)
    with torch.no_grad():
        for layer in judge.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.parametrizations.weight.original.mul_(7)
        for _ in range(100):  # a step of the power method per forward pass
            judge(noise(1, 3, 16, 16).sigmoid())
    layers = [layer for layer in judge.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) > 5
    for layer in layers:
        assert float(
            torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
        ) == pytest.approx(1.0, abs=0.02)


def contrast(generator: Generator) -> float:
    """By how much the upper half of made images is brighter than the lower."""
    with torch.no_grad():
        images = generator(noise(32, 8, seed=99))
    return float(images[:, :, :8].mean() - images[:, :, 8:].mean())


def played(seed: int, *, judge_rate: float) -> tuple[float, float]:
    """Contrast before and after 60 rounds against a judge of real images, whose contrast is 0.8."""
    settings = GeneratorSettings(width=8, latent=8)
    generator, judge = (
        seeded(Generator, settings=settings, seed=seed),
        seeded(Discriminator, settings=settings, seed=seed + 1000),
    )
    real = torch.cat([torch.full((8, 3, 8, 16), 0.9), torch.full((8, 3, 8, 16), 0.1)], dim=2)
    for_judge = torch.optim.Adam(judge.parameters(), lr=judge_rate, betas=(0.0, 0.999))
    for_generator = torch.optim.Adam(generator.parameters(), lr=6e-3, betas=(0.0, 0.999))
    before = contrast(generator)
    for number in range(60):
        made = generator(noise(8, 8, seed=1000 * seed + number))
        for_judge.zero_grad()
        judge_hinge(judge(real), judge(made.detach())).backward()
        for_judge.step()
        for_generator.zero_grad()
        realism_loss(judge(made)).backward()
        for_generator.step()
    return before, contrast(generator)


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_the_generator_learns_from_its_judge_where_light_comes_from(seed: int) -> None:
    before, after = played(seed, judge_rate=6e-3)
    assert abs(before) < 0.1
    assert after > 0.4  # the least of eight seeds is 0.64


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_from_a_judge_that_does_not_learn_it_learns_nothing(seed: int) -> None:
    _, after = played(seed, judge_rate=0.0)
    assert after < 0.3
