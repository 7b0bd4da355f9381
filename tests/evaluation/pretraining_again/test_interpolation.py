"""Where a curve reaches a height: known answers, dips, and nothing beyond what was measured."""

import numpy as np
import pytest

from sparring.evaluation.pretraining_again.interpolation import isotonic, smallest_x_reaching

LINE = [(0.1, 0.2), (1.0, 0.8)]


@pytest.mark.parametrize(
    ("height", "expected"),
    [(0.2, 0.1), (0.5, 10**-0.5), (0.8, 1.0), (0.35, 10**-0.75)],
)
def test_between_two_points_the_curve_is_straight_in_the_logarithm(
    height: float, expected: float
) -> None:
    assert smallest_x_reaching(LINE, height) == pytest.approx(expected, rel=1e-12)


def test_nothing_is_claimed_beyond_the_points() -> None:
    assert smallest_x_reaching(LINE, 0.8001) is None
    assert smallest_x_reaching(LINE, 0.0) == 0.1
    assert smallest_x_reaching([(0.5, 0.3)], 0.3) == 0.5
    assert smallest_x_reaching([(0.5, 0.3)], 0.31) is None


def test_the_unit_of_x_does_not_matter() -> None:
    points = [(0.1, 0.3), (0.2, 0.35), (0.5, 0.6), (1.0, 0.7)]
    images = [(5000 * x, y) for x, y in points]
    assert smallest_x_reaching(images, 0.5) == pytest.approx(
        5000 * float(smallest_x_reaching(points, 0.5) or 0)
    )


def test_a_plateau_counts_from_its_first_image() -> None:
    assert smallest_x_reaching([(1, 0.1), (2, 0.5), (4, 0.5), (8, 0.9)], 0.5) == pytest.approx(2)
    assert smallest_x_reaching([(1, 0.5), (2, 0.5)], 0.5) == 1


def test_a_lucky_dip_and_a_lucky_peak_count_alike() -> None:
    """Pooled to 0.5 and 0.5: between 1 (0.1) and 2 (0.5) in the logarithm; the raw curve would say
    less, its last ascent more."""
    points = [(1.0, 0.1), (2.0, 0.6), (4.0, 0.4), (8.0, 0.9)]
    assert smallest_x_reaching(points, 0.5) == pytest.approx(2.0)
    assert smallest_x_reaching(points, 0.3) == pytest.approx(2**0.5)
    assert smallest_x_reaching(points, 0.7) == pytest.approx(4 * 2**0.5)


def test_a_curve_equals_itself_at_all_images_at_the_latest() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        values = np.sort(draw.random(4))
        found = smallest_x_reaching(
            list(zip([0.1, 0.2, 0.5, 1.0], values.tolist(), strict=True)), float(values[-1])
        )
        assert found == pytest.approx(1.0)


def test_isotonic_is_the_largest_of_the_smallest_means() -> None:
    """Barlow et al. 1972: the value at i is max over j <= i of min over k >= i of the mean from j
    to k."""
    draw = np.random.default_rng(1)
    for size in (1, 2, 3, 10, 20):
        values = draw.normal(size=size)
        slow = [
            max(min(values[j : k + 1].mean() for k in range(i, size)) for j in range(i + 1))
            for i in range(size)
        ]
        np.testing.assert_allclose(isotonic(values.tolist()), slow, atol=1e-12)
