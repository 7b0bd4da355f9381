"""The attack on losses whose gradients are known: how far it goes, where to, and within which
limits."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from sparring.opponents.pixel_attack import (
    LossAndGradient,
    PerturbationSettings,
    attack,
    random_signs,
)

EPSILON = 8 / 255


def images(seed: int = 0) -> Tensor:
    return torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def linear(weights: Tensor) -> LossAndGradient:
    return lambda shown, is_start: ((weights * shown).sum(), weights)


def test_one_step_moves_every_pixel_by_epsilon_up_the_gradient_and_none_without_one() -> None:
    weights = images(1) - 0.5
    weights[0, 0, 0, 0] = 0.0
    start = images()
    found = attack(start, linear(weights), PerturbationSettings(epsilon=EPSILON), generator=draws())
    torch.testing.assert_close(found.images - start, EPSILON * weights.sign())
    assert found.images[0, 0, 0, 0] == start[0, 0, 0, 0]
    torch.testing.assert_close(found.loss, (weights * start).sum())
    assert not found.images.requires_grad


def test_nothing_is_clipped_unless_asked_for() -> None:
    start, up = torch.ones(1, 3, 2, 2), linear(torch.ones(1, 3, 2, 2))
    assert (
        attack(start, up, PerturbationSettings(epsilon=EPSILON), generator=draws()).images.max() > 1
    )
    assert (
        attack(
            start, up, PerturbationSettings(epsilon=EPSILON, clip=(0, 1)), generator=draws()
        ).images.max()
        == 1
    )


@pytest.mark.parametrize(
    "settings",
    [{"steps": 7}, {"random_start": True}, {"steps": 5, "random_start": True}, {"step_size": 1.0}],
)
def test_no_attack_leaves_the_ball_around_the_image(settings: dict[str, object]) -> None:
    start = images()
    found = attack(
        start,
        linear(images(1) - 0.5),
        PerturbationSettings.build({"epsilon": EPSILON, **settings}),
        generator=draws(),
    ).images
    # Differences of float32 numbers near 1.
    assert float((found - start).abs().max()) <= EPSILON * (1 + 1e-5)


def test_several_steps_follow_a_gradient_that_turns() -> None:
    # Maximum of -|x - target|^2 inside the ball: the largest step overshoots, small ones arrive.
    start, target = images(), images() + EPSILON / 3

    def hill(shown: Tensor, is_start: bool) -> tuple[Tensor, Tensor]:
        return -((shown - target) ** 2).sum(), 2 * (target - shown)

    far = attack(start, hill, PerturbationSettings(epsilon=EPSILON), generator=draws()).images
    near = attack(
        start,
        hill,
        PerturbationSettings(epsilon=EPSILON, steps=40, step_size=EPSILON / 30),
        generator=draws(),
    ).images
    assert float((near - target).abs().max()) < EPSILON / 20 < float((far - target).abs().max())


def test_the_loss_is_told_which_images_are_the_unmoved_ones() -> None:
    told: list[bool] = []

    def flat(shown: Tensor, is_start: bool) -> tuple[Tensor, Tensor]:
        told.append(is_start)
        return shown.sum(), torch.ones_like(shown)

    for settings in ({"steps": 3}, {"steps": 2, "random_start": True}):
        attack(images(), flat, PerturbationSettings.build(settings), generator=draws())
    assert told == [True, False, False, False, False]


def test_random_signs_are_of_the_same_size_and_without_aim() -> None:
    start = torch.full((8, 3, 16, 16), 0.5)
    moved = random_signs(start, PerturbationSettings(epsilon=EPSILON), generator=draws()) - start
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, EPSILON))
    assert abs(float(moved.sign().mean())) < 0.05  # 6,144 signs: the standard error is 0.013
    assert torch.equal(
        moved, random_signs(start, PerturbationSettings(epsilon=EPSILON), generator=draws()) - start
    )


def test_an_empty_range_of_pixels_is_refused() -> None:
    with pytest.raises(ValidationError, match="lower end first"):
        PerturbationSettings(clip=(1.0, 0.0))
