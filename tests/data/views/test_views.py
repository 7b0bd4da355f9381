"""Whole views against torchvision's operations in sequence with the same parameters, and what a
batch must not change.

Tolerance of the comparison: 2e-5. A view chains up to eight float32 operations whose single errors
reach 3e-6, and contrast and saturation amplify them by up to 1.8; the largest difference seen is
5e-6.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from sparring.acceleration import view_kernel
from sparring.data.views import image_operations as ops
from sparring.data.views import static_views
from sparring.data.views import views as views_module
from sparring.data.views.views import (
    PRESETS,
    ViewParameters,
    Views,
    ViewSettings,
    ViewsSettings,
    draw_parameters,
    make_view,
)
from sparring.seeding import generator

TOLERANCE = 2e-5
BATCH = 48
RECIPES = {
    f"{name}-{place}": recipe
    for name in PRESETS
    for place, recipe in enumerate(ViewsSettings(preset=name).resolve(32))
    if place == 0 or recipe != ViewsSettings(preset=name).resolve(32)[place - 1]
}
BUSY = ViewSettings(size=32, jitter=0.9, hue=0.3, greyscale=0.3, blur=0.6, solarise=0.4)


@pytest.fixture(autouse=True, params=["kernel", "tensors", "static"])
def _by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for the compiled kernel, for tensors, and for the form that
    accelerators take."""
    if request.param == "static":
        monkeypatch.setattr(static_views, "is_chosen", lambda device: True)
    elif request.param == "tensors":
        monkeypatch.setattr(view_kernel, "library", lambda: None)
    elif view_kernel.library() is None:
        pytest.skip("the kernel was not built: no C compiler")


def image_batch(batch: int = BATCH, height: int = 32, width: int = 32) -> Tensor:
    """Half noise, half smooth gradients with a little noise; every sixth image is grey."""
    draws = generator(0, "images", batch, height, width)
    noise = torch.rand(batch, 3, height, width, generator=draws)
    ramp = torch.linspace(0, 1, width) * torch.rand(batch, 3, 1, 1, generator=draws)
    noise[::2] = 0.8 * ramp[::2] + 0.2 * noise[::2]
    noise[::6] = noise[::6, :1]
    return noise.mul(255).round().byte()


def parameters_for(images: Tensor, recipe: ViewSettings) -> ViewParameters:
    batch, _, height, width = images.shape
    ones = torch.ones(batch, dtype=torch.long)
    return draw_parameters(
        recipe, ones * height, ones * width, generator=generator(0, "parameters")
    )


def by_torchvision(
    image: Tensor, parameters: ViewParameters, recipe: ViewSettings, *, row: int
) -> Tensor:
    """One view of one image by torchvision's functions; `row` of the parameters."""
    own = parameters.rows(slice(row, row + 1))
    size, view = recipe.size or 0, image.float() / 255
    if own.box is not None:
        view = tv.resized_crop(view, *own.box[0].tolist(), [size, size], antialias=True)
    if own.flip:
        view = tv.horizontal_flip(view)
    if own.jitter:
        view = jittered_by_torchvision(view, own)
    if own.greyscale:
        view = tv.rgb_to_grayscale(view, num_output_channels=3)
    if own.blur:
        taps = ops.blur_kernel_size(view.shape[-1])
        view = tv.gaussian_blur(view, [taps, taps], [own.sigma.item()] * 2)
    return tv.solarize(view, recipe.solarise_threshold) if own.solarise else view


def jittered_by_torchvision(view: Tensor, own: ViewParameters) -> Tensor:
    operations = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
    factors = [own.brightness, own.contrast, own.saturation, own.hue]
    for place in own.order[0].tolist():
        view = operations[place](view, factors[place].item())
    return view


def errors(
    view: Tensor, images: Tensor, parameters: ViewParameters, recipe: ViewSettings
) -> Tensor:
    """Largest difference of each sample from torchvision's view."""
    expected = [
        by_torchvision(image, parameters, recipe, row=row) for row, image in enumerate(images)
    ]
    return (view - torch.stack(expected)).abs().amax(dim=(1, 2, 3))


@pytest.mark.parametrize("name", RECIPES)
def test_views_equal_torchvision_image_by_image(name: str) -> None:
    images, recipe = image_batch(), RECIPES[name]
    parameters = parameters_for(images, recipe)
    assert (
        errors(make_view(images, parameters, recipe), images, parameters, recipe).max() < TOLERANCE
    )


@pytest.mark.parametrize(("height", "width"), [(40, 56), (90, 33)])
def test_views_of_images_that_are_not_square(height: int, width: int) -> None:
    images = image_batch(height=height, width=width)
    parameters = parameters_for(images, BUSY)
    assert errors(make_view(images, parameters, BUSY), images, parameters, BUSY).max() < TOLERANCE


def test_a_shared_jitter_order_would_fail_the_comparison() -> None:
    recipe = BUSY.model_copy(update={"jitter": 1.0, "solarise": 0.0})
    images = image_batch()
    parameters = parameters_for(images, recipe)
    shared = replace(parameters, order=parameters.order[:1].expand(BATCH, 4))
    wrong = errors(make_view(images, shared, recipe), images, parameters, recipe) > TOLERANCE
    differs = (parameters.order != shared.order).any(dim=1)
    assert wrong[differs].float().mean() > 0.7  # a grey image hardly feels the order
    assert not wrong[~differs].any()


@pytest.mark.parametrize("preset", PRESETS)
def test_views_have_the_asked_size_range_type_and_layout(preset: str) -> None:
    recipes = ViewsSettings(preset=preset).resolve(32)
    images = image_batch()
    before = images.clone()
    views = Views(recipes, image_size=32)(images, generator=generator(0, "views"))
    assert torch.equal(images, before)
    for view, recipe in zip(views, recipes, strict=True):
        assert view.shape == (BATCH, 3, recipe.size, recipe.size)
        assert view.dtype == torch.float32
        assert view.is_contiguous(memory_format=torch.channels_last)
        assert view.min() >= 0
        assert view.max() <= 1


def test_a_recipe_without_size_takes_that_of_the_run() -> None:
    views = Views([ViewSettings(), ViewSettings(size=16)], image_size=24)(
        image_batch(), generator=generator(0, "views")
    )
    assert [view.shape[-1] for view in views] == [24, 16]


def test_two_views_of_a_batch_differ_and_repeat_with_the_generator() -> None:
    make, images = Views([BUSY, BUSY], image_size=32), image_batch()
    first, second = make(images, generator=generator(0, "views"))
    again, _ = make(images, generator=generator(0, "views"))
    other, _ = make(images, generator=generator(1, "views"))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("size", [32, 21, 13])
def test_permuting_images_and_parameters_permutes_the_views_to_the_bit(size: int) -> None:
    recipe, images = BUSY.model_copy(update={"size": size}), image_batch()
    parameters = parameters_for(images, recipe)
    order = torch.randperm(BATCH, generator=generator(0, "order"))
    expected = make_view(images, parameters, recipe)[order]
    assert torch.equal(make_view(images[order], parameters.rows(order), recipe), expected)


@pytest.mark.parametrize("size", [32, 21, 13])
def test_the_size_of_a_chunk_changes_no_bit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, images = BUSY.model_copy(update={"size": size}), image_batch()
    parameters = parameters_for(images, recipe)
    expected = make_view(images, parameters, recipe)
    monkeypatch.setattr(views_module, "CHUNK_PIXELS", 5_000)
    monkeypatch.setattr(static_views, "CHUNK_PIXELS", 5_000)
    assert torch.equal(make_view(images, parameters, recipe), expected)


@pytest.mark.parametrize("size", [32, 21])
def test_processes_together_make_the_views_of_one(size: int) -> None:
    make, images = Views([BUSY, BUSY], image_size=size), image_batch()
    joint = make(images, generator=generator(0, "views"))
    shards = [
        make(part, generator=generator(0, "views"), shard=(rank, 3))
        for rank, part in enumerate(images.chunk(3))
    ]
    for place, view in enumerate(joint):
        assert torch.equal(torch.cat([shard[place] for shard in shards]), view)


def test_images_that_are_already_cropped_get_everything_but_the_crop() -> None:
    recipes = [BUSY, BUSY.model_copy(update={"size": 20})]
    images = [image_batch(), image_batch(height=20, width=20)]
    drawn = [replace(parameters_for(batch, BUSY), box=None) for batch in images]
    for batch, parameters, recipe in zip(images, drawn, recipes, strict=True):
        assert (
            errors(make_view(batch, parameters, recipe), batch, parameters, recipe).max()
            < TOLERANCE
        )
    views = Views(recipes, image_size=32)(images, generator=generator(0, "views"))
    assert [view.shape[-1] for view in views] == [32, 20]


@pytest.mark.parametrize("is_cropped", [False, True])
def test_views_are_made_from_parameters_drawn_ahead(is_cropped: bool) -> None:
    recipes = [BUSY, BUSY.model_copy(update={"size": 20})]
    make, whole = Views(recipes, image_size=32), image_batch()
    images = [whole, image_batch(height=20, width=20)] if is_cropped else whole
    now, ahead = generator(0, "views"), generator(0, "views")
    at_once = make(images, generator=now, shard=(1, 2))
    drawn = make.draw(BATCH, 32, 32, generator=ahead, shard=(1, 2), is_cropped=is_cropped)
    assert torch.equal(now.get_state(), ahead.get_state())
    assert [each.box is None for each in drawn] == [is_cropped] * 2
    assert all(map(torch.equal, make.make(images, drawn), at_once))
    packed = torch.stack([each.packed() for each in drawn])
    assert all(map(torch.equal, make.make(images, packed), at_once))


STILL = ViewSettings(flip=0, jitter=0, greyscale=0)


def test_cropped_images_are_not_cropped_again() -> None:
    images = image_batch()
    (view,) = Views([STILL], image_size=32)([images], generator=generator(0, "views"))
    assert torch.equal(view, images / 255)


def test_a_view_of_the_whole_image_is_the_image() -> None:
    whole = STILL.model_copy(update={"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)})
    images = image_batch()
    (view,) = Views([whole], image_size=32)(images, generator=generator(0, "views"))
    torch.testing.assert_close(view, images / 255, rtol=0, atol=1e-6)  # rounding of 1 / 255


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_white_images_stay_in_range(blur: float) -> None:
    """Weights of a resize or a blur sum to one up to rounding, which would lift white above one."""
    recipe = STILL.model_copy(update={"blur": blur})
    white = torch.full((BATCH, 3, 96, 96), 255, dtype=torch.uint8)
    (view,) = Views([recipe], image_size=32)(white, generator=generator(0, "views"))
    assert view.max() <= 1
    assert view.min() > 1 - 1e-5


@pytest.mark.parametrize("bands", [1, 2, 4, 7])
def test_other_channels_are_spared_what_needs_colours(bands: int) -> None:
    """Each channel has the crop, blur and solarisation that it would have in a colour image."""
    colours = image_batch()
    recipe = replace_colours(BUSY)
    parameters = parameters_for(colours, BUSY)
    plain = replace(
        parameters,
        jitter=torch.zeros_like(parameters.jitter),
        greyscale=torch.zeros_like(parameters.greyscale),
    )
    images = colours[:, [0]].expand(-1, bands, -1, -1)
    found = make_view(images, replace(parameters, jitter=plain.jitter), BUSY)
    expected = make_view(colours, plain, recipe)
    assert found.shape == (BATCH, bands, 32, 32)
    for band in range(bands):
        torch.testing.assert_close(found[:, band], expected[:, 0], atol=TOLERANCE, rtol=0)


def replace_colours(recipe: ViewSettings) -> ViewSettings:
    return recipe.model_copy(update={"saturation": 0.0, "hue": 0.0, "greyscale": 0.0})


def test_the_kernel_is_never_given_other_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_kernel, "make_view", lambda *_, **__: pytest.fail("by the kernel"))
    images = image_batch()[:, :2]
    assert make_view(images, parameters_for(image_batch(), BUSY), BUSY).shape[1] == 2


def test_brightness_and_contrast_change_every_number_of_channels() -> None:
    recipe = ViewSettings(size=32, jitter=1.0, greyscale=0, hue=0, saturation=0)
    images = image_batch()[:, [0, 1, 2, 0, 1]]
    parameters = parameters_for(image_batch(), recipe)
    still = replace(parameters, jitter=torch.zeros_like(parameters.jitter))
    changed, same = (make_view(images, each, recipe) for each in (parameters, still))
    assert ((changed - same).abs().amax(dim=(1, 2, 3)) > 0.01).float().mean() > 0.9
    assert 0 <= changed.min() <= changed.max() <= 1
