"""Dose and response: arms that differ in one numeric setting, and what each amount of it did.

The setting is found by comparing the configurations of the runs, so that a curve over `strength`, a
temperature or the size of a queue is recognised alike. The dose of an opponent's strength is its
excess loss as measured, since a target may be out of reach.
"""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sparring.config import leaves
from sparring.methods.about import section
from sparring.strength.findings import INNER, OUTER
from sparring.studies.findings import Estimate
from sparring.studies.keys import WITHOUT_EFFECT
from sparring.studies.records import RunRecord
from sparring.studies.results import Measure, Results, paired
from sparring.studies.statistics.paired import mean_interval

STRENGTH = "strength"
"""Name of the setting that holds an opponent's excess loss."""
EXCESS, SHARE = "excess_loss", "share"
"""Metrics of the measured dose, and of the share of the opponent that played, without the beginning
of their names."""
LEAST_ARMS, LEAST_NUMBERS = 3, 2
"""Fewest arms of a curve, and fewest of them with a number for the setting."""
_OF_A_RUN = WITHOUT_EFFECT | {"seed", "data.limit_seed"}
"""Settings in which runs of one arm may differ."""


@dataclass(frozen=True, kw_only=True)
class Dose:
    """One arm of a curve.

    Attributes:
        arm: its name in the plan.
        setting: value of the setting; None where it is no number.
        text: the value in words, with its unit.
        amounts: dose of each run by seed: measured, or the value of the setting; empty if neither
            is known.
        shares: mean share of the opponent that played, by seed; empty if nothing was held.
        scores: in points, by seed.
        step: difference to the arm of the curve's reference, by pairs; None for the reference
            itself and without pairs.
        differences: the same of each pair, by seed.
    """

    arm: str
    setting: float | None
    text: str
    amounts: Mapping[int, float]
    shares: Mapping[int, float]
    scores: Mapping[int, float]
    step: Estimate | None
    differences: Mapping[int, float]

    @property
    def amount(self) -> float | None:
        """Mean dose over the runs; None if it is not known."""
        return statistics.mean(self.amounts.values()) if self.amounts else None

    @property
    def score(self) -> float | None:
        """Mean score over seeds; None without runs."""
        return statistics.fmean(self.scores.values()) if self.scores else None


@dataclass(frozen=True, kw_only=True)
class DoseCurve:
    """Arms that differ in one numeric setting alone.

    Attributes:
        setting: its dotted name, such as `perturbation.strength`.
        game: what plays: method and opponents, `simclr+perturbation`.
        is_measured: whether doses are excess losses as measured, in nats per query.
        reference: arm with which the others are compared: the one that the plan's contrasts and
            games name most, else that of the least dose.
        doses: arms with a number, by rising dose, then the others.
    """

    setting: str
    game: str
    is_measured: bool
    reference: str
    doses: tuple[Dose, ...]

    @property
    def line(self) -> tuple[Dose, ...]:
        """Doses that a curve joins: those with a number, a dose and a score."""
        return tuple(
            one
            for one in self.doses
            if one.setting is not None and one.amounts and one.score is not None
        )

    @property
    def marks(self) -> tuple[Dose, ...]:
        """Arms without a number whose dose was measured, such as `released`."""
        return tuple(
            one
            for one in self.doses
            if one.setting is None and one.amounts and one.score is not None
        )


def dose_curves(results: Results, measure: Measure | None = None) -> list[DoseCurve]:
    """Curves of all groups of arms that differ in one numeric setting, in the order of the plan.

    Args:
        results: plan and records.
        measure: of the scores; None: the primary one.
    """
    measure = measure or results.primary
    settings = _settings(results, measure)
    found = []
    for name in _varying(settings):
        for group in _groups(settings, name):
            numbers = {value for value in group.values() if _is_number(value)}
            if len(group) >= LEAST_ARMS and len(numbers) >= LEAST_NUMBERS:
                found.append(_curve(results, measure, name, group))
    order = [arm.name for arm in results.study.arms]
    return sorted(found, key=lambda one: min(order.index(dose.arm) for dose in one.doses))


def steps(curve: DoseCurve, *, level: float) -> Iterator[tuple[Dose, Dose, Estimate]]:
    """Differences of neighbouring doses of a curve, the higher minus the lower, paired by seed.

    Args:
        curve: its line is followed.
        level: of the intervals.
    """
    for low, high in zip(curve.line, curve.line[1:], strict=False):
        found = _difference(high.scores, low.scores, level=level)
        if found is not None:
            yield low, high, found


def _settings(results: Results, measure: Measure) -> dict[str, dict[str, object]]:
    """Settings of every arm that has runs, by their dotted names."""
    found = {}
    for arm in results.study.arms:
        runs = results.of_arm(arm.name, measure)
        if runs and runs[0].config:
            own = leaves(runs[0].config)
            found[arm.name] = {name: value for name, value in own if name not in _OF_A_RUN}
    return found


def _varying(settings: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Names of the settings for which arms have different values, one of them a number."""
    names = dict.fromkeys(name for own in settings.values() for name in own)
    return [
        name
        for name in names
        if any(_is_number(own.get(name)) for own in settings.values())
        and len({repr(own.get(name)) for own in settings.values()}) > 1
    ]


def _groups(settings: Mapping[str, Mapping[str, object]], name: str) -> Iterator[dict[str, object]]:
    """Arms that agree in all settings but one: the value of that one by arm."""
    groups: dict[str, dict[str, object]] = {}
    for arm, own in settings.items():
        if name in own:
            others = sorted((other, repr(value)) for other, value in own.items() if other != name)
            groups.setdefault(repr(others), {})[arm] = own[name]
    yield from groups.values()


def _curve(
    results: Results, measure: Measure, name: str, values: Mapping[str, object]
) -> DoseCurve:
    amounts = _measured(results, measure, name, values)
    starts = {arm: _beginning(results, arm, measure, name) for arm in values}
    reference = _reference(results, values)
    scores = {arm: results.scores(arm, measure) for arm in values}
    doses = []
    for arm, value in values.items():
        number = float(value) if isinstance(value, int | float) and _is_number(value) else None
        given = dict.fromkeys(scores[arm], number) if number is not None else {}
        level = 1 - results.study.alpha
        doses.append(
            Dose(
                arm=arm,
                setting=number,
                text=_text(name, value),
                amounts=amounts[arm] if amounts else given,
                shares=_means(results, arm, measure, starts[arm] + SHARE) if amounts else {},
                scores=scores[arm],
                step=None
                if arm == reference
                else _difference(scores[arm], scores[reference], level=level),
                differences=_differences(scores[arm], scores[reference]),
            )
        )
    method = results.study.arm(reference)
    return DoseCurve(
        setting=name,
        game="+".join([method.method, *method.opponent]),
        is_measured=bool(amounts),
        reference=reference,
        doses=tuple(sorted(doses, key=_place)),
    )


def _place(dose: Dose) -> tuple[bool, float]:
    """Place in a curve: numbers by dose, then the others."""
    amount = dose.setting if dose.amount is None else dose.amount
    return dose.setting is None, amount or 0.0


def _measured(
    results: Results, measure: Measure, name: str, values: Mapping[str, object]
) -> dict[str, dict[int, float]]:
    """Excess loss of every run by arm and seed; empty if the setting is another one, or if it was
    not measured in every arm. An opponent without any strength needs no measurement."""
    if name.rpartition(".")[2] != STRENGTH:
        return {}
    found = {}
    for arm, value in values.items():
        metric = _beginning(results, arm, measure, name) + EXCESS
        own = _means(results, arm, measure, metric)
        found[arm] = own or (dict.fromkeys(results.scores(arm, measure), 0.0) if value == 0 else {})
    return found if all(found.values()) else {}


def _beginning(results: Results, arm: str, measure: Measure, name: str) -> str:
    """Beginning of the names of a dial's metrics: that of an opponent inside another one unless the
    setting is the outermost one's."""
    runs = results.of_arm(arm, measure)
    is_wrapped = any(INNER + EXCESS in row for run in runs for row in run.opponent)
    outermost = [section(around[-1]) for run in runs if (around := run.config.get("opponent"))]
    return INNER if is_wrapped and name.partition(".")[0] not in outermost else OUTER


def _means(results: Results, arm: str, measure: Measure, metric: str) -> dict[int, float]:
    """Mean of a metric over the second half of training, by seed, of the runs that have it."""
    found = {one.name.seed: _late_mean(one, metric) for one in results.of_arm(arm, measure)}
    return {seed: value for seed, value in found.items() if value is not None}


def _late_mean(run: RunRecord, metric: str) -> float | None:
    values = [row[metric] for row in run.opponent if metric in row and 2 * row["step"] >= run.steps]
    return statistics.fmean(values) if values else None


def _reference(results: Results, values: Mapping[str, object]) -> str:
    """Arm that the plan's contrasts set the others against, or that its games have as their
    control; else that of the smallest number."""
    study = results.study
    named = [one.second for one in study.contrasts if one.first in values]
    named += [arm.control for arm in study.arms]
    counts = Counter(name for name in named if name in values)
    if counts:
        return counts.most_common(1)[0][0]
    numbers = {arm: value for arm, value in values.items() if _is_number(value)}
    return min(numbers, key=lambda arm: float(str(numbers[arm])))


def _difference(
    first: Mapping[int, float], second: Mapping[int, float], *, level: float
) -> Estimate | None:
    values = list(_differences(first, second).values())
    if not values:
        return None
    inside = mean_interval(values, level=level) if len(values) > 1 else None
    return Estimate(value=statistics.fmean(values), interval=inside)


def _differences(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    pairs = paired(dict(first), dict(second))
    return dict(zip(pairs.seeds, pairs.differences.tolist(), strict=True))


def _text(name: str, value: object) -> str:
    if not _is_number(value):
        return str(value) if value is not None else "none"
    unit = " nats" if name.rpartition(".")[2] == STRENGTH else ""
    return f"{value:g}{unit}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
