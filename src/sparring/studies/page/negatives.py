"""Section of a study's page on negatives: the negative doctor for all arms side by side.

Everything comes from the records; a run folder that is still there fills in what they lack.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from sparring.config import Tree
from sparring.errors import RunError
from sparring.reporting import negative_doctor, sections
from sparring.reporting.dial_figures import dial_findings
from sparring.reporting.drawing import Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.negative_findings import NegativeFinding, findings, looks
from sparring.reporting.scales import Scale
from sparring.studies.page.frame import NARROW, Column, figure, table
from sparring.studies.page.image_strengths import image_strengths
from sparring.studies.page.negative_pictures import pictures, shown_arms
from sparring.studies.page.view import PageView
from sparring.studies.records import RunRecord
from sparring.training.metrics import read_metrics

Look: TypeAlias = Mapping[str, float]
Read: TypeAlias = Callable[[Look], float | None]

LEAD = (
    "What every anchor was pushed away from, as the looks of the monitor saw it, arm by arm: lines "
    "are means over seeds, bands reach from the lowest to the highest seed. Random play is as many "
    "keys of other images, drawn at random."
)


@dataclass(frozen=True, kw_only=True)
class ArmLooks:
    """Looks at the negatives of one arm's finished runs.

    Attributes:
        name: of the arm.
        number: in the plan, which gives colour and dashes.
        role: game, twin or control.
        runs: looks of each run, by seed; each has `images`, the images seen so far.
        found: findings, on means over the seeds.
    """

    name: str
    number: int
    role: str
    runs: Mapping[int, Sequence[Look]]
    found: Sequence[NegativeFinding]


@dataclass(frozen=True, kw_only=True)
class SeedBand:
    """Mean over seeds, and lowest and highest seed, at each number of images."""

    images: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    seeds: int


def section(view: PageView) -> str:
    """The negatives of all arms: figures with bands over seeds, numbers late in training, and
    findings for each arm; empty if no arm has negatives or an opponent in image space."""
    arms = arm_looks(view)
    strengths = image_strengths(view)
    if not any(arm.runs for arm in arms):
        is_asked = any(_declares(view, arm) for arm in arms)
        content = strengths + (_missing(view, arms) if strengths or is_asked else "")
        return sections.section(negative_doctor.TITLE, content, lead=LEAD) if content else ""
    content = (
        f'{_legend(arms)}<div class="plots two">{_figures(arms)}</div>{_table(arms)}'
        f"{_beside_twins(view, arms)}{_findings(view, arms)}{_more(view, arms)}"
        f"{_missing(view, arms)}{strengths}"
    )
    title = negative_doctor.TITLE
    return sections.section(title, f'<div class="doctor">{content}</div>', lead=LEAD)


def arm_looks(view: PageView) -> list[ArmLooks]:
    """Looks of every arm at the primary share and budget, in the order of the plan."""
    found = []
    for number, arm in enumerate(view.study.arms):
        records = view.results.of_arm(arm.name, view.results.primary)
        runs = {
            one.name.seed: seen for one in records if (seen := _with_images(one, _looks(view, one)))
        }
        config = records[0].config if records else {}
        found.append(
            ArmLooks(
                name=arm.name,
                number=number,
                role=arm.role,
                runs=runs,
                found=_found(list(runs.values()), config) if runs else (),
            )
        )
    return found


def _found(runs: Sequence[Sequence[Look]], config: Tree) -> tuple[NegativeFinding, ...]:
    """Findings on means over the seeds, those about the excess loss first."""
    mean = _mean_looks(runs)
    return (*dial_findings(mean), *findings(mean, config))


def _looks(view: PageView, record: RunRecord) -> list[dict[str, float]]:
    """Looks of a run: those of its record, or of its folder if that has more."""
    kept = looks(record.opponent)
    whole: list[dict[str, float]] = []
    with suppress(RunError):
        path = view.folder.inside(f"{record.folder}/metrics.jsonl")
        whole = looks(read_metrics(path)) if record.folder and path.is_file() else []
    return whole if len(whole) > len(kept) else kept


def _with_images(record: RunRecord, seen: Sequence[Look]) -> list[Look]:
    batch = record.config.get("training", {}).get("batch_size")
    if not isinstance(batch, int):
        batch = record.images // record.steps if record.steps else 1
    return [{**look, "images": (look["step"] + 1) * batch} for look in seen]


def _mean_looks(runs: Sequence[Sequence[Look]]) -> list[dict[str, float]]:
    """Means over runs, look by look; as many looks as every run has."""
    found = []
    for same in zip(*runs, strict=False):
        names = [name for name in same[0] if all(name in look for look in same)]
        found.append({name: sum(look[name] for look in same) / len(same) for name in names})
    return found


def seed_band(arm: ArmLooks, read: Read) -> SeedBand | None:
    """A measure over images, over the seeds of an arm; None if no look has it.

    Args:
        arm: looks of the arm.
        read: value of a look; None where it was not measured.
    """
    points: dict[float, list[float]] = {}
    for seen in arm.runs.values():
        for look in seen:
            if (value := read(look)) is not None:
                points.setdefault(look["images"], []).append(value)
    if not points:
        return None
    images = sorted(points)
    return SeedBand(
        images=images,
        mean=[sum(points[one]) / len(points[one]) for one in images],
        low=[min(points[one]) for one in images],
        high=[max(points[one]) for one in images],
        seeds=max(map(len, points.values())),
    )


def _value(name: str) -> Read:
    return lambda look: look.get(f"negatives/{name}")


def _lead(look: Look) -> float | None:
    ours, random = _value("higher")(look), _value("random_higher")(look)
    return None if ours is None or random is None else ours - random


def _figures(arms: Sequence[ArmLooks]) -> str:
    """Hardness, its lead over random play, and what is shown as a share, one figure each."""
    measures: list[tuple[str, str, str, Read]] = [
        (
            "Hardness of the negatives",
            "cosine at the 99 % quantile of an anchor's negatives; those of bank or queue if any",
            "cosine",
            _value("higher"),
        ),
        (
            "Harder than random play",
            "the same minus that of random play of equal size; 0: the opponent does nothing",
            "cosine",
            _lead,
        ),
    ]
    for name, (title, caption) in negative_doctor.SHARES.items():
        measures.append((title, caption, "%", _share(name)))
    return "".join(_figure(arms, *measure) for measure in measures)


def _share(name: str) -> Read:
    return lambda look: negative_doctor.share(look, name)


def _figure(arms: Sequence[ArmLooks], title: str, caption: str, unit: str, read: Read) -> str:
    bands = [(arm, band) for arm in arms if (band := seed_band(arm, read)) is not None]
    if not bands:
        return ""
    xs = [x for _, band in bands for x in band.images]
    ys = [y for _, band in bands for ends in (band.low, band.high) for y in ends]
    plot = Plot(
        NARROW,
        230,
        x=Scale.linear(xs, label="images seen", num_ticks=4),
        y=Scale.linear([*ys, 0.0] if read is _lead else ys, label=unit),
    )
    plot.axis("bottom").axis("left")
    for arm, band in bands:
        color, dashes = ink_of(arm.number)
        plot.band(band.images, band.low, band.high, color=color)
        tips = [
            f"{arm.name}, {images:,.0f} images: {mean:.3g} {unit} ({low:.3g} to {high:.3g})"
            for images, mean, low, high in zip(
                band.images, band.mean, band.low, band.high, strict=True
            )
        ]
        plot.line(band.images, band.mean, color=color, dashes=dashes, tips=tips)
    said = "; ".join(f"{arm.name} ends at {band.mean[-1]:.3g} {unit}" for arm, band in bands)
    return figure(title, plot.svg(title, f"{title} over images seen: {said}."), note=caption)


def _legend(arms: Sequence[ArmLooks]) -> str:
    entries = "".join(sections.swatch(arm.number, arm.name) for arm in arms if arm.runs)
    return f'<p class="legend">{entries}</p>'


_COLUMNS = (
    ("Hardness", "99 % quantile", "higher", 1.0, 3),
    ("Random play", "99 % quantile", "random_higher", 1.0, 3),
    ("Hardest", "", "hardest", 1.0, 3),
    ("Likely false", "% of the hardest 1 %", "false_by_label", 100.0, 1),
    ("By chance", "%", "same_class", 100.0, 1),
    ("Effective", "number", "effective_number", 1.0, 0),
    ("Negatives", "number", "number", 1.0, 0),
    ("In use", "% of bank or queue", "used", 100.0, 1),
    ("Excess loss", "nats per query", "opponent/excess_loss", 1.0, 3),
)
"""Title, unit, measure, factor and digits of each column; a measure with a slash is the name of a
metric."""


def _table(arms: Sequence[ArmLooks]) -> str:
    looks_of_all = [look for arm in arms for seen in arm.runs.values() for look in seen[-1:]]
    measured = [
        one for one in _COLUMNS if "/" not in one[2] or any(one[2] in look for look in looks_of_all)
    ]
    columns = [
        Column(title="Arm", is_number=False),
        *(Column(title=one[0], note=one[1]) for one in measured),
    ]
    rows = []
    for arm in arms:
        if arm.runs:
            last = [seen[-1] for seen in arm.runs.values()]
            rows.append(
                [sections.swatch(arm.number, arm.name), *(_cell(last, one) for one in measured)]
            )
    return table(
        "Negatives at the last look",
        columns,
        rows,
        note="Means over seeds, with the lowest and the highest seed.",
    )


def _cell(last: Sequence[Look], column: tuple[str, str, str, float, int]) -> str:
    _, _, name, factor, digits = column
    key = name if "/" in name else f"negatives/{name}"
    values = [factor * look[key] for look in last if key in look]
    if not values:
        return "-"
    mean, low, high = (
        f"{round(value, digits) + 0.0:,.{digits}f}"  # adding 0 makes 0 of -0
        for value in (sum(values) / len(values), min(values), max(values))
    )
    return mean if len(values) == 1 else f"{mean}<small>{low} to {high}</small>"


def _beside_twins(view: PageView, arms: Sequence[ArmLooks]) -> str:
    """How much harder each game's negatives are than those of its twins, seed by seed."""
    by_name, lines = {arm.name: arm for arm in arms}, []
    for twin in view.study.arms:
        game, other = by_name.get(twin.twin_of), by_name[twin.name]
        seeds = sorted(game.runs.keys() & other.runs.keys()) if game is not None else []
        if game is None or not seeds:
            continue
        read = _value("higher")
        gaps = [
            ours - theirs
            for seed in seeds
            if (ours := read(game.runs[seed][-1])) is not None
            and (theirs := read(other.runs[seed][-1])) is not None
        ]
        mean = sum(gaps) / len(gaps)
        lines.append(
            f"Negatives of {game.name} minus those of its twin {other.name}, at the 99 % quantile "
            f"of the cosine: {mean:+.3f} ({min(gaps):+.3f} to {max(gaps):+.3f} over "
            f"{len(gaps)} pairs)."
        )
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="remarks">{items}</ul>' if items else ""


def _findings(view: PageView, arms: Sequence[ArmLooks]) -> str:
    """Findings of each arm, a game before its twins as in the plan; pictures of those of the main
    question."""
    note = f'<p class="note">{escape(negative_doctor.FINDINGS_NOTE)}</p>'
    shown = shown_arms(view)
    return note + "".join(
        f"<h3>{sections.swatch(arm.number, arm.name)} <small>{escape(arm.role)}</small></h3>"
        f"{negative_doctor.findings_html(arm.found)}"
        f"{_pictures(view, arm) if arm.name in shown else ''}"
        for arm in arms
        if arm.runs
    )


def _pictures(view: PageView, arm: ArmLooks) -> str:
    return pictures(view, arm.name, _mean_looks(list(arm.runs.values())), number=arm.number)


def _more(view: PageView, arms: Sequence[ArmLooks]) -> str:
    """The command that shows the same of single runs, for run folders that are still there."""
    primary = view.results.primary
    first = [view.results.of_arm(one.name, primary)[0].folder for one in arms if one.runs]
    paths = [view.folder.path / folder for folder in first if folder]
    there = " ".join(shlex.quote(str(path)) for path in paths if path.is_dir())
    words = "The same of single runs:"
    shown = f'<p class="note">{words}</p><pre>sparring report {escape(there)}</pre>'
    return shown if there else ""


def _declares(view: PageView, arm: ArmLooks) -> bool:
    return negative_doctor.declares_negatives(view.study.arm(arm.name).method)


def _missing(view: PageView, arms: Sequence[ArmLooks]) -> str:
    """A sentence for the arms that have finished runs and no look at their negatives, once for each
    reason."""
    said: dict[str, list[str]] = {}
    for arm in arms:
        if not arm.runs and view.results.of_arm(arm.name, view.results.primary):
            why = negative_doctor.nothing_seen(view.study.arm(arm.name).method)
            said.setdefault(why, []).append(arm.name)
    return "".join(
        sections.missing_note(f"{', '.join(names)}: {why}") for why, names in said.items()
    )
