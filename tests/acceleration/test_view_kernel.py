"""The compiled kernel makes the views of PyTorch's own kernels, whatever the recipe, size and
memory format."""

import ctypes
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


INSIDE = (0, 0, 12, 9)
LOW, HIGH = -(2**31), 2**31 - 1


def refused(
    *,
    box: tuple[int, ...] = INSIDE,
    factors: tuple[float, ...] = (1.0, 1.0, 1.0, 0.0, 1.0),
    order: tuple[int, ...] = (0, 1, 2, 3),
    size: int = 8,
    **others: float,
) -> bool:
    """Whether the kernel refuses to make views of three images of 12 x 9 pixels, of which the last
    has these parameters."""
    boxes, draws, orders = torch.tensor([INSIDE] * 3), torch.ones(3, 5), torch.arange(4)[None]
    boxes[2], draws[:, 3], draws[2] = torch.tensor(box), 0.0, torch.tensor(factors)
    orders = orders.repeat(3, 1)
    orders[2] = torch.tensor(order)
    parameters = view_kernel.KernelParameters(
        boxes=boxes,
        order=orders,
        factors=draws,
        flags=torch.ones(3, 5, dtype=torch.uint8),
        with_hue=True,
        **{"threshold": 0.5, "reach": 1, "negligible": 1e-4, **others},  # type: ignore[arg-type]
    )
    try:
        view_kernel.make_view(pictures(3, 12, 9), parameters, size=size)
    except ValueError as error:
        return "beyond images of 9 x 12 pixels" in str(error)
    return False


@pytest.mark.parametrize(
    "box",
    [
        *((-1, 0, 5, 5), (0, -1, 5, 5), (LOW, 0, 5, 5), (12, 0, 1, 1), (0, 9, 1, 1)),
        *((0, 0, 0, 5), (0, 0, 5, 0), (0, 0, -5, 5), (0, 0, 13, 5), (0, 0, 5, 10)),
        *((1, 0, 12, 9), (0, 1, 12, 9), (1, 1, HIGH, HIGH), (HIGH, HIGH, HIGH, HIGH)),
    ],
)
def test_a_box_beyond_its_image_is_refused(box: tuple[int, ...]) -> None:
    assert not refused()
    assert refused(box=box)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", range(5))
def test_a_factor_that_is_no_number_is_refused(place: int, value: float) -> None:
    factors = [1.0, 1.0, 1.0, 0.0, 1.0]
    factors[place] = value
    assert refused(factors=tuple(factors))


def test_other_arguments_out_of_range_are_refused() -> None:
    assert refused(factors=(1.0, 1.0, 1.0, 3e9, 1.0))
    assert refused(factors=(1.0, 1.0, 1.0, 0.0, 0.0))
    assert refused(order=(0, 1, 2, 4))
    assert refused(order=(-1, 1, 2, 3))
    assert refused(reach=8)
    assert refused(reach=-1)
    assert refused(threshold=float("nan"))
    assert refused(negligible=float("nan"))


def test_sizes_and_memory_that_do_not_fit_are_refused_by_the_library_itself() -> None:
    kernel = view_kernel.library()
    assert kernel is not None
    values = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    views = torch.zeros(2, 8, 8, 3)
    rows = [torch.zeros(2, 4, dtype=torch.int32), torch.zeros(2, 5), torch.zeros(2, 5).byte()]
    pointers = [ctypes.c_void_p(row.data_ptr()) for row in rows]
    given = view_kernel._Parameters(None, *pointers, 0.5, 1, 1e-4)

    def ended(*, first: int = 0, last: int = 2, size: int = 8, **changed: int) -> int:
        sizes = {"height": 8, "width": 8, "count": 2, "bytes": values.numel()}
        strides = dict(zip(("sample", "channel", "row", "column"), values.stride(), strict=True))
        images = view_kernel._Images(**{"values": values.data_ptr(), **strides, **sizes, **changed})
        place = ctypes.c_void_p(views.data_ptr())
        arguments = ctypes.byref(images), ctypes.byref(given), first, last, size, 0, place
        return int(kernel.sparring_make_views(*arguments))

    assert ended() == 0
    for changed in (
        *({"size": 0}, {"size": -1}, {"size": 2**30}, {"size": 9}),
        *({"first": -1}, {"last": 3}, {"first": 2, "last": 1}, {"count": 1}, {"count": 2**40}),
        *({"height": 0}, {"width": -1}, {"height": 9}, {"height": HIGH, "width": HIGH}),
        *({"bytes": values.numel() - 1}, {"bytes": 0}, {"values": 0}),
        *({name: 2**62} for name in ("sample", "channel", "row", "column")),
        *({name: -1} for name in ("sample", "channel", "row", "column")),
    ):
        assert ended(**changed) == 2, changed


def test_no_images_make_no_views() -> None:
    images, sides = pictures(4, 8, 8)[:0], torch.zeros(0, dtype=torch.int64)
    parameters = draw_parameters(EVERYTHING, sides, sides, generator=generator(0, "draws"))
    assert view_by_kernel(images, parameters, EVERYTHING, size=8).shape == (0, 3, 8, 8)


def test_a_library_of_another_interface_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    view_kernel.library.cache_clear()
    monkeypatch.setattr(view_kernel, "INTERFACE", -1)
    assert view_kernel.library() is None
    view_kernel.library.cache_clear()


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
