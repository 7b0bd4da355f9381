"""What intervals cover and tests claim in simulated studies with fixed seeds."""

from collections.abc import Callable
from itertools import starmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sparring.studies.statistics.equivalence import equivalence_p
from sparring.studies.statistics.multiple import holm
from sparring.studies.statistics.paired import mean_interval, paired_t
from sparring.studies.statistics.resampling import bca_interval, pairs_for_sign_flip, sign_flip_p

STUDIES = 1000
LEAST, MOST = 0.936, 0.964
"""Coverage of 95 % within two standard errors of 1,000 studies."""
MOST_CLAIMS = 0.064
"""Claims of 5 % and two standard errors."""


def scores(
    draw: np.random.Generator, pairs: int, effect: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scores of two arms that share what a seed brings."""
    shared = draw.normal(60, 1.0, pairs)
    return shared + effect + draw.normal(0, 0.5, pairs), shared + draw.normal(0, 0.5, pairs)


@pytest.mark.parametrize("pairs", [3, 5, 8, 12])
def test_the_t_interval_covers_a_known_effect_as_often_as_it_says(pairs: int) -> None:
    draw, covered = np.random.default_rng(100 + pairs), 0
    for effect in np.linspace(-2, 2, STUDIES):
        first, second = scores(draw, pairs, effect)
        covered += effect in mean_interval(first - second)
    assert LEAST <= covered / STUDIES <= MOST


def test_a_normal_quantile_in_the_place_of_t_would_not_cover() -> None:
    draw, covered = np.random.default_rng(105), 0
    for effect in np.linspace(-2, 2, STUDIES):
        first, second = scores(draw, 5, effect)
        found = mean_interval(first - second)
        middle, half = (found.low + found.high) / 2, (found.high - found.low) / 2
        covered += abs(effect - middle) <= half * 1.96 / 2.776
    assert covered / STUDIES < LEAST - 0.03


SHAPES: dict[str, Callable[[np.random.Generator, int], npt.NDArray[np.float64]]] = {
    "normal": lambda draw, pairs: draw.normal(0, 1, pairs),
    "skewed": lambda draw, pairs: draw.exponential(1, pairs) - 1,
}
"""Differences with a mean of 0."""
DOCUMENTED = {
    ("normal", 10): (0.895, 0.95),
    ("normal", 20): (0.927, 0.95),
    ("skewed", 10): (0.881, 0.906),
    ("skewed", 20): (0.905, 0.914),
}
"""Measured coverage of bootstrap and t intervals that docs/statistics.md states."""


@pytest.mark.parametrize(("shape", "pairs"), DOCUMENTED)
def test_bootstrap_and_t_intervals_cover_what_the_page_says(shape: str, pairs: int) -> None:
    draw, num_studies = np.random.default_rng(20), 2000
    covered = np.zeros(2)
    for study in range(num_studies):
        differences = SHAPES[shape](draw, pairs)
        bootstrap = bca_interval(differences, resamples=2000, seed=study)
        assert bootstrap is not None
        covered += [0.0 in bootstrap, 0.0 in mean_interval(differences)]
    # The draws are fixed; another version of numpy may draw others.
    assert covered / num_studies == pytest.approx(np.array(DOCUMENTED[shape, pairs]), abs=0.015)


def test_the_page_states_the_measured_coverage() -> None:
    page = (Path(__file__).parents[3] / "docs" / "statistics.md").read_text()
    for bootstrap, t in DOCUMENTED.values():
        assert f"{100 * bootstrap:.1f} %" in page
        assert t == 0.95 or f"{100 * t:.1f} %" in page


@pytest.mark.parametrize("pairs", [6, 8, 12])
def test_the_sign_flip_test_claims_no_more_than_it_says(pairs: int) -> None:
    draw = np.random.default_rng(200 + pairs)
    claims = [
        p
        for first, second in starmap(scores, [(draw, pairs, 0.0)] * STUDIES)
        if (p := sign_flip_p(first - second)) is not None and p <= 0.05
    ]
    # Its p-values are multiples of 2^(1 - n), so that it claims less than 5 %.
    attainable = np.floor(0.05 * 2 ** (pairs - 1)) / 2 ** (pairs - 1)
    assert len(claims) / STUDIES <= MOST_CLAIMS
    assert abs(len(claims) / STUDIES - attainable) < 0.02


def test_the_sign_flip_test_holds_for_skewed_arms_too() -> None:
    draw, claims = np.random.default_rng(3), 0
    for _ in range(STUDIES):
        p = sign_flip_p(draw.exponential(1, 8) - draw.exponential(1, 8))
        assert p is not None
        claims += p <= 0.05
    assert claims / STUDIES <= MOST_CLAIMS


@pytest.mark.parametrize(("pairs", "share"), [(2, 0.12), (3, 0.03), (6, 0.0)])
def test_scores_in_steps_of_an_image_can_have_equal_differences(pairs: int, share: float) -> None:
    steps = np.round(np.random.default_rng(7).normal(0, 1, (100_000, pairs)))
    is_equal = (steps == steps[:, :1]).all(axis=1) & (steps[:, 0] != 0)
    assert round(float(is_equal.mean()), 2) == share  # as docs/statistics.md says
    assert paired_t(steps[is_equal][0]).p == 0


def family(draw: np.random.Generator, pairs: int) -> npt.NDArray[np.float64]:
    """Differences of five contrasts without an effect, which share arms: (contrasts, pairs)."""
    arms = draw.normal(0, 1, pairs) + draw.normal(0, 0.5, (6, pairs))
    return arms[0] - arms[1:]


def test_holm_keeps_the_error_rate_of_five_contrasts() -> None:
    draw, adjusted, plain = np.random.default_rng(4), 0, 0
    for _ in range(STUDIES):
        p_values = [paired_t(one).p for one in family(draw, 5)]
        adjusted += min(one for one in holm(p_values) if one is not None) <= 0.05
        plain += min(p_values) <= 0.05
    assert adjusted / STUDIES <= MOST_CLAIMS
    assert plain / STUDIES > 0.1  # without Holm


@pytest.mark.parametrize(("pairs", "can_reject"), [(7, False), (8, True)])
def test_with_five_contrasts_a_sign_flip_test_needs_eight_pairs(
    pairs: int, can_reject: bool
) -> None:
    p_values = [sign_flip_p(np.full(pairs, 2.0))] * 5
    smallest = min(one for one in holm(p_values) if one is not None)
    assert (smallest <= 0.05) is can_reject
    assert (pairs_for_sign_flip(contrasts=5) <= pairs) is can_reject


def test_equivalence_is_claimed_at_most_as_often_as_it_says_at_the_margin() -> None:
    draw, claims = np.random.default_rng(5), 0
    for _ in range(STUDIES):
        p = equivalence_p(draw.normal(0.5, 0.3, 6), 0.5)
        assert p is not None
        claims += p <= 0.05
    assert claims / STUDIES <= MOST_CLAIMS


def test_autorank_decides_on_two_arms_as_the_paired_t_test_does() -> None:
    import pandas as pd  # type: ignore[import-untyped]
    from autorank import autorank  # type: ignore[import-untyped]

    draw, decisions = np.random.default_rng(6), set()
    for effect in (0.0, 0.3, 0.6, 1.5):
        first, second = scores(draw, 10, effect)
        table = pd.DataFrame({"game": first, "twin": second})
        expected = autorank(table, alpha=0.05, force_mode="parametric")
        found = paired_t(first - second)
        assert expected.omnibus == "ttest"
        assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
        assert (found.p < 0.05) == (expected.pvalue < expected.alpha)
        assert expected.rankdf["mean"]["game"] - expected.rankdf["mean"]["twin"] == pytest.approx(
            float(np.mean(first - second))
        )
        decisions.add(found.p < 0.05)
    assert decisions == {False, True}
