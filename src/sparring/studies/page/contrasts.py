"""Section of the planned contrasts: forest plot, table, and what the numbers allow to say."""

from collections.abc import Sequence
from html import escape

from sparring.reporting.sections import missing_note, section
from sparring.studies.findings import Finding
from sparring.studies.page.forest import forest, forest_rows
from sparring.studies.page.frame import Column, figure, fitted, folded, table
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import (
    NOTHING,
    interval_text,
    level_text,
    measure_text,
    p_text,
    points,
    share_text,
    signed,
)
from sparring.studies.results import Measure

_MOST_OPEN = 4
"""Most further measures whose forest plots are shown at once."""


def contrasts(view: PageView) -> str:
    """Section with the planned contrasts on the primary measure, and those on other measures."""
    findings = view.analysis.findings
    if not findings:
        return section("Contrasts", missing_note("The plan has no contrast: no arm has a control."))
    rows = forest_rows(findings, view, has_conclusions=True)
    title = planned_title(findings, view)
    plot = figure(title, fitted(lambda width: forest(rows, view, width=width, title=title)))
    words = "".join(_sentences(one) for one in findings)
    content = (
        f'{plot}<ul class="findings">{words}</ul>{_table(findings, view)}{_every_pair(findings)}'
    )
    return section("Contrasts", content + _further(view), lead=reading(findings, view))


def planned_title(findings: Sequence[Finding], view: PageView) -> str:
    """Title of the forest plot of the planned contrasts."""
    return f"Planned contrasts, {measure_text(findings[0].measure, view.study)}"


def reading(findings: Sequence[Finding], view: PageView) -> str:
    """How to read the forest plot of the planned contrasts."""
    study = view.study
    text = (
        "Differences of two arms trained with the same seed, "
        f"{measure_text(findings[0].measure, study)}. "
        f"A dot is one pair; the diamond is the mean with its {level_text(study)} interval; the "
        f"shaded band is the margin of {study.margin:g} points within which a difference does not "
        "matter. An arrow: the interval goes on beyond the plot."
    )
    if len(findings) > 1 and any(one.p_holm is not None for one in findings):
        text += f" p values are adjusted (Holm) over the {len(findings)} planned contrasts."
    return text


def _sentences(finding: Finding) -> str:
    """What a contrast allows to say, as an item of a list."""
    said = " ".join(filter(None, [finding.sentence, finding.power]))
    return f"<li><b>{escape(finding.contrast.name)}:</b> {escape(said)}</li>"


def _table(findings: Sequence[Finding], view: PageView) -> str:
    """Every number of the planned contrasts; columns that hold nothing are left out."""
    level = level_text(view.study)
    columns = [
        Column(title="Contrast", is_number=False),
        Column(title="Pairs"),
        Column(title="Mean", note="points"),
        Column(title=f"{level} interval"),
        Column(title="SD"),
        Column(title="p", note="paired t"),
        Column(title="p", note="Holm"),
        Column(title="BCa interval", note="bootstrap"),
        Column(title="p", note="sign flip"),
        Column(title="P(better)", note="on a new seed"),
        Column(title="p", note=f"within {view.study.margin:g}"),
        Column(title="r", note="over seeds"),
    ]
    rows = [_numbers(one) for one in findings]
    kept = [
        number
        for number in range(len(columns))
        if number < 4 or any(row[number] != NOTHING for row in rows)
    ]
    titles = [f"{columns[number].title} {columns[number].note}".strip() for number in kept]
    return table(
        "Planned contrasts in numbers",
        [columns[number] for number in kept],
        [[row[number] for number in kept] for row in rows],
        note=_reading(titles, view.study.margin),
    )


def _reading(titles: Sequence[str], margin: float) -> str:
    """How to read the columns that are there, as text."""
    said = []
    if f"p within {margin:g}" in titles:
        said.append(f"p within {margin:g}: two one-sided tests against the margin.")
    if "P(better) on a new seed" in titles:
        said.append(
            "P(better): probability that the first arm scores higher with the next seed, estimated "
            "from the share of pairs in which it did; 0.00 says in none of them, not that it "
            "cannot: the interval is what so few pairs leave possible."
        )
    if "r over seeds" in titles:
        said.append("r: correlation of the two arms; the higher, the more pairing by seed buys.")
    return " ".join(said)


def _every_pair(findings: Sequence[Finding]) -> str:
    columns = [Column(title="Contrast", is_number=False)]
    columns.append(Column(title="Each pair", note="seed: points", is_number=False))
    rows = [[escape(one.contrast.name), _by_seed(one)] for one in findings]
    return folded("Difference of every pair", table("Pairs", columns, rows))


def _by_seed(finding: Finding) -> str:
    pairs = zip(finding.pairs.seeds, finding.pairs.differences, strict=True)
    return ", ".join(f"{seed}: {signed(value)}" for seed, value in pairs) or NOTHING


def _numbers(finding: Finding) -> list[str]:
    return [
        escape(finding.contrast.name),
        str(len(finding.pairs)),
        signed(finding.mean),
        interval_text(finding.interval),
        points(finding.sd),
        p_text(finding.p),
        p_text(finding.p_holm),
        interval_text(finding.bootstrap),
        p_text(finding.p_sign_flip),
        share_text(finding.probability),
        p_text(finding.p_equivalence),
        NOTHING if finding.correlation is None else f"{finding.correlation:.2f}",
    ]


def _further(view: PageView) -> str:
    """The contrasts on other measures: described, nothing claimed."""
    found: dict[Measure, list[Finding]] = {}
    for one in view.analysis.further:
        found.setdefault(one.measure, []).append(one)
    if not found:
        return ""
    plots = "".join(_small_forest(measure, some, view) for measure, some in found.items())
    rows = [
        [
            escape(one.contrast.name),
            escape(measure_text(one.measure, view.study)),
            str(len(one.pairs)),
            signed(one.mean),
            interval_text(one.interval),
            _by_seed(one),
        ]
        for one in view.analysis.further
    ]
    columns = [
        Column(title="Contrast", is_number=False),
        Column(title="Measure", is_number=False),
        Column(title="Pairs"),
        Column(title="Mean", note="points"),
        Column(title=f"{level_text(view.study)} interval"),
        Column(title="Each pair", note="seed: points", is_number=False),
    ]
    numbers = folded(
        "Other measures in numbers", table("Contrasts on other measures", columns, rows)
    )
    forests = f'<div class="plots forests">{plots}</div>'
    if len(found) > _MOST_OPEN:
        forests = folded(f"Contrasts on {len(found)} other measures", forests)
    return (
        '<h3 class="below">On other measures</h3><p class="note">Described only: nothing is '
        "claimed from these, and no p value is given, since the plan names one primary measure."
        f"</p>{forests}{numbers}"
    )


def _small_forest(measure: Measure, findings: Sequence[Finding], view: PageView) -> str:
    title = measure_text(measure, view.study)
    rows = forest_rows(findings, view, has_conclusions=False)
    svg = forest(rows, view, width=350, title=f"Contrasts, {title}")
    return figure(title, svg)
