"""The static form of views on a CPU: operations against torchvision, and what a compiler and a
device ask of it. `test_views.py` holds whole views in this form to torchvision's.

Tolerance of operations: 1e-5, see `test_image_operations.py`. Tolerance to the slow twin: 1e-5 at
32 pixels; at 224 the twin itself is up to 3e-5 away from torchvision on noise, since it measures
distances in pixels of the whole image.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import product
from typing import Any

import pytest
import test_image_operations as by_operation
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torchvision.transforms.v2 import functional as tv

import sparring.data.views.views
from sparring import acceleration
from sparring.data.views import static_views as static
from sparring.data.views.view_parameters import HUE, NUM_COLUMNS
from sparring.data.views.views import (
    ViewParameters,
    Views,
    ViewSettings,
    ViewsSettings,
    draw_parameters,
    view_by_tensors,
)
from sparring.seeding import generator

TOLERANCE = 1e-5
BATCH = 12
BUSY = ViewSettings(
    size=32,
    jitter=0.9,
    hue=0.3,
    greyscale=0.3,
    blur=0.6,
    solarise=0.4,
    solarise_threshold=0.4987,  # no grey level: at the threshold, rounding decides
)
IMAGES, PLANES, SINGLE = by_operation.IMAGES, by_operation.PLANES, by_operation.SINGLE
COLOURS = list(PLANES.transpose(0, 1).split(1, dim=1))


def noise(batch: int = BATCH, bands: int = 3, size: int = 32) -> Tensor:
    draws = generator(0, "noise", batch, bands, size)
    return torch.randint(0, 256, (batch, bands, size, size), generator=draws, dtype=torch.uint8)


def drawn(
    recipe: ViewSettings, size: int = 32, seed: int = 0, batch: int = BATCH
) -> ViewParameters:
    sides = torch.full((batch,), size)
    return draw_parameters(recipe, sides, sides, generator=generator(seed, "draws"))


def largest_error(planes: list[Tensor], expected: list[Tensor]) -> float:
    return (torch.cat(planes, dim=1) - torch.stack(expected)).abs().max().item()


@pytest.mark.parametrize("size", [32, 20, 13])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 70), (40, 130), (256, 300)])
def test_resized_crop_equals_torchvision(height: int, width: int, size: int) -> None:
    images = by_operation.image_batch(height, width)
    boxes = by_operation.boxes_in(height, width)
    flip = torch.arange(len(images)) % 2 == 1
    expected = []
    for image, box, mirror in zip(images, boxes.tolist(), flip.tolist(), strict=True):
        crop = tv.resized_crop(image.float() / 255, *box, [size, size], antialias=True)
        expected.append(tv.horizontal_flip(crop) if mirror else crop)
    found = static.resized_crop(images, boxes, flip, size=size)
    assert largest_error([found], expected) < TOLERANCE


def test_resized_crop_to_224_pixels_equals_torchvision() -> None:
    images, box = noise(2, size=256), torch.tensor([[3, 11, 251, 240], [100, 90, 77, 160]])
    flip = torch.tensor([False, True])
    expected = [
        tv.resized_crop(image.float() / 255, *place.tolist(), [224, 224], antialias=True)
        for image, place in zip(images, box, strict=True)
    ]
    expected[1] = tv.horizontal_flip(expected[1])
    found = static.resized_crop(images, box, flip, size=224)
    assert largest_error([found], expected) < TOLERANCE


def test_crop_does_not_see_pixels_outside_its_box() -> None:
    box, flip = torch.tensor([[8, 6, 11, 13]] * len(IMAGES)), torch.zeros(len(IMAGES)).bool()
    changed = 255 - IMAGES
    changed[:, :, 8:19, 6:19] = IMAGES[:, :, 8:19, 6:19]
    crops = [static.resized_crop(images, box, flip, size=32) for images in (IMAGES, changed)]
    assert torch.equal(*crops)


def test_flipped_mirrors_only_the_chosen_images() -> None:
    flip = torch.arange(len(IMAGES)) % 2 == 0
    expected = [
        tv.horizontal_flip(x) if mirror else x
        for x, mirror in zip(SINGLE, flip.tolist(), strict=True)
    ]
    assert largest_error([static.flipped(IMAGES, flip)], expected) == 0


@pytest.mark.parametrize("shift", range(0, len(IMAGES), 3))
def test_brightness_contrast_and_saturation_are_blends(shift: int) -> None:
    factors, none = by_operation.FACTORS.roll(shift), torch.zeros(len(IMAGES))
    cases = [
        (tv.adjust_brightness, none, none),
        (tv.adjust_contrast, none, 1 - factors),
        (tv.adjust_saturation, 1 - factors, none),
    ]
    for adjust, to_grey, to_mean in cases:
        expected = [adjust(x, f) for x, f in zip(SINGLE, factors.tolist(), strict=True)]
        found = static.blended(COLOURS, keep=factors, to_grey=to_grey, to_mean=to_mean)
        assert largest_error(found, expected) < TOLERANCE


@pytest.mark.parametrize("turn", range(0, len(IMAGES), 3))
def test_hue_shift_equals_torchvision(turn: int) -> None:
    shifts = torch.tensor([-0.5, -0.31, -0.1, 0.0, 0.01, 0.1, 0.2, 0.5]).roll(turn)
    expected = [tv.adjust_hue(x, s) for x, s in zip(SINGLE, shifts.tolist(), strict=True)]
    assert largest_error(static.hue_shifted(COLOURS, shifts), expected) < TOLERANCE


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.05, 0.2, 0.5])
def test_hue_shift_equals_torchvision_where_channels_tie(shift: float) -> None:
    levels = [0, 1, 2, 127, 128, 200, 254, 255]
    colours = torch.tensor(list(product(levels, repeat=3))).t().reshape(1, 3, 16, 32) / 255
    found = static.hue_shifted(list(colours.split(1, dim=1)), torch.tensor([shift]))
    assert largest_error(found, [tv.adjust_hue(colours[0], shift)]) < TOLERANCE


@pytest.mark.parametrize("size", [32, 96, 224])
def test_blur_equals_torchvision(size: int) -> None:
    sigmas = torch.tensor([0.1, 0.2, 0.5, 0.8, 1.0, 1.3, 1.7, 2.0])
    kernel = static.blur_kernels(torch.ones(len(IMAGES)).bool(), sigmas, size=size)
    taps = 2 * kernel.shape[1] - 1
    assert taps == {32: 3, 96: 9, 224: 23}[size]
    expected = [
        tv.gaussian_blur(x, [taps, taps], [s, s])
        for x, s in zip(SINGLE, sigmas.tolist(), strict=True)
    ]
    found = static.blurred(PLANES.transpose(0, 1), kernel)
    assert largest_error([found], expected) < TOLERANCE


def test_neutral_parameters_leave_images_as_they_are_to_the_bit() -> None:
    none, images = torch.zeros(len(IMAGES)), torch.cat(COLOURS, dim=1)
    same = static.blended(COLOURS, keep=none + 1, to_grey=none, to_mean=none)
    assert torch.equal(torch.cat(same, dim=1), images)
    kernel = static.blur_kernels(none.bool(), none + 2, size=96)
    assert torch.equal(static.blurred(images, kernel), images)
    still = replace(drawn(BUSY, batch=len(IMAGES)), jitter=none.bool())
    assert torch.equal(torch.cat(static.jittered(COLOURS, still, with_hue=True), dim=1), images)


@pytest.mark.parametrize("is_cropped", [False, True])
def test_packed_parameters_come_back_exactly(is_cropped: bool) -> None:
    given = drawn(BUSY, size=4_000)
    given = replace(given, box=None) if is_cropped else given
    packed = given.packed()
    assert packed.dtype == torch.float32
    assert packed.shape == (BATCH, NUM_COLUMNS - 4 * is_cropped)
    again = ViewParameters.unpacked(packed)
    for field in fields(ViewParameters):
        before, after = getattr(given, field.name), getattr(again, field.name)
        assert (before is None) == (after is None) == (is_cropped and field.name == "box")
        assert before is None or (before.dtype == after.dtype and torch.equal(before, after))


CASES = {
    "everything": (BUSY, 3, 32, False),
    "smaller": (BUSY.model_copy(update={"size": 12}), 3, 32, False),
    "cropped": (BUSY, 3, 32, True),
    "grey": (BUSY, 1, 32, False),
    "five channels": (BUSY, 5, 40, False),
    "96 pixels": (BUSY.model_copy(update={"size": 96}), 3, 70, False),
}


def case(name: str, seed: int = 0) -> tuple[ViewSettings, Tensor, Tensor, Tensor]:
    """Recipe, images, packed parameters and the view of the slow twin."""
    recipe, bands, size, is_cropped = CASES[name]
    images, parameters = noise(bands=bands, size=size), drawn(recipe, size, seed)
    if is_cropped:
        parameters = replace(parameters, box=None)
    plain = (recipe, parameters)
    if bands != 3:
        plain = recipe.without_colour(), parameters.without_colour()
    expected = view_by_tensors(images, plain[1], plain[0], size=recipe.size or size)
    return recipe, images, parameters.packed(), expected


@pytest.mark.parametrize("name", CASES)
def test_static_views_equal_those_of_the_slow_twin(name: str) -> None:
    recipe, images, packed, expected = case(name)
    assert recipe.size is not None
    view = static.static_view(images, packed, recipe=recipe, size=recipe.size)
    torch.testing.assert_close(view, expected, atol=2e-5, rtol=0)
    assert view.is_contiguous(memory_format=torch.channels_last)
    alone = static.static_view(images[5:6], packed[5:6], recipe=recipe, size=recipe.size)
    assert torch.equal(alone[0], view[5])


def test_the_hue_shift_runs_at_every_place_of_the_order() -> None:
    assert {int((order == HUE).nonzero()) for order in drawn(BUSY).order} == {0, 1, 2, 3}


@pytest.mark.parametrize("preset", ["mocov2-small", "simclr-imagenet", "byol", "multi-crop-adco"])
def test_nothing_is_read_back_from_the_device(preset: str) -> None:
    """Tensors of the meta device have shapes and no values: whoever asks for one fails."""
    recipes = ViewsSettings(preset=preset).resolve(64)
    images = torch.empty(BATCH, 3, 80, 80, dtype=torch.uint8, device="meta")
    make = Views(recipes, image_size=64)
    views = make(images, generator=generator(0, "views"))
    assert [view.shape[-1] for view in views] == [recipe.size for recipe in recipes]
    assert all(view.device.type == "meta" for view in views)


def test_it_is_taken_on_accelerators_only_and_only_where_fast_paths_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SPARRING_ACCELERATION", raising=False)
    assert not static.is_chosen(torch.device("cpu"))
    assert static.is_chosen(torch.device("cuda", 0))
    assert static.is_chosen(torch.device("mps"))
    monkeypatch.setenv("SPARRING_ACCELERATION", "off")
    assert not acceleration.is_on()
    assert not static.is_chosen(torch.device("cuda", 0))


def test_chunks_have_one_shape_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, images, packed, _ = case("everything")
    shapes = set()

    def make(images: Tensor, parameters: Tensor) -> Tensor:
        shapes.add((images.shape, parameters.shape))
        return static.static_view(images, parameters, recipe=recipe, size=32)

    whole = static.in_chunks(make, images, packed, size=32)
    shapes.clear()
    for per_chunk in (5, 1, 11):
        monkeypatch.setattr(static, "CHUNK_PIXELS", per_chunk * 32 * 32)
        assert torch.equal(static.in_chunks(make, images, packed, size=32), whole)
        assert len(shapes) == 1
        assert shapes.pop()[0][0] <= per_chunk


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The views, imported without the checks of shapes, which cannot be compiled."""
    hooks = [finder for finder in sys.meta_path if type(finder).__module__.startswith("jaxtyping")]
    monkeypatch.setattr(sys, "meta_path", [one for one in sys.meta_path if one not in hooks])
    monkeypatch.setattr(sparring.data, "views", sparring.data.views)
    for name in [name for name in sys.modules if name.startswith("sparring.data.views")]:
        monkeypatch.delitem(sys.modules, name)
    views = importlib.import_module("sparring.data.views.views")
    monkeypatch.setattr(views.static_views, "is_chosen", lambda device: True)
    yield views
    torch.compiler.reset()


def counting(counter: Callable[..., Any], names: list[str]) -> Callable[..., Callable[..., Tensor]]:
    """What gives compiled functions whose graphs are counted."""

    def compiled(function: Callable[..., Tensor], *, name: str) -> Callable[..., Tensor]:
        names.append(name)
        made: Callable[..., Tensor] = torch.compile(
            function, backend=counter, fullgraph=True, dynamic=False
        )
        return made

    return compiled


@pytest.mark.parametrize(
    ("name", "backend"),
    [("everything", "aot_eager"), ("cropped", "eager"), ("five channels", "eager")],
)
def test_twenty_draws_are_one_graph(name: str, backend: str, plain: Any) -> None:
    counter, names = CompileCounterWithBackend(backend), list[str]()
    recipe, images, _, _ = case(name)
    make = plain.Views([recipe, recipe], image_size=32)
    make.compile(counting(counter, names), batch_size=BATCH)
    for seed in range(20):
        _, _, packed, expected = case(name, seed)
        for view in make.make(images, torch.stack([packed, packed])):
            torch.testing.assert_close(view, expected, atol=2e-5, rtol=0)
            assert view.is_contiguous(memory_format=torch.channels_last)
    assert counter.frame_count == 1
    assert names == ["views of 32 px"]


def test_batches_of_another_number_of_images_are_not_compiled(plain: Any) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    make = plain.Views([BUSY], image_size=32)
    make.compile(counting(counter, []), batch_size=BATCH)
    (view,) = make(noise(5), generator=generator(0, "views"))
    assert len(view) == 5
    assert counter.frame_count == 0


def test_views_made_without_gradients_are_not_compiled(plain: Any) -> None:
    """Those of the monitor, whose batches are as large as a run's by default."""
    counter = CompileCounterWithBackend("aot_eager")
    make = plain.Views([BUSY], image_size=32)
    make.compile(counting(counter, []), batch_size=BATCH)
    with torch.no_grad():
        make(noise(BATCH), generator=generator(0, "views"))
    assert counter.frame_count == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["everything", "grey"])
def test_code_made_by_inductor_gives_the_same_views(name: str, plain: Any) -> None:
    counter = CompileCounterWithBackend("inductor")
    recipe, images, packed, expected = case(name)
    make = plain.Views([recipe], image_size=32)
    make.compile(counting(counter, []), batch_size=BATCH)
    for _ in range(2):
        (view,) = make.make(images, packed[None])
        torch.testing.assert_close(view, expected, atol=2e-5, rtol=0)
        assert view.is_contiguous(memory_format=torch.channels_last)
    assert counter.frame_count == 1
