"""Bounds of early stopping, on null studies drawn here and on cases worked out by hand."""

import math
from itertools import combinations

import numpy as np
import pytest
from made_studies import made_study
from scipy import stats

from sparring.errors import ConfigError
from sparring.studies.statistics.bounds_table import row_of
from sparring.studies.statistics.paired import mean_interval
from sparring.studies.statistics.sequential import (
    bounds,
    interval_after,
    looks_of,
    planned_looks,
    repeated_equivalence_p,
    repeated_p,
)

LOOKS = (5, 8, 12)
STUDIES = 100_000
NUMBERS = (5, 6, 8, 10, 12, 16, 20)
TABLED = [looks for count in (2, 3, 4) for looks in combinations(NUMBERS, count)]


def t_statistics(looks: tuple[int, ...], *, seed: int = 11) -> np.ndarray:
    """Paired t of null studies at each look, (looks, studies)."""
    values = np.random.default_rng(seed).standard_normal((STUDIES, looks[-1]))
    return np.array(
        [
            values[:, :look].mean(1) / values[:, :look].std(1, ddof=1) * math.sqrt(look)
            for look in looks
        ]
    )


def with_t(t: float, pairs: int, *, sd: float = 1.0) -> list[float]:
    """Differences with this paired t and this standard deviation."""
    values = np.arange(pairs) - (pairs - 1) / 2
    values *= sd / values.std(ddof=1)
    return list(values + t * sd / math.sqrt(pairs))


@pytest.mark.parametrize("alpha", [0.01, 0.025, 0.05, 0.2])
@pytest.mark.parametrize("looks", [LOOKS, (5, 12), (8, 20), (5, 8, 12, 20)])
def test_null_studies_cross_a_bound_as_often_as_alpha_says(
    looks: tuple[int, ...], alpha: float
) -> None:
    crossed = np.abs(t_statistics(looks)) >= np.array(bounds(looks, alpha=alpha).t)[:, None]
    error = math.sqrt(alpha * (1 - alpha) / STUDIES)
    assert abs(crossed.any(0).mean() - alpha) < 3 * error


def test_ordinary_t_tests_at_every_look_cross_too_often() -> None:
    limits = stats.t.isf(0.025, np.array(LOOKS) - 1)
    crossed = np.abs(t_statistics(LOOKS)) >= limits[:, None]
    assert crossed.any(0).mean() > 0.1


def test_bounds_for_a_normal_statistic_cross_too_often_with_few_pairs() -> None:
    tails = np.array(bounds(LOOKS).tails)
    crossed = np.abs(t_statistics(LOOKS)) >= stats.norm.isf(tails / 2)[:, None]
    assert crossed.any(0).mean() > 0.08


def test_bounds_at_5_8_and_12_pairs() -> None:
    found = bounds(LOOKS)
    assert [round(t, 2) for t in found.t] == [7.52, 3.31, 2.29]
    assert found.tails[-1] > 0.04, "the last look keeps most of the error rate"
    assert found.futility == (0.5, 1.15, None)


def test_a_single_look_is_the_t_test() -> None:
    values = [0.3, 1.1, -0.2, 0.9, 1.4]
    assert bounds((5,)).t[0] == pytest.approx(stats.t.isf(0.025, 4))
    assert repeated_p(values, (5,)) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


@pytest.mark.parametrize("looks", TABLED)
def test_every_row_of_the_table_is_in_order(looks: tuple[int, ...]) -> None:
    row, found = row_of(looks), bounds(looks)
    assert (np.diff(row.quantiles) > 0).all()
    assert (np.diff(row.critical) > 0).all()
    assert (np.diff(found.t) < 0).all()
    assert all(0 <= low < high for low, high in zip(row.futility, found.t))
    assert 0.93 < row.coverage[0] < row.coverage[1] < 0.97


def test_p_is_continuous_where_the_table_ends() -> None:
    row = row_of(LOOKS)
    edge = float(row.critical[-1])
    assert row.p_of(edge) == pytest.approx(0.001)
    assert 0.0008 < row.p_of(edge + 1e-6) <= 0.001
    assert row.p_of(row.critical_at(1e-5)) == pytest.approx(1e-5)
    assert row.p_of(math.inf) == 0


@pytest.mark.parametrize("alpha", [0.0004, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_p_equals_alpha_where_t_equals_the_bound(alpha: float, place: int) -> None:
    found = bounds(LOOKS, alpha=alpha)
    values = with_t(found.t[place], LOOKS[place])
    p = repeated_p(values, LOOKS, counts=[0] * place + [LOOKS[place]])
    assert p == pytest.approx(alpha, rel=1e-3)


def test_p_never_rises_from_look_to_look() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        values = draw.normal(0.4, 1, 12)
        found = [repeated_p(values[:look], LOOKS) for look in LOOKS]
        assert found == sorted(found, reverse=True)


def test_before_the_first_look_there_is_no_p() -> None:
    assert repeated_p([3.0, 3.1, 2.9, 3.0], LOOKS) is None
    assert repeated_equivalence_p([0.0, 0.1, -0.1, 0.0], 0.5, LOOKS) is None


def test_null_p_values_are_uniform() -> None:
    draw = np.random.default_rng(5)
    found = [repeated_p(draw.normal(size=12), LOOKS) for _ in range(4_000)]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_equivalence_at_a_single_look_is_two_one_sided_t_tests() -> None:
    values = np.array([0.1, -0.2, 0.3, 0.2, 0.0])
    low = stats.ttest_1samp(values, -0.5, alternative="greater").pvalue
    high = stats.ttest_1samp(values, 0.5, alternative="less").pvalue
    assert repeated_equivalence_p(values, 0.5, (5,)) == pytest.approx(max(low, high))
    assert repeated_equivalence_p(values + 2, 0.5, (5,)) == pytest.approx(
        stats.ttest_1samp(values + 2, 0.5, alternative="less").pvalue
    )


def test_studies_at_the_margin_claim_equivalence_at_most_as_often_as_alpha_says() -> None:
    draw = np.random.default_rng(6)
    found = [repeated_equivalence_p(draw.normal(1.0, 0.5, 12), 1.0, LOOKS) for _ in range(4_000)]
    share = np.mean([p is not None and p <= 0.05 for p in found])
    assert 0.04 < share < 0.06


def looked(values: list[float], **fields: object) -> list[str]:
    """Decisions of a study with one planned contrast."""
    contrast = [{"first": "adco", "second": "mocov2"}]
    study = made_study(seeds=12, looks=LOOKS, contrasts=contrast, **fields)
    return [look.decision for look in looks_of(values, study)]


def test_a_large_t_stops_for_a_difference() -> None:
    assert looked(with_t(7.6, 5)) == ["stop: difference"]
    assert looked(with_t(-7.6, 5)) == ["stop: difference"]


def test_a_moderate_t_goes_on() -> None:
    assert looked(with_t(2.0, 5)) == ["go on"]


def test_a_small_t_stops_as_futile() -> None:
    assert looked(with_t(0.4, 5)) == ["stop: futile"]
    assert looked(with_t(1.1, 8))[-1] == "stop: futile"


def test_a_repeated_interval_within_the_margin_stops_as_futile() -> None:
    assert looked(with_t(2.0, 5, sd=0.1), margin=0.5) == ["stop: futile"]
    assert looked(with_t(2.0, 5, sd=0.1), margin=0.2) == ["go on"]


def test_the_last_look_decides_nothing() -> None:
    assert looked(with_t(9.0, 12))[-1] == "last look"


def test_more_planned_contrasts_raise_the_bound() -> None:
    one = made_study(seeds=12, looks=LOOKS, contrasts=[{"first": "adco", "second": "mocov2"}])
    two = made_study(seeds=12, looks=LOOKS)
    values = with_t(7.6, 5)
    assert looks_of(values, one)[0].bound == pytest.approx(bounds(LOOKS).t[0])
    assert looks_of(values, two)[0].bound == pytest.approx(bounds(LOOKS, alpha=0.025).t[0])
    assert looks_of(values, two)[0].decision == "go on"


def test_a_failed_run_leaves_a_look_with_its_tail_and_fewer_degrees_of_freedom() -> None:
    study = made_study(seeds=12, looks=LOOKS, contrasts=[{"first": "adco", "second": "mocov2"}])
    (look,) = looks_of(with_t(2.0, 4), study, counts=[4])
    assert (look.pairs, look.planned) == (4, 5)
    assert look.bound == pytest.approx(stats.t.isf(bounds(LOOKS).tails[0] / 2, 3))


def test_equal_differences_stop_only_where_they_are_too_many_for_rounding() -> None:
    assert looked([0.7] * 5) == ["go on"], "five scores may be equal by rounding"
    assert looked([0.3] * 5) == ["go on"], "nor are they within the margin"
    assert looked([0.7] * 8) == ["go on", "stop: difference"]
    assert looked([0.0] * 5) == ["stop: futile"]


def test_a_look_at_differences_that_are_equal_by_rounding_leaves_no_p_value_behind() -> None:
    later = [0.7] * 5 + [2.0, -1.0, 0.9]
    assert repeated_p([0.7] * 5, LOOKS) is None
    found = repeated_p(later, LOOKS)
    assert found is not None
    assert found > 0.05
    assert repeated_p([0.3] * 8, LOOKS) == 0, "eight equal ones are more than rounding"


def half(values: list[float], looks: int, **fields: object) -> float:
    """Half the width of the interval after some looks, over its standard error."""
    contrast = [{"first": "adco", "second": "mocov2"}]
    study = made_study(seeds=12, looks=LOOKS, contrasts=contrast, **fields)
    found = interval_after(values, looks_of(values, study)[:looks], study)
    assert found is not None
    return (found.high - found.low) / 2 * math.sqrt(len(values)) / float(np.std(values, ddof=1))


def test_while_a_study_goes_on_its_interval_is_the_repeated_one() -> None:
    assert half(with_t(2.0, 5), 1) == pytest.approx(bounds(LOOKS).t[0])


def test_after_a_stop_the_interval_is_shorter_than_the_repeated_one() -> None:
    after = half(with_t(9.0, 5), 1)
    ordinary = float(stats.t.isf(0.025, 4))
    assert ordinary < after < bounds(LOOKS).t[0]
    assert half(with_t(2.0, 5, sd=0.1), 1) == pytest.approx(after)
    assert half(with_t(0.1, 5), 1) == pytest.approx(ordinary)


def test_a_study_that_went_on_after_a_stop_keeps_the_repeated_interval() -> None:
    values = [*with_t(9.0, 5), 3.0, 4.0, 5.0]
    assert half(values, 2) == pytest.approx(bounds(LOOKS).t[1])


def test_before_the_first_look_the_interval_is_the_ordinary_one() -> None:
    study = made_study(seeds=12, looks=LOOKS)
    found, ordinary = interval_after([1.0, 2.0, 4.0], (), study), mean_interval([1.0, 2.0, 4.0])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((ordinary.low, ordinary.high))
    assert interval_after([1.0], (), study) is None


def test_an_interval_after_a_claim_leaves_out_zero() -> None:
    study = made_study(seeds=12, looks=LOOKS)
    for alpha in (0.05, 0.025, 0.01):
        for place, look in enumerate(LOOKS):
            values = with_t(1.001 * bounds(LOOKS, alpha=alpha).t[place], look)
            found = interval_after(values, looks_of(values, study)[-1:], study)
            assert found is not None
            assert found.low > 0


def coverage(
    looks: tuple[int, ...], effect: float, *, margin: float, contrasts: int
) -> tuple[float, float]:
    """Share of studies of this effect and margin, in SD, whose interval after stopping holds the
    effect: the reported interval and the ordinary one. Written apart from `scripts/write-bounds`.
    """
    alone, family = bounds(looks), bounds(looks, alpha=0.05 / contrasts)
    values = np.random.default_rng(12).standard_normal((STUDIES, looks[-1]))
    is_open = np.ones(STUDIES, dtype=bool)
    reported, ordinary = 0, 0
    for place, look in enumerate(looks):
        mean = values[:, :look].mean(1)
        error = values[:, :look].std(1, ddof=1) / math.sqrt(look)
        seen, pivot = np.abs(mean + effect) / error, np.abs(mean) / error
        is_firm = (seen >= family.t[place]) | ((seen + alone.t[place]) * error < margin)
        futility = alone.futility[place]
        stops = is_open & (is_firm | (seen < futility)) if futility is not None else is_open
        tails = np.where(is_firm | (futility is None), alone.after[place], 0.05)
        reported += int((stops & (pivot <= stats.t.isf(tails / 2, look - 1))).sum())
        ordinary += int((stops & (pivot <= stats.t.isf(0.025, look - 1))).sum())
        is_open &= ~stops
    return reported / STUDIES, ordinary / STUDIES


@pytest.mark.parametrize("looks", [LOOKS, (8, 20), (5, 8, 12, 20)])
@pytest.mark.parametrize("effect", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_intervals_after_a_stop_hold_the_truth_as_often_as_the_table_says(
    looks: tuple[int, ...], effect: float
) -> None:
    least, most = row_of(looks).coverage
    for margin, contrasts in ((0.5, 1), (1.0, 2), (2.0, 3)):
        found, _ = coverage(looks, effect, margin=margin, contrasts=contrasts)
        assert least - 0.003 < found < most + 0.003


def test_ordinary_intervals_after_a_stop_hold_the_truth_too_rarely() -> None:
    found, ordinary = coverage(LOOKS, 1.25, margin=1.5, contrasts=1)
    assert ordinary < 0.93
    assert found > 0.936


def test_the_number_of_seeds_is_the_last_look() -> None:
    assert planned_looks(made_study(seeds=12, looks=LOOKS)) == LOOKS
    assert planned_looks(made_study(seeds=12, looks=(5, 8))) == LOOKS
    assert planned_looks(made_study(seeds=8, looks=LOOKS)) == (5, 8)
    assert planned_looks(made_study(seeds=5, looks=LOOKS)) == (5,)
    assert planned_looks(made_study(seeds=5)) == ()


@pytest.mark.parametrize("looks", [(5, 9), (8, 5), (3, 12), (5, 6, 8, 10, 12), (), (5, 5)])
def test_looks_without_bounds_are_refused_with_those_that_have_some(looks: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"give two to four of 5, 6, 8, 10, 12, 16, 20"):
        bounds(looks)
