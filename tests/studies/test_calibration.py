"""Error rate and coverage of a whole analysis, on studies whose truth is known.

Every study has a game, two twins and a control. Seeds shift all arms alike (`shared_sd`), and each
run has a variance of its own. With early stopping, pairs are fed as the command would make them: up
to the look that `next_pairs` names, until it names none.

A share of 1,000 studies has a standard error of 0.7 points at 5 %, so the limits are two of them:
6.4 % of null studies may claim a difference, and 93.6 to 96.4 % of intervals hold the truth.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from made_studies import made_results, made_study

from sparring.studies.analysis import analyse, next_pairs
from sparring.studies.findings import Analysis
from sparring.studies.plan import Study
from sparring.studies.results import Results
from sparring.studies.statistics.power import power_of

STUDIES = 1_000
OWN_SD = 0.5
DIFFERENCE_SD = OWN_SD * 2**0.5
LOOKS = (5, 8, 12)
ARMS = [
    {"name": "adco", "method": "adco", "control": "mocov2"},
    {"name": "adco/queue", "method": "adco", "role": "twin", "twin_of": "adco"},
    {"name": "adco/frozen", "method": "adco", "role": "twin", "twin_of": "adco"},
    {"name": "mocov2", "method": "mocov2", "role": "control"},
]


def plan(*, looks: tuple[int, ...]) -> Study:
    """Plan of a small study: five pairs, or up to twelve with looks."""
    seeds = looks[-1] if looks else 5
    return made_study(arms=ARMS, seeds=seeds, looks=looks, epochs=1, protocols=["knn"])


def played(whole: Results) -> Results:
    """The records that there are once the study is over."""
    now = Results(study=whole.study, records=())
    while (pairs := next_pairs(now)) is not None:
        seeds = set(whole.study.seeds[:pairs])
        records = tuple(one for one in whole.records if one.name.seed in seeds)
        assert len(records) > len(now.records), "the study asks for runs that it has"
        now = Results(study=whole.study, records=records)
    return now


def analyses(study: Study, effect: float) -> Iterator[Analysis]:
    """Analyses of studies in which the game is some points above every other arm."""
    for number in range(STUDIES):
        whole = made_results(study, effects={"adco": effect}, own_sd=OWN_SD, seed=number)
        yield analyse(played(whole), resamples=0)


@dataclass(frozen=True)
class Shares:
    """What became of many studies: shares of them, and the mean number of pairs."""

    any_claim: float
    power: float
    covered: tuple[float, ...]
    repeated_covered: float
    pairs: float


@cache
def shares(looks: tuple[int, ...], effect: float) -> Shares:
    """Shares of studies with an effect, in standard deviations of a difference."""
    points = effect * DIFFERENCE_SD
    found = list(analyses(plan(looks=looks), points))
    claims = [[one.conclusion in ("better", "worse") for one in each.findings] for each in found]
    covered = [
        [one.interval is not None and points in one.interval for one in each.findings]
        for each in found
    ]
    looks = [each.findings[0].looks[-1] for each in found if each.findings[0].looks]
    return Shares(
        any_claim=float(np.mean([any(each) for each in claims])),
        power=float(np.mean([each[0] for each in claims])),
        covered=tuple(map(float, np.mean(covered, axis=0))),
        repeated_covered=float(np.mean([points in look.interval for look in looks] or [0])),
        pairs=float(np.mean([len(each.findings[0].pairs) for each in found])),
    )


@pytest.fixture(scope="module", params=[(), LOOKS], ids=["all pairs", "stopped early"])
def looks(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """Looks of the study: none, or those of the default."""
    return tuple(request.param)


@pytest.mark.slow
def test_null_studies_claim_a_difference_in_at_most_six_of_a_hundred(
    looks: tuple[int, ...],
) -> None:
    found = shares(looks, 0.0)
    assert found.any_claim <= 0.064
    assert found.any_claim > 0.01, "a test that never claims holds this limit too"


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_intervals_hold_the_truth_in_95_of_a_hundred_studies(
    looks: tuple[int, ...], effect: float
) -> None:
    found = shares(looks, effect)
    assert 0.936 <= found.covered[0] <= 0.964, "the primary contrast"
    assert 0.936 <= np.mean(found.covered) <= 0.964, "all planned contrasts"
    if looks and effect >= 1:
        assert found.repeated_covered > 0.964, "repeated intervals are too wide after a stop"


@pytest.mark.slow
def test_stopping_early_saves_pairs() -> None:
    assert shares(LOOKS, 0.0).pairs < 8.5
    assert shares(LOOKS, 1.0).pairs < 11.5
    assert shares(LOOKS, 2.0).pairs < 9.5


@pytest.mark.slow
def test_stopping_early_keeps_most_of_the_power_of_all_pairs() -> None:
    # Holm's first step is the least power that the primary contrast has with all twelve pairs.
    assert shares(LOOKS, 1.0).power > power_of(12, 1.0, 1.0, alpha=0.05 / 3) - 0.03
