"""Differentiable views: what they show, where gradients go, how they are distributed, and what is
drawn for whom.

Tolerance of pixels: 1e-5. Places of samples are float32 shares of the side, whose rounding moves a
pixel by some 1e-6. Distributions: 1.95 / sqrt(n) is the 99.9 % quantile of the Kolmogorov-Smirnov
distance of n draws; seeds are fixed.
"""

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.data.views.image_operations import grey, shift_hue
from sparring.data.views.view_settings import ViewSettings
from sparring.opponents.generator_pair.differentiable_views import (
    GREY_LEVEL,
    Beyond,
    Colour,
    differentiable_view,
    for_the_judge,
    hue_shifted,
    resampled_by_products,
    resampled_on_a_grid,
)
from sparring.seeding import generator

PIXEL = 1e-5
STILL = ViewSettings(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0, jitter=0)
QUARTER = STILL.model_copy(update={"crop_scale": (0.25, 0.25)})
BUSY = ViewSettings(jitter=0.9)
JUDGED = {"translation": 0.125, "cutout": 0.5, "colour": True}


def noise(batch: int, size: int = 8, *, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Images of independent pixels between two levels."""
    return low + (high - low) * torch.rand(
        batch, 3, size, size, generator=generator(0, "noise", batch, size)
    )


def view(images: Tensor, recipe: ViewSettings, seed: int = 0, colour: Colour = "partial") -> Tensor:
    """A view by a generator of its own."""
    return differentiable_view(images, recipe, colour=colour, generator=generator(seed, "view"))


def judged(
    images: Tensor,
    *,
    translation: float = 0.0,
    cutout: float = 0.0,
    colour: bool = False,
    seed: int = 0,
) -> Tensor:
    """What the judge looks at, by a generator of its own; nothing but the flip unless asked."""
    return for_the_judge(
        images,
        translation=translation,
        cutout=cutout,
        colour=colour,
        generator=generator(seed, "judge"),
    )


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """The image with its content moved by whole pixels, grey where nothing comes from, pixel by
    pixel."""
    size, moved = image.shape[-1], torch.full_like(image, 0.5)
    for row, column in itertools.product(range(size), repeat=2):
        if 0 <= row - down < size and 0 <= column - right < size:
            moved[:, row, column] = image[:, row - down, column - right]
    return moved


def is_near(found: Tensor, expected: Tensor) -> Tensor:
    """Whether each image equals its partner up to the tolerance of pixels."""
    return ((found - expected).abs() < PIXEL).flatten(1).all(dim=1)


def distance_from_uniform(draws: Tensor, low: float, high: float) -> float:
    """Largest gap between the draws' distribution function and that of the uniform distribution."""
    place = ((draws.double().sort().values - low) / (high - low)).clamp(0, 1)
    steps = torch.arange(len(draws) + 1) / len(draws)
    return float(torch.maximum((place - steps[1:]).abs(), (place - steps[:-1]).abs()).max())


def of_two_processes(
    monkeypatch: pytest.MonkeyPatch, images: Tensor, make: Callable[[Tensor], Tensor]
) -> Tensor:
    """Rows that two processes make of their halves of the images."""
    monkeypatch.setattr("sparring.distributed.num_processes", lambda: 2)
    halves = []
    for rank, half in enumerate(images.chunk(2)):
        monkeypatch.setattr("sparring.distributed.rank", lambda rank=rank: rank)
        halves.append(make(half))
    return torch.cat(halves)


@pytest.mark.parametrize("size", [8, 13, 32])
def test_a_still_view_is_the_image_and_passes_every_gradient(size: int) -> None:
    images = noise(4, size, low=0.1, high=0.9).requires_grad_()
    shown = view(images, STILL)
    (gradient,) = torch.autograd.grad(shown.sum(), images)
    torch.testing.assert_close(shown, images, rtol=0, atol=PIXEL)
    torch.testing.assert_close(gradient, torch.ones_like(images), rtol=0, atol=PIXEL)


def test_a_certain_flip_mirrors() -> None:
    images = noise(4)
    torch.testing.assert_close(
        view(images, STILL.model_copy(update={"flip": 1.0})), images.flip(-1), rtol=0, atol=PIXEL
    )


def test_half_of_the_images_are_mirrored_and_the_others_are_not() -> None:
    images = noise(400)
    shown = view(images, STILL.model_copy(update={"flip": 0.5}))
    is_same, is_mirrored = is_near(shown, images), is_near(shown, images.flip(-1))
    assert (is_same ^ is_mirrored).all()
    assert (
        abs(float(is_mirrored.float().mean()) - 0.5) < 3.3 * 0.5 / 400**0.5
    )  # 99.9 % of the binomial


def test_a_crop_is_a_resized_box_and_every_box_is_met() -> None:
    # A quarter of the area of 8 x 8 pixels: boxes of 4 x 4 at 25 places. The rim is left out: there
    # the view looks beyond its box.
    images = noise(300)
    shown, times = view(images, QUARTER), torch.zeros(300, dtype=torch.long)
    for top, left in itertools.product(range(5), repeat=2):
        box = images[:, :, top : top + 4, left : left + 4]
        is_this = is_near(
            shown[..., 1:-1, 1:-1], F.interpolate(box, size=8, mode="bilinear")[..., 1:-1, 1:-1]
        )
        assert is_this.any()
        times += is_this
    assert (times == 1).all()


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_crop_looks_beyond_its_box_where_the_image_goes_on(flip: float) -> None:
    # Of a ramp, a view shows the place it looks at: steps of half a pixel, a quarter of a pixel
    # beyond the box at both ends.
    ramp = torch.linspace(0, 1, 8).expand(200, 3, 8, 8)
    shown = view(ramp, QUARTER.model_copy(update={"flip": flip}))[:, 0, 4] * 7
    inner = shown[(shown.amin(dim=1) > 0.5) & (shown.amax(dim=1) < 6.5)]
    assert len(inner) > 50
    assert (inner.diff(dim=1) - (-0.5 if flip else 0.5)).abs().max() < 1e-4
    starts = {round(float(start), 2) for start in inner.amin(dim=1)}
    assert starts == {0.75, 1.75, 2.75}


def test_white_images_stay_white() -> None:
    shown = view(torch.ones(100, 3, 8, 8), ViewSettings(jitter=0))
    assert shown.min() > 1 - PIXEL


def test_gradients_reach_the_pixels_that_are_shown_and_no_others() -> None:
    images = noise(50, low=0.1, high=0.9).requires_grad_()
    (gradient,) = torch.autograd.grad(view(images, QUARTER).sum(), images)
    is_reached = gradient.abs().sum(dim=1) > 1e-4
    rows, columns = is_reached.any(dim=2), is_reached.any(dim=1)
    assert torch.equal(is_reached, rows[:, :, None] & columns[:, None, :])
    for reached in (*rows, *columns):
        places = reached.nonzero().flatten().tolist()
        assert places == list(range(places[0], places[-1] + 1))
        assert len(places) in (
            5,
            6,
        )  # a box of four and what the rim sees beyond it, of which a border leaves one side


def test_gradients_of_a_busy_view_agree_with_finite_differences() -> None:
    recipe = BUSY.model_copy(
        update={"jitter": 1.0, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
    )
    images = (0.4 + 0.2 * noise(3, 4).double()).requires_grad_()  # far from the limits of the range
    assert torch.autograd.gradcheck(lambda images: view(images, recipe), images)


@pytest.mark.parametrize("size", [16, 32])
def test_views_keep_shape_and_type_and_stay_in_range(size: int) -> None:
    images = noise(200, size)
    before = images.clone()
    shown = view(images, ViewSettings(jitter=1.0, brightness=2.0, contrast=2.0, saturation=4.0))
    assert torch.equal(images, before)
    assert shown.shape == images.shape
    assert shown.dtype == images.dtype
    assert shown.min() == 0  # the strengths are such that both limits are met
    assert shown.max() == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda images, seed=0: view(images, BUSY, seed),
        lambda images, seed=0: view(images, BUSY, seed, "full"),
        lambda images, seed=0: judged(images, **JUDGED, seed=seed),
    ],
)
def test_every_sample_has_a_draw_of_its_own_which_repeats_with_the_generator(
    make: Callable[..., Tensor],
) -> None:
    images = noise(1, 16).expand(20, 3, 16, 16)
    first, again, other = make(images), make(images), make(images, seed=1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for row, column in itertools.combinations(range(20), 2):
        assert not torch.equal(first[row], first[column])


@pytest.mark.parametrize(
    "make",
    [
        lambda images: view(images, BUSY),
        lambda images: view(images, BUSY, colour="full"),
        lambda images: judged(images, **JUDGED),
    ],
)
def test_the_rows_of_two_processes_are_those_of_one(
    make: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise(12, 16)
    alone = make(images)
    together = of_two_processes(monkeypatch, images, make)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert not is_near(
        make(images[:6]), alone[:6]
    ).any()  # the last process has other draws than the first


JITTERED = STILL.model_copy(
    update={"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
)


def test_brightness_factors_are_uniform_about_one() -> None:
    dark = torch.full((2000, 3, 4, 4), 0.4)
    factors = view(dark, JITTERED.model_copy(update={"brightness": 0.4})) / 0.4
    torch.testing.assert_close(
        factors, factors[:, :1, :1, :1].expand_as(factors), rtol=0, atol=PIXEL
    )
    assert distance_from_uniform(factors[:, 0, 0, 0], 0.6, 1.4) < 1.95 / 2000**0.5
    assert distance_from_uniform(factors[:, 0, 0, 0], 0.7, 1.3) > 1.95 / 2000**0.5


def test_saturation_factors_are_uniform_about_one_and_stretch_the_distance_from_grey() -> None:
    red = torch.tensor([0.6, 0.45, 0.45])[:, None, None].expand(2000, 3, 4, 4)
    shown = view(red, JITTERED.model_copy(update={"saturation": 0.8}))
    torch.testing.assert_close(shown.mean(dim=1), torch.full((2000, 4, 4), 0.5), rtol=0, atol=PIXEL)
    assert distance_from_uniform((shown[:, 0, 0, 0] - 0.5) / 0.1, 0.2, 1.8) < 1.95 / 2000**0.5


def test_contrast_factors_are_uniform_about_one_and_stretch_the_distance_from_the_mean() -> None:
    halves = torch.cat([torch.full((2000, 3, 4, 2), 0.4), torch.full((2000, 3, 4, 2), 0.6)], dim=3)
    shown = view(halves, JITTERED.model_copy(update={"contrast": 0.5}))
    torch.testing.assert_close(
        shown.mean(dim=(1, 2, 3)), torch.full((2000,), 0.5), rtol=0, atol=PIXEL
    )
    assert distance_from_uniform((shown[:, 0, 0, 3] - 0.5) / 0.1, 0.5, 1.5) < 1.95 / 2000**0.5


def test_the_three_factors_are_independent_of_one_another() -> None:
    # Left half reddish, right half darker: means, differences of halves and of channels give the
    # factors away.
    level = torch.tensor([0.35, 0.35, 0.45, 0.45])
    images = (level + torch.tensor([0.02, -0.01, -0.01])[:, None, None]).expand(2000, 3, 4, 4)
    shown = view(
        images, JITTERED.model_copy(update={"brightness": 0.4, "contrast": 0.4, "saturation": 0.4})
    )
    brightness = shown.mean(dim=(1, 2, 3)) / 0.4
    contrast = (shown[..., 3] - shown[..., 0]).mean(dim=(1, 2)) / 0.1 / brightness
    saturation = (shown[:, 0] - shown[:, 1]).mean(dim=(1, 2)) / 0.03 / brightness / contrast
    for factor in (brightness, contrast, saturation):
        assert distance_from_uniform(factor, 0.6, 1.4) < 1.95 / 2000**0.5
    correlation = torch.corrcoef(torch.stack([brightness, contrast, saturation])).fill_diagonal_(0)
    assert correlation.abs().max() < 3.5 / 2000**0.5  # 99.9 % of three


def test_the_jitter_happens_with_its_probability_and_else_changes_nothing() -> None:
    images = noise(1000, 4, low=0.4, high=0.6)
    shown = view(
        images,
        JITTERED.model_copy(
            update={"jitter": 0.8, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
        ),
    )
    share = float(is_near(shown, images).float().mean())
    assert abs(share - 0.2) < 3.3 * (0.2 * 0.8 / 1000) ** 0.5  # 99.9 % of the binomial


def test_hue_is_shifted_as_in_the_encoders_views_and_grey_stays_grey() -> None:
    images, shift = noise(40), torch.linspace(-0.5, 0.5, 40)
    images[:, :, 0, 0] = 0.3
    planes = images.transpose(0, 1).clone()
    shift_hue(planes, shift)
    found = hue_shifted(images, shift)
    torch.testing.assert_close(found, planes.transpose(0, 1), rtol=0, atol=PIXEL)
    torch.testing.assert_close(found[:, :, 0, 0], torch.full((40, 3), 0.3), rtol=0, atol=PIXEL)


def test_gradients_of_a_shifted_hue_agree_with_finite_differences_and_stay_finite_at_grey() -> None:
    shift = torch.tensor([0.1, -0.07, 0.0]).double()
    images = noise(3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda images: hue_shifted(images, shift), images)
    flat = torch.full((3, 3, 4, 4), 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(hue_shifted(flat, shift.float()).square().sum(), flat)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 10


def test_hue_shifts_are_uniform_about_none_and_come_with_the_jitter() -> None:
    pure = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(2000, 3, 4, 4)
    recipe = JITTERED.model_copy(update={"hue": 0.1, "greyscale": 0.0})
    shown = view(pure, recipe, colour="full")[..., 0, 0]
    # Red turns to yellow or to magenta: green or blue rises by six times the turn.
    turns = (shown[:, 1] - shown[:, 2]) / 6
    assert distance_from_uniform(turns, -0.1, 0.1) < 1.95 / 2000**0.5
    still = view(pure, recipe.model_copy(update={"jitter": 0.0}), colour="full")
    torch.testing.assert_close(still, pure, rtol=0, atol=PIXEL)


def test_images_become_grey_with_their_probability_whatever_the_jitter() -> None:
    images = noise(400)
    shown = view(images, STILL.model_copy(update={"greyscale": 0.2}), colour="full")
    luma = grey(images.transpose(0, 1))[:, None].expand_as(images)
    is_grey, is_same = is_near(shown, luma), is_near(shown, images)
    assert (is_grey ^ is_same).all()
    assert abs(float(is_grey.float().mean()) - 0.2) < 3.3 * (0.16 / 400) ** 0.5


def test_further_colours_leave_the_other_draws_as_they_are() -> None:
    images, recipe = noise(20), BUSY.model_copy(update={"hue": 0.0, "greyscale": 0.0})
    full = view(images, recipe, colour="full")
    torch.testing.assert_close(full, view(images, recipe), rtol=0, atol=PIXEL)


def test_without_anything_the_judge_sees_images_or_mirrored_ones() -> None:
    images = noise(400)
    shown = judged(images)
    is_same, is_mirrored = is_near(shown, images), is_near(shown, images.flip(-1))
    assert (is_same ^ is_mirrored).all()
    assert abs(float(is_mirrored.float().mean()) - 0.5) < 3.3 * 0.5 / 400**0.5


def test_translation_moves_by_whole_pixels_within_its_reach_and_fills_with_grey() -> None:
    # 0.2 of 8 pixels is 1.6, hence up to two: 25 shifts, each with and without the mirror.
    image = noise(1)[0]
    shown = judged(image.expand(600, 3, 8, 8), translation=0.2)
    found, times = set(), torch.zeros(600, dtype=torch.long)
    for mirrored, down, right in itertools.product((False, True), range(-3, 4), range(-3, 4)):
        is_this = is_near(
            shown, shifted(image.flip(-1) if mirrored else image, down, right).expand_as(shown)
        )
        times += is_this
        if is_this.any():
            found.add((mirrored, down, right))
    assert (times == 1).all()
    assert found == set(itertools.product((False, True), range(-2, 3), range(-2, 3)))


def test_the_cutout_is_a_grey_square_whose_centre_is_any_pixel() -> None:
    # 0.4 of 8 pixels is 3.2, hence three. On white the square shows; beyond the border it goes on
    # unseen.
    is_cut = judged(torch.ones(800, 3, 8, 8), cutout=0.4) < 1 - PIXEL
    assert torch.equal(is_cut, is_cut[:, :1].expand_as(is_cut))
    expected = set()
    for row, column in itertools.product(range(8), repeat=2):
        square = torch.zeros(8, 8, dtype=torch.bool)
        square[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
        expected.add(tuple(square.flatten().tolist()))
    assert len(expected) == 64
    assert {tuple(cut.flatten().tolist()) for cut in is_cut[:, 0]} == expected


def test_within_the_cutout_all_is_grey_and_outside_the_image_is_untouched() -> None:
    images = noise(100)
    shown = judged(images, cutout=0.5)
    is_cut = (shown - GREY_LEVEL).abs().amax(dim=1, keepdim=True) < PIXEL
    is_same, is_mirrored = (
        (shown - whole).abs().amax(dim=1, keepdim=True) < PIXEL
        for whole in (images, images.flip(-1))
    )
    assert (
        (is_cut | is_same).flatten(1).all(dim=1) ^ (is_cut | is_mirrored).flatten(1).all(dim=1)
    ).all()
    counts = is_cut.flatten(1).sum(dim=1)
    assert counts.max() == 16
    assert counts.min() >= 4


def test_no_gradient_comes_out_of_the_cutout() -> None:
    images = noise(50).requires_grad_()
    shown = judged(images, cutout=0.5)
    (gradient,) = torch.autograd.grad(shown.sum(), images)
    is_cut = ((shown.detach() - GREY_LEVEL).abs() < PIXEL).all(dim=1).flatten(1).sum(dim=1)
    is_zero, is_one = gradient.abs() < PIXEL, (gradient - 1).abs() < PIXEL
    assert (is_zero | is_one).all()
    assert torch.equal(is_zero[:, 0].flatten(1).sum(dim=1), is_cut)


def test_without_colour_the_judge_sees_the_colours_of_the_images() -> None:
    # Equal pixels of one image each: neither mirror nor shift shows, and what is not grey must be
    # as it was.
    images = noise(100)[:, :, :1, :1].expand(100, 3, 8, 8)
    shown = judged(images, translation=0.2, cutout=0.5)
    is_grey = (shown - GREY_LEVEL).abs().amax(dim=1) < PIXEL
    is_as_before = (shown - images).abs().amax(dim=1) < PIXEL
    assert (is_grey | is_as_before).all()
    assert is_grey.flatten(1).any(dim=1).all()
    coloured = judged(images, colour=True)
    assert not is_near(coloured, images).any()


def test_colours_change_by_the_published_amounts_and_independently() -> None:
    # The inverse of the image's own three numbers: mean, difference of halves, difference of
    # channels.
    level = torch.tensor([0.45, 0.45, 0.55, 0.55])[
        :, None
    ]  # by rows, so that the mirror does not show
    images = (level + torch.tensor([0.02, -0.01, -0.01])[:, None, None]).expand(2000, 3, 4, 4)
    shown = judged(images, colour=True)
    brightness = shown.mean(dim=(1, 2, 3)) - 0.5
    contrast = (shown[:, :, 3] - shown[:, :, 0]).mean(dim=(1, 2)) / 0.1
    saturation = (shown[:, 0] - shown[:, 1]).mean(dim=(1, 2)) / 0.03 / contrast
    assert distance_from_uniform(brightness, -0.25, 0.25) < 1.95 / 2000**0.5
    assert distance_from_uniform(contrast, 0.5, 1.5) < 1.95 / 2000**0.5
    assert distance_from_uniform(saturation, 0.0, 2.0) < 1.95 / 2000**0.5
    correlation = torch.corrcoef(torch.stack([brightness, contrast, saturation])).fill_diagonal_(0)
    assert correlation.abs().max() < 3.5 / 2000**0.5  # 99.9 % of three


def test_what_lies_beyond_the_border_is_grey_in_other_colours_too() -> None:
    shown = judged(torch.ones(200, 3, 8, 8), translation=0.5, colour=True)
    corners = shown[..., [0, 0, 7, 7], [0, 7, 0, 7]]
    is_grey = (corners - GREY_LEVEL).abs().amax(dim=1) < PIXEL
    assert is_grey.any(dim=1).float().mean() > 0.8  # all but the images that are moved nowhere
    assert not is_grey.all()


def test_gradients_of_what_the_judge_sees_agree_with_finite_differences() -> None:
    images = noise(3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda images: judged(images, translation=0.25, cutout=0.5, colour=True), images
    )


@pytest.mark.parametrize("beyond", ["border", "zeros"])
def test_two_products_give_the_pixels_and_the_gradients_of_the_grid(beyond: Beyond) -> None:
    draws = generator(0, "boxes")
    start, extent = torch.rand(2, 64, 2, generator=draws) * 0.5
    boxes = torch.cat([start - 0.1, extent + 0.3], dim=1)
    flip, weights = torch.arange(64) % 2 == 0, torch.randn(64, 3, 8, 8, generator=draws)
    found, gradients = [], []
    for form in (resampled_on_a_grid, resampled_by_products):
        images = noise(64).requires_grad_()
        found.append(form(images, boxes, flip, beyond=beyond))
        gradients += torch.autograd.grad((found[-1] * weights).sum(), images)
    torch.testing.assert_close(*found, atol=PIXEL, rtol=0)
    torch.testing.assert_close(*gradients, atol=10 * PIXEL, rtol=0)
    assert not torch.equal(found[0], found[0].flip(-1))
