"""Frechet distance at values known in closed form, and what its features must and must not depend
on."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.opponents.generator_pair.realism import (
    CHUNK,
    Gaussian,
    frechet_distance,
    gaussian,
    random_features,
)


def draws(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in double precision."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def bell(dim: int, seed: int = 0) -> Gaussian:
    """A Gaussian with a full covariance."""
    stretch = draws(dim, dim, seed=seed)
    return Gaussian(draws(dim, seed=seed + 100), stretch @ stretch.T)


def diagonal(mean: list[float], variances: list[float]) -> Gaussian:
    """A Gaussian of independent numbers."""
    return Gaussian(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(variances, dtype=torch.float64).diag()
    )


def smooth_images(count: int, *, seed: int) -> Tensor:
    """Images of 16 x 16 pixels whose colours flow from one place to the next."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=16, mode="bilinear")


def noise_images(count: int, *, seed: int) -> Tensor:
    """Images of independent pixels, with the mean and the deviation of smooth ones."""
    like = smooth_images(count, seed=seed)
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    return (like.mean() + like.std() * noise).clamp(0, 1)


def distance(left: Tensor, right: Tensor) -> float:
    """Frechet distance between images."""
    return frechet_distance(gaussian(random_features(left)), gaussian(random_features(right)))


def test_the_distance_of_equal_gaussians_is_zero() -> None:
    # Rounding of squares: the covariances' traces are about 40.
    assert frechet_distance(bell(6), bell(6)) == pytest.approx(0, abs=1e-10)


def test_the_distance_of_shifted_gaussians_is_the_squared_shift() -> None:
    here = bell(6)
    shift = torch.tensor([3.0, 0, 0, -4, 0, 0], dtype=torch.float64)
    assert frechet_distance(here, Gaussian(here.mean + shift, here.covariance)) == pytest.approx(
        25, rel=1e-10
    )


def test_the_distance_of_independent_numbers_is_that_of_means_and_deviations() -> None:
    left, right = (
        diagonal([0.0, 1.0, 2.0], [1.0, 4.0, 9.0]),
        diagonal([1.0, 1.0, -1.0], [4.0, 4.0, 0.25]),
    )
    assert frechet_distance(left, right) == pytest.approx(
        (1 + 0 + 9) + (1 - 2) ** 2 + (2 - 2) ** 2 + (3 - 0.5) ** 2, rel=1e-12
    )


def test_the_distance_of_two_planes_equals_its_closed_form() -> None:
    # The root of a 2 x 2 matrix M has trace sqrt(tr M + 2 sqrt(det M)); the covariances share no
    # axes.
    left, right = bell(2), bell(2, seed=1)
    product = left.covariance @ right.covariance
    cross = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    traces = float(left.covariance.trace() + right.covariance.trace())
    expected = float((left.mean - right.mean).square().sum()) + traces - 2 * cross
    assert float((product - product.T).abs().max()) > 0.1
    assert frechet_distance(left, right) == pytest.approx(expected, rel=1e-10)


def test_the_distance_is_symmetric_and_grows_with_the_square_of_the_scale() -> None:
    left, right = bell(6), bell(6, seed=1)
    wide = [Gaussian(3 * one.mean, 9 * one.covariance) for one in (left, right)]
    assert frechet_distance(left, right) > 1
    assert frechet_distance(right, left) == pytest.approx(frechet_distance(left, right), rel=1e-10)
    assert frechet_distance(wide[0], wide[1]) == pytest.approx(
        9 * frechet_distance(left, right), rel=1e-10
    )


def test_the_distance_from_a_point_is_the_shift_and_the_variance() -> None:
    cloud, point = (
        bell(4),
        Gaussian(torch.zeros(4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)),
    )
    expected = float(cloud.mean.square().sum() + cloud.covariance.trace())
    assert frechet_distance(cloud, point) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(point, cloud) == pytest.approx(expected, rel=1e-10)


def test_fewer_images_than_features_have_a_distance_too() -> None:
    # Covariances of rank 4: the root of a rounding error of 1e-16 times the scale is what is left
    # of zero eigenvalues.
    few, others = gaussian(draws(5, 20)), gaussian(draws(5, 20, seed=1))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-5)
    assert math.isfinite(frechet_distance(few, others))


def test_the_gaussian_is_the_mean_and_the_unbiased_covariance_in_double_precision() -> None:
    features = draws(7, 3).float()
    found, rows = gaussian(features), features.double()
    mean = sum(rows) / 7
    torch.testing.assert_close(found.mean, mean, rtol=1e-12, atol=1e-14)
    assert isinstance(mean, Tensor)
    for i in range(3):
        for j in range(3):
            entry = sum(float((row[i] - mean[i]) * (row[j] - mean[j])) for row in rows) / 6
            assert float(found.covariance[i, j]) == pytest.approx(entry, rel=1e-12)


def test_features_repeat_to_the_bit_whatever_else_is_drawn() -> None:
    images = smooth_images(20, seed=0)
    state = torch.get_rng_state()
    first = random_features(images)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        assert torch.equal(random_features(images), first)


def test_features_are_the_same_for_ever() -> None:
    # Numbers of another day compare with today's only if the weights are those of today; the
    # tolerance is their rounding.
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)
    assert random_features(ramp)[0, :4].tolist() == pytest.approx(
        [-0.6555, 0.5618, -0.0861, 0.0336], abs=2e-4
    )


def test_features_of_an_image_do_not_depend_on_the_images_beside_it() -> None:
    images = smooth_images(2 * CHUNK, seed=0)
    together = random_features(images)
    assert together.shape == (500, 64)
    apart = torch.cat([random_features(part) for part in torch.split(images, [1, 129, 370])])
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-5)  # other orders of sums
    assert not torch.isclose(together[1:], together[:-1], rtol=0, atol=1e-3).all(dim=1).any()


def test_features_do_not_remember_where_they_came_from() -> None:
    images = smooth_images(3, seed=0).requires_grad_()
    assert not random_features(images).requires_grad


def test_noise_is_further_from_smooth_images_than_other_smooth_images_are() -> None:
    real, others, noise = (
        smooth_images(400, seed=0),
        smooth_images(400, seed=1),
        noise_images(400, seed=2),
    )
    floor = distance(real, others)
    assert 0 < floor < 0.2 * distance(real, noise)


def test_one_image_over_and_over_is_further_than_diverse_ones() -> None:
    real, others = smooth_images(400, seed=0), smooth_images(400, seed=1)
    assert distance(real, others[:1].expand_as(others)) > 10 * distance(real, others)


def test_the_distance_grows_with_the_number_of_noise_images_among_them() -> None:
    real, others, noise = (
        smooth_images(400, seed=0),
        smooth_images(400, seed=1),
        noise_images(400, seed=2),
    )
    mixed = [
        distance(real, torch.cat([noise[:count], others[count:]]))
        for count in (0, 100, 200, 300, 400)
    ]
    assert all(later > earlier + 0.2 for earlier, later in pairwise(mixed))
