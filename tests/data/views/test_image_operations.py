"""Each batched operation against torchvision's functional form on one image at a time, on a float
image in [0, 1].

Tolerance everywhere: 1e-5. Both sides work in float32 and add the same terms in another order; the
largest difference seen is 3e-6 (hue of a nearly grey pixel), a wrong formula differs by more than
1e-2.
"""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tv

from sparring.data.views import image_operations as ops
from sparring.seeding import generator

TOLERANCE = 1e-5


def image_batch(height: int = 32, width: int = 32) -> Tensor:
    """Eight uint8 images: smooth colours, noise, smooth and noisy, grey, saturated, constant,
    black, white."""
    draws = generator(0, "images", height, width)
    smooth = F.interpolate(
        torch.rand(3, 3, 4, 4, generator=draws), (height, width), mode="bicubic"
    ).clamp(0, 1)
    noise = torch.rand(3, 3, height, width, generator=draws)
    grey = noise[:1, :1].expand(1, 3, -1, -1)
    saturated = (noise[1:2] > 0.5).float()
    constant = torch.tensor([0.2, 0.9, 0.4])[None, :, None, None].expand(1, 3, height, width)
    black = torch.zeros(1, 3, height, width)
    images = [
        smooth[:1],
        noise[:1],
        0.7 * smooth[1:2] + 0.3 * noise[1:2],
        grey,
        saturated,
        constant,
        black,
        1 - black,
    ]
    return torch.cat(images).mul(255).round().byte()


def as_planes(images: Tensor) -> Tensor:
    return (images.float() / 255).transpose(0, 1).contiguous()


def largest_error(planes: Tensor, expected: list[Tensor]) -> float:
    return (planes.transpose(0, 1) - torch.stack(expected)).abs().max().item()


IMAGES = image_batch()
PLANES = as_planes(IMAGES)
SINGLE = list(PLANES.unbind(1))
BATCH = len(IMAGES)
FACTORS = torch.tensor([0.0, 0.2, 0.6, 0.9, 1.0, 1.1, 1.4, 1.8])
BOXES = torch.tensor(
    [
        [0, 0, 32, 32],
        [0, 0, 1, 1],
        [31, 31, 1, 1],
        [3, 5, 9, 12],
        [10, 0, 22, 32],
        [31, 4, 1, 28],
        [0, 16, 32, 16],
        [7, 7, 17, 13],
    ]
)


def boxes_in(height: int, width: int) -> Tensor:
    """Boxes scaled from those of a 32 px image, at least one pixel and inside."""
    scale = torch.tensor([height, width, height, width]) / 32
    return (BOXES * scale).long().clamp_min(torch.tensor([0, 0, 1, 1]))


@pytest.mark.parametrize("size", [32, 20, 13])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 70), (40, 130)])
def test_resized_crop_equals_the_antialiased_crop_and_flip_of_torchvision(
    height: int, width: int, size: int
) -> None:
    images, boxes = image_batch(height, width), boxes_in(height, width)
    flip = torch.arange(BATCH) % 2 == 1
    planes = ops.resized_crop(images, boxes, flip, size=size)
    expected = []
    for image, box, mirror in zip(images, boxes.tolist(), flip.tolist(), strict=True):
        crop = tv.resized_crop(image.float() / 255, *box, [size, size], antialias=True)
        expected.append(tv.horizontal_flip(crop) if mirror else crop)
    assert largest_error(planes, expected) < TOLERANCE


def test_crop_does_not_see_pixels_outside_its_box() -> None:
    box = torch.tensor([[8, 6, 11, 13]] * BATCH)
    changed = 255 - IMAGES
    changed[:, :, 8:19, 6:19] = IMAGES[:, :, 8:19, 6:19]
    flip = torch.zeros(BATCH, dtype=torch.bool)
    assert torch.equal(
        ops.resized_crop(IMAGES, box, flip, size=32), ops.resized_crop(changed, box, flip, size=32)
    )


def test_sampling_on_a_grid_would_fail_the_crop_test() -> None:
    """The usual batched crop reads its neighbours at the border of the box: off by far more than
    the tolerance."""
    top, left, height, width = 8, 6, 11, 13
    rows = (top + height * (torch.arange(32) + 0.5) / 32) / 16 - 1
    columns = (left + width * (torch.arange(32) + 0.5) / 32) / 16 - 1
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)[None]
    sampled = F.grid_sample(SINGLE[1][None], grid, align_corners=False)[0]
    expected = tv.resized_crop(SINGLE[1], top, left, height, width, [32, 32], antialias=True)
    assert (sampled - expected).abs().max() > 0.01


def test_flipped_mirrors_only_the_chosen_images() -> None:
    flip = torch.arange(BATCH) % 2 == 0
    expected = [
        tv.horizontal_flip(x) if mirror else x
        for x, mirror in zip(SINGLE, flip.tolist(), strict=True)
    ]
    assert largest_error(ops.flipped(IMAGES, flip), expected) == 0


@pytest.mark.parametrize("shift", range(BATCH))
def test_brightness_contrast_and_saturation_are_blends(shift: int) -> None:
    factors, none = FACTORS.roll(shift), torch.zeros(BATCH)
    cases = [
        (tv.adjust_brightness, none, none),
        (tv.adjust_contrast, none, 1 - factors),
        (tv.adjust_saturation, 1 - factors, none),
    ]
    for adjust, to_grey, to_mean in cases:
        expected = [adjust(x, f) for x, f in zip(SINGLE, factors.tolist(), strict=True)]
        planes = PLANES.clone()
        ops.blend(planes, keep=factors, to_grey=to_grey, to_mean=to_mean)
        assert largest_error(planes, expected) < TOLERANCE


@pytest.mark.parametrize("turn", range(BATCH))
def test_hue_shift_equals_torchvision(turn: int) -> None:
    shifts = torch.tensor([-0.5, -0.31, -0.1, 0.0, 0.01, 0.1, 0.2, 0.5]).roll(turn)
    expected = [tv.adjust_hue(x, s) for x, s in zip(SINGLE, shifts.tolist(), strict=True)]
    planes = PLANES.clone()
    ops.shift_hue(planes, shifts)
    assert largest_error(planes, expected) < TOLERANCE


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.05, 0.2, 0.5])
def test_hue_shift_equals_torchvision_where_channels_tie(shift: float) -> None:
    """Every colour of eight levels per channel: grey, black, white, and all ties between two
    channels."""
    levels = [0, 1, 2, 127, 128, 200, 254, 255]
    colours = torch.tensor(list(product(levels, repeat=3))).t().reshape(3, 1, 16, 32) / 255
    planes = colours.clone()
    ops.shift_hue(planes, torch.tensor([shift]))
    assert largest_error(planes, [tv.adjust_hue(colours[:, 0], shift)]) < TOLERANCE
    assert planes.min() >= 0
    assert planes.max() <= 1


def test_grey_equals_torchvision() -> None:
    expected = [tv.rgb_to_grayscale(x, num_output_channels=3) for x in SINGLE]
    assert largest_error(ops.grey(PLANES).expand_as(PLANES), expected) < TOLERANCE


@pytest.mark.parametrize("kernel_size", [3, 5, 9, 23])
def test_blur_equals_torchvision(kernel_size: int) -> None:
    sigmas = torch.tensor([0.1, 0.2, 0.5, 0.8, 1.0, 1.3, 1.7, 2.0])
    expected = [
        tv.gaussian_blur(x, [kernel_size, kernel_size], [s, s])
        for x, s in zip(SINGLE, sigmas.tolist(), strict=True)
    ]
    assert (
        largest_error(ops.gaussian_blurred(PLANES, sigmas, kernel_size=kernel_size), expected)
        < TOLERANCE
    )


def test_blur_kernel_is_odd_and_a_tenth_of_the_side() -> None:
    for size in range(8, 300):
        taps = ops.blur_kernel_size(size)
        assert taps % 2 == 1
        assert abs(taps - max(3, size / 10)) <= 1


@pytest.mark.parametrize("threshold", [0.0, 0.3, 128 / 255, 1.0])
def test_solarise_equals_torchvision(threshold: float) -> None:
    expected = [tv.solarize(x, threshold) for x in SINGLE]
    assert largest_error(ops.solarised(PLANES, threshold=threshold), expected) == 0


def test_operations_that_return_images_leave_their_input_alone() -> None:
    before = PLANES.clone()
    ops.gaussian_blurred(PLANES, torch.ones(BATCH), kernel_size=3)
    ops.solarised(PLANES, threshold=0.5)
    ops.grey(PLANES)
    assert torch.equal(PLANES, before)
