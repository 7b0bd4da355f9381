"""Corruptions: against slow loops and known answers, in range, rising with severity, and
repeatable."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sparring.data.decode import decode
from sparring.data.sources.source import open_source
from sparring.errors import ConfigError
from sparring.evaluation.robustness import corruptions
from sparring.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from sparring.seeding import generator


def images_to_damage(count: int = 6, size: int = 24, seed: int = 0) -> Tensor:
    """Images with the spectrum of photographs: power falls with the square of the frequency."""
    draw = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    noise = np.fft.fft2(draw.normal(size=(count, 3, size, size))) / np.maximum(frequency, 1 / size)
    fields = np.fft.ifft2(noise).real
    common = fields.mean(axis=1, keepdims=True)
    fields = common + 0.5 * (fields - common)  # the channels of a photograph go together
    fields = (fields - fields.mean(axis=(2, 3), keepdims=True)) / fields.std(
        axis=(2, 3), keepdims=True
    )
    return torch.from_numpy(0.45 + 0.2 * fields).float().clamp(0, 1)


def damage(images: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    return corrupted(images, name, severity=severity, generator=generator(seed, name))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_damaged_images_stay_in_range_and_in_shape(name: str) -> None:
    for images in (
        images_to_damage(),
        torch.zeros(2, 3, 9, 9),
        torch.ones(2, 3, 9, 9),
        torch.rand(1, 3, 8, 8),
    ):
        before = images.clone()
        for severity in SEVERITIES:
            damaged = damage(images, name, severity)
            assert damaged.shape == images.shape
            assert damaged.dtype == images.dtype
            assert torch.isfinite(damaged).all()
            assert damaged.min() >= 0
            assert damaged.max() <= 1
        assert torch.equal(images, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [24, 64])
def test_damage_grows_with_severity(name: str, size: int) -> None:
    images = images_to_damage(12, size)
    changes = [
        float((damage(images, name, severity) - images).abs().mean()) for severity in SEVERITIES
    ]
    assert changes[0] > 0.001
    assert changes == sorted(set(changes))


@pytest.mark.shared
def test_damage_of_photographs_grows_with_severity(shared_data: Path) -> None:
    source = open_source(shared_data / "cifar10-test.parquet")
    images = torch.stack([decode(source.read(row)) for row in range(64)]).float() / 255
    for name in CORRUPTIONS:
        changes = [
            float((damage(images, name, severity) - images).abs().mean()) for severity in SEVERITIES
        ]
        assert changes == sorted(set(changes)), name


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_equal_generators_give_equal_bits_and_others_do_not(name: str) -> None:
    images = images_to_damage()
    assert torch.equal(damage(images, name, 3), damage(images, name, 3))
    is_random = name.endswith("noise") or name in ("motion-blur", "fog")
    assert torch.equal(damage(images, name, 3), damage(images, name, 3, seed=1)) != is_random


def test_unknown_names_and_severities_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="unknown corruption 'defocus'; did you mean 'defocus-blur'"
    ):
        damage(images_to_damage(1), "defocus", 1)
    with pytest.raises(ConfigError, match=r"severity must be 1 \(slight\) to 5 \(severe\), got 6"):
        damage(images_to_damage(1), "fog", 6)


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    grey = torch.full((8, 3, 64, 64), 0.5)
    noise = corruptions.gaussian_noise(grey, 0.1, generator(0, "noise")) - grey
    assert float(noise.mean()) == pytest.approx(
        0, abs=0.001
    )  # 98,304 draws: deviation of the mean 0.0003
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    shot = corruptions.shot_noise(grey, 0.04, generator(0, "noise"))
    # Poisson of mean 0.5 / 0.04 has variance 0.5 / 0.04 photons: 0.5 * 0.04 in brightness.
    assert float(shot.mean()) == pytest.approx(0.5, abs=0.003)
    assert float(shot.var()) == pytest.approx(0.02, rel=0.03)
    impulses = corruptions.impulse_noise(grey, 0.2, generator(0, "noise"))
    assert float((impulses != grey).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert float((impulses == 1).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert set(impulses.unique().tolist()) == {0.0, 0.5, 1.0}


def test_defocus_is_the_mean_over_a_disc() -> None:
    images, radius = images_to_damage(2, 16), 2.3
    blurred = corruptions.defocus_blur(images, radius / 16, generator(0, "none"))
    for row, column in ((0, 0), (7, 9), (15, 3)):
        total, weights = torch.zeros(2, 3), 0.0
        for down in range(-5, 6):
            for across in range(-5, 6):
                weight = min(max(radius + 1 - math.hypot(down, across), 0), 1)
                total += (
                    weight
                    * images[:, :, min(max(row + down, 0), 15), min(max(column + across, 0), 15)]
                )
                weights += weight
        torch.testing.assert_close(blurred[:, :, row, column], total / weights)


def test_motion_spreads_a_point_along_a_line_through_it_with_its_light() -> None:
    point = torch.zeros(6, 3, 33, 33)
    point[:, :, 16, 16] = 1
    blurred = corruptions.motion_blur(point, 12 / 33, generator(0, "motion"))
    torch.testing.assert_close(blurred.sum(dim=(2, 3)), torch.ones(6, 3))
    places = torch.arange(33.0) - 16
    for image in blurred[:, 0]:
        moments = torch.tensor(
            [
                [(image * places[:, None] ** 2).sum(), (image * places[:, None] * places).sum()],
                [(image * places[:, None] * places).sum(), (image * places**2).sum()],
            ]
        )
        narrow, wide = torch.linalg.eigvalsh(moments).tolist()
        assert narrow < 0.3  # about a pixel wide
        assert wide == pytest.approx(
            13**2 / 12, rel=0.15
        )  # variance of a line of 12 pixels, its ends fading over one more
    angles = [float((image * places[:, None] * places).sum()) for image in blurred[:, 0]]
    assert len(set(angles)) == 6


def test_zoom_keeps_what_has_no_size_and_moves_light_outwards() -> None:
    flat = torch.rand(2, 3, 1, 1, generator=generator(0, "flat")).expand(2, 3, 12, 12)
    torch.testing.assert_close(
        corruptions.zoom_blur(flat, 0.3, generator(0, "none")), flat.contiguous()
    )
    dot = torch.zeros(1, 3, 21, 21)
    dot[:, :, 10, 14] = 1
    row = corruptions.zoom_blur(dot, 0.5, generator(0, "none"))[0, 0, 10]
    assert row[:13].sum() == 0  # nothing moves inwards
    assert row[14:17].min() > 0  # a factor of 1.5 takes 4 pixels from the centre to 6


def test_fog_brightens_between_two_fifths_and_all_of_its_density() -> None:
    images = images_to_damage()
    share = (corruptions.fog(images, 0.5, generator(0, "fog")) - images) / (1 - images).clamp_min(
        0.1
    )
    inside = share[images < 0.9]
    assert float(inside.min()) == pytest.approx(0.2, abs=0.02)
    assert float(inside.max()) == pytest.approx(0.5, abs=0.02)


def test_colours_and_contrast_by_hand() -> None:
    image = torch.tensor([0.2, 0.4, 0.9]).view(1, 3, 1, 1)
    none = generator(0, "none")
    torch.testing.assert_close(
        corruptions.brightness(image, 0.3, none).flatten(), torch.tensor([0.5, 0.7, 1.2])
    )
    torch.testing.assert_close(
        corruptions.contrast(image, 0.5, none).flatten(), torch.tensor([0.35, 0.45, 0.7])
    )
    grey = 0.2989 * 0.2 + 0.587 * 0.4 + 0.114 * 0.9
    expected = torch.tensor([value + 2 * (value - grey) for value in (0.2, 0.4, 0.9)])
    torch.testing.assert_close(corruptions.saturate(image, 2.0, none).flatten(), expected)


def test_pixels_become_block_means() -> None:
    images = images_to_damage(2, 8)
    blocks = corruptions.pixelate(images, 4.0, generator(0, "none"))
    for row in (0, 4):
        for column in (0, 4):
            mean = images[:, :, row : row + 4, column : column + 4].mean(dim=(2, 3))
            for down in range(4):
                torch.testing.assert_close(blocks[:, :, row + down, column + 3 - down], mean)


def test_a_fine_jpeg_is_close_and_a_coarse_one_is_not() -> None:
    images = (
        images_to_damage(4, 32).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    )  # colour is halved in size at any quality
    fine, coarse = (corruptions.jpeg(images, loss, generator(0, "none")) for loss in (5.0, 95.0))
    assert float((fine - images).abs().mean()) < 0.02
    assert float((coarse - images).abs().mean()) > 0.03
    grey = torch.full(
        (1, 3, 16, 16), 100 / 255
    )  # any quality keeps a flat grey to within its rounding
    torch.testing.assert_close(
        corruptions.jpeg(grey, 5.0, generator(0, "none")), grey, atol=2 / 255, rtol=0
    )


@pytest.mark.parametrize(
    "name",
    [
        "defocus-blur",
        "motion-blur",
        "zoom-blur",
        "contrast",
        "saturate",
        "brightness",
        "jpeg",
        "pixelate",
    ],
)
def test_an_image_is_damaged_alone(name: str) -> None:
    images = images_to_damage(4)
    together = damage(images, name, 4)
    others = torch.cat([images[:1], torch.rand(3, 3, 24, 24, generator=generator(0, "others"))])
    torch.testing.assert_close(damage(others, name, 4)[0], together[0])
