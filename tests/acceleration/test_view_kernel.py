"""The compiled kernel makes the views of PyTorch's own kernels, whatever the recipe, size and
memory format."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sparring.acceleration import view_kernel
from sparring.data.views.view_parameters import draw_parameters
from sparring.data.views.view_settings import PRESETS, ViewSettings
from sparring.data.views.views import make_view, view_by_kernel, view_by_tensors
from sparring.seeding import generator

pytestmark = pytest.mark.skipif(
    view_kernel.library() is None, reason="the kernel was not built: no C compiler"
)

EVERYTHING = ViewSettings(
    jitter=1.0,
    hue=0.5,
    greyscale=0.3,
    blur=0.7,
    solarise=0.3,
    crop_scale=(0.05, 1.0),
    brightness=0.9,
    saturation=2.0,
)
TOLERANCE = 2e-5


def pictures(batch: int, height: int, width: int) -> Tensor:
    """Noise, smooth in parts, with grey and extreme pixels."""
    images = torch.randint(
        0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator(0, "pictures")
    )
    images[::3, 1:] = images[::3, :1]
    images[1::4] = (images[1::4] // 128) * 255
    return images


def both(
    images: Tensor, recipe: ViewSettings, *, size: int, is_cropped: bool = False
) -> tuple[Tensor, Tensor]:
    height, width = (torch.full((len(images),), side) for side in images.shape[2:])
    parameters = draw_parameters(recipe, height, width, generator=generator(1, "draws"))
    parameters = replace(parameters, box=None) if is_cropped else parameters
    return view_by_kernel(images, parameters, recipe, size=size), view_by_tensors(
        images, parameters, recipe, size=size
    )


def close(a: Tensor, b: Tensor, *, recipe: ViewSettings) -> bool:
    """Whether views agree up to rounding; at the threshold, rounding decides which values are
    inverted."""
    apart = (a - b).abs() > TOLERANCE
    edge = (a - recipe.solarise_threshold).abs() < 0.02
    return bool((~apart | (edge & (recipe.solarise > 0))).all()) and apart.float().mean() < 1e-3


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(32, 32, 32), (32, 32, 12), (40, 61, 24), (17, 90, 32), (96, 96, 96), (150, 130, 224)],
)
def test_every_operation_with_crops_from_larger_and_smaller_images(
    height: int, width: int, size: int
) -> None:
    view_by_kernel, expected = both(pictures(40, height, width), EVERYTHING, size=size)
    assert view_by_kernel.shape == expected.shape
    assert close(view_by_kernel, expected, recipe=EVERYTHING)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset(preset: str) -> None:
    for recipe in PRESETS[preset](32):
        size = recipe.size or 32
        assert close(*both(pictures(48, 32, 32), recipe, size=size), recipe=recipe)


@pytest.mark.parametrize("size", [8, 33, 224])
def test_images_that_are_cropped_already_in_any_order_of_memory(size: int) -> None:
    images = pictures(20, size, size)
    orders = [
        images,
        images.contiguous(memory_format=torch.channels_last),
        pictures(40, size, size)[::2],
    ]
    for same in orders:
        assert close(*both(same, EVERYTHING, size=size, is_cropped=True), recipe=EVERYTHING)


@pytest.mark.parametrize(
    "strength",
    ["brightness", "contrast", "saturation", "hue", "greyscale", "blur", "solarise", "flip"],
)
def test_each_operation_alone(strength: str) -> None:
    none = dict.fromkeys(
        ("brightness", "contrast", "saturation", "hue", "greyscale", "blur", "solarise", "flip"),
        0.0,
    )
    recipe = ViewSettings(**{**none, strength: 0.5}, jitter=1.0)  # type: ignore[arg-type]
    view_by_kernel, expected = both(pictures(48, 36, 36), recipe, size=36, is_cropped=True)
    assert close(view_by_kernel, expected, recipe=recipe)
    untouched = pictures(48, 36, 36).float() / 255
    assert (view_by_kernel - untouched).abs().amax() > 0.01


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    images, recipe = pictures(100, 20, 20), EVERYTHING
    sides = torch.full((100,), 20)
    parameters = draw_parameters(recipe, sides, sides, generator=generator(0, "draws"))
    views = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        views.append(make_view(images, parameters, recipe))
    assert torch.equal(*views)


def test_without_the_kernel_views_are_made_by_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    images, recipe = pictures(10, 20, 20), EVERYTHING
    sides = torch.full((10,), 20)
    parameters = draw_parameters(recipe, sides, sides, generator=generator(0, "draws"))
    monkeypatch.setattr(view_kernel, "library", lambda: None)
    assert torch.equal(
        make_view(images, parameters, recipe), view_by_tensors(images, parameters, recipe, size=20)
    )
