"""Section of the arms: scores with every seed, gain over the start, cost, and who was tuned how."""

from collections.abc import Iterator, Sequence
from html import escape

from sparring.reporting.drawing import Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.scales import Scale
from sparring.reporting.sections import missing_note, section, swatch
from sparring.reporting.sentences import listed
from sparring.studies.page.arm_numbers import (
    ArmScore,
    arm_cost,
    arm_score,
    start_score,
    tuned_more,
)
from sparring.studies.page.frame import Column, folded, table
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import (
    NOTHING,
    duration_text,
    measure_text,
    points,
    protocol_text,
    runs_text,
    signed,
    size_text,
)
from sparring.studies.plan import Arm, Study
from sparring.studies.results import Measure, Results
from sparring.training.encoder_names import start_name

_STRIP = 210.0
_MOST_COLUMNS = 6
"""Most measures in one table, so that it fits on paper."""
_MOST_SEEDS = 10


def arms(view: PageView) -> str:
    """Section with the table of arms on the primary measure, and with all other scores."""
    results = view.results
    if not any(results.scores(arm.name, results.primary) for arm in view.study.arms):
        return section("Arms", missing_note("No run has been scored yet."))
    lead = (
        f"{measure_text(results.primary, view.study)}, in percent. Means and standard deviations "
        "are over seeds; gain is over the encoder from which each run started."
    )
    others = "".join(_measures_table(view, group) for group in _groups(results))
    return section("Arms", _main_table(view) + others + _every_run(view), lead=lead)


def start_title(results: Results) -> str:
    """Name of the encoder from which the runs of a study started."""
    names = dict.fromkeys(
        start_name(
            (one.config.get("encoder") or {}).get("weights"), one.environment.get("started_from")
        )
        for one in results.records
    )
    return " or ".join(names) or start_name(None)


def role_text(arm: Arm) -> str:
    """What an arm is for, in a few words."""
    return f"twin of {arm.twin_of}" if arm.role == "twin" and arm.twin_of else arm.role


def tuning_text(arm: Arm) -> str:
    """How many trials chose the settings of an arm, and on which images."""
    trials = arm.tuning.trials
    if not trials:
        return NOTHING
    where = f" on {arm.tuning.images}" if arm.tuning.images else ""
    return f"{trials} trial{'s' * (trials > 1)}{where}"


def _main_table(view: PageView) -> str:
    results, primary = view.results, view.results.primary
    found = {arm.name: arm_score(results, arm.name, primary) for arm in view.study.arms}
    scale = _strip_scale(list(found.values()))
    columns = [
        Column(title="Arm", is_number=False),
        *(Column(title=title) for title in ("Mean", "SD", "Seeds", "Gain")),
        Column(title="Each seed; mean, one SD", below=_strip_axis(scale), is_number=False),
        Column(title="Training", note="mean of a run"),
        Column(title="Images", note="seen"),
        Column(title="Memory", note="peak"),
        Column(title="Tuning", is_number=False),
    ]
    rows = [
        _start_row(results),
        *(_row(view, arm, found[arm.name], scale) for arm in view.study.arms),
    ]
    note = "A dash: none, or not known." if any(NOTHING in row for row in rows) else ""
    return table("Arms on the primary measure", columns, rows, note=note)


def _start_row(results: Results) -> list[str]:
    start = start_score(results, results.primary)
    name = swatch(None, start_title(results))
    numbers = [points(start.mean), points(start.sd), str(len(start.scores)), NOTHING]
    return [f"{name}<small>start of every run</small>", *numbers, "", *[NOTHING] * 4]


def _row(view: PageView, arm: Arm, score: ArmScore, scale: Scale) -> list[str]:
    number, cost = view.number(arm.name), arm_cost(view.results, arm.name, view.results.primary)
    costs = [NOTHING] * 3
    if cost is not None:
        peak = NOTHING if cost.peak_bytes is None else size_text(cost.peak_bytes)
        costs = [duration_text(cost.seconds), f"{cost.images:,.0f}", peak]
    return [
        f"{swatch(number, arm.name)}<small>{escape(role_text(arm))}</small>",
        points(score.mean),
        points(score.sd),
        str(len(score.scores)),
        signed(score.gain),
        _strip(arm.name, number, score, scale),
        *costs,
        _tuning(view.results, arm),
    ]


def _tuning(results: Results, arm: Arm) -> str:
    more = tuned_more(results, arm)
    badge = f'<small class="badge">more than {escape(listed(more))}</small>' if more else ""
    return f"{escape(tuning_text(arm))}{badge}"


def _strip_scale(found: Sequence[ArmScore]) -> Scale:
    ends = [
        score.mean + sign * (score.sd or 0.0)
        for score in found
        if score.mean is not None
        for sign in (-1, 1)
    ]
    values = [value for score in found for value in score.scores.values()]
    return Scale.linear([*ends, *values], num_ticks=4)


def _strip_axis(scale: Scale) -> str:
    plot = Plot(_STRIP, 20, x=scale, y=Scale(low=0, high=1), margins=(0, 12, 18, 12))
    drawn = plot.axis("bottom", has_grid=False)
    return drawn.svg("Axis of the scores, in percent", "", style="strip", is_stop=False)


def _strip(name: str, number: int, score: ArmScore, scale: Scale) -> str:
    if not score.scores or score.mean is None:
        return ""
    color, _ = ink_of(number)
    plot = Plot(_STRIP, 30, x=scale, y=Scale(low=0, high=1), margins=(0, 12, 0, 12))
    for tick in scale.ticks:
        plot.rule(tick, along="bottom", color="line")
    tips = [f"{name}, seed {seed}: {points(value)} %" for seed, value in score.scores.items()]
    plot.dots(list(score.scores.values()), [0.74] * len(tips), color=color, tips=tips)
    sd = score.sd or 0.0
    said = f"{name}: mean {points(score.mean)} %" + (f", SD {points(sd)}" if score.sd else "")
    ends = (score.mean - sd, score.mean + sd)
    plot.interval(*ends, 0.26, middle=score.mean, tip=said)
    return plot.svg(f"Scores of {name}", "; ".join([said, *tips]), style="strip", is_stop=False)


def _groups(results: Results) -> Iterator[list[Measure]]:
    """Measures of one share and budget each, at most as many as a table holds; none if the
    primary one is the only one."""
    measures = results.measures()
    if len(measures) == 1:
        return
    for key in dict.fromkeys((one.budget, one.share) for one in measures):
        of_key = [one for one in measures if (one.budget, one.share) == key]
        for start in range(0, len(of_key), _MOST_COLUMNS):
            yield of_key[start : start + _MOST_COLUMNS]


def _measures_table(view: PageView, group: Sequence[Measure]) -> str:
    """Mean, standard deviation and gain of every arm on some measures."""
    results, study = view.results, view.study
    columns = [Column(title="Arm", is_number=False)]
    columns += [Column(title=protocol_text(one.protocol), note=f"on {one.test}") for one in group]
    start = [swatch(None, start_title(results))]
    start += [points(start_score(results, one).mean) for one in group]
    rows = [start]
    for arm in study.arms:
        cells = [_cell(arm_score(results, arm.name, one), study) for one in group]
        rows.append([swatch(view.number(arm.name), arm.name), *cells])
    runs = runs_text(group[0], study)
    title = f"All scores{f', {runs}' if runs else ''}"
    return table(title, columns, rows, note="Mean, one standard deviation, and gain, in percent.")


def _cell(score: ArmScore, study: Study) -> str:
    if score.mean is None:
        return NOTHING
    spread = "" if score.sd is None else f' <span class="aside">SD {points(score.sd)}</span>'
    gain = "" if score.gain is None else f"gain {signed(score.gain)}"
    fewer = len(score.scores)
    count = f"{fewer} seed{'s' * (fewer != 1)}" if fewer != len(study.seeds) else ""
    more = ", ".join(filter(None, [gain, count]))
    return f"{points(score.mean)}{spread}<small>{more}</small>"


def _every_run(view: PageView) -> str:
    """Folded table of the scores of every run on the primary measure."""
    results, seeds = view.results, view.study.seeds
    tables = []
    for first in range(0, len(seeds), _MOST_SEEDS):
        some = seeds[first : first + _MOST_SEEDS]
        columns = [Column(title="Arm", is_number=False)]
        columns += [Column(title=f"Seed {seed}") for seed in some]
        rows = []
        for arm in view.study.arms:
            scores = results.scores(arm.name, results.primary)
            cells = [points(scores.get(seed)) for seed in some]
            rows.append([swatch(view.number(arm.name), arm.name), *cells])
        tables.append(table(f"Seeds {some[0]} to {some[-1]}", columns, rows))
    return folded("Score of every run on the primary measure", "".join(tables))
