"""Figures of a study as files beside its page: SVG that explains itself, of contrasts and doses."""

import re
from collections.abc import Sequence

from sparring.reporting.inks import ink_of
from sparring.reporting.standalone import Key, Panel, svg_file
from sparring.studies.doses import DoseCurve, dose_curves
from sparring.studies.findings import Finding
from sparring.studies.page import dose_response
from sparring.studies.page.contrasts import planned_title, reading
from sparring.studies.page.forest import forest, forest_rows
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import measure_text, seeds_text
from sparring.wording import counted

_WIDTH, _GAP = 600.0, 20.0
"""Width of a file's plots: texts are read on a phone still, and in a column of a paper."""
_LONGEST = 40
"""Most letters of a file's name that come from a setting."""


def figure_files(view: PageView, name: str) -> dict[str, str]:
    """SVG of every figure file by its name, such as `study-contrasts.svg`.

    There is one of the planned contrasts, once there is a pair, and one of each curve of dose and
    response: `study-dose.svg`, or `study-dose-temperature.svg` where there are several.

    Args:
        view: the study; nothing is read from its folder.
        name: beginning of the files' names.
    """
    files = {}
    if any(len(one.pairs) for one in view.analysis.findings):
        files[f"{name}-contrasts.svg"] = _contrasts(view)
    measure = view.results.primary
    curves = dose_curves(view.results)
    drawn = list(dose_response.drawn_curves(curves, view, measure, width=(_WIDTH - _GAP) / 2))
    endings = _endings([curve for curve, _ in drawn])
    for ending, (curve, panels) in zip(endings, drawn, strict=True):
        files[f"{name}-dose{ending}.svg"] = _dose(curve, panels, view)
    return files


def _contrasts(view: PageView) -> str:
    findings = view.analysis.findings
    title = planned_title(findings, view)
    rows = forest_rows(findings, view, has_conclusions=True)
    plot = forest(rows, view, width=_WIDTH, title=title)
    return svg_file(
        [Panel(svg=plot)],
        title=view.study.name or title,
        subtitle=title if view.study.name else "",
        notes=[f"{reading(findings, view)} {_pairs(findings, view)}"],
    )


def _dose(curve: DoseCurve, panels: Sequence[Panel], view: PageView) -> str:
    measure = view.results.primary
    title = f"Dose and response, {measure_text(measure, view.study)}"
    drawn = [*curve.line, *curve.marks]
    legend = [
        Key(color=ink_of(view.number(one.arm))[0], name=one.arm, is_ring=one.setting is None)
        for one in drawn
    ]
    return svg_file(
        panels,
        title=view.study.name or title,
        subtitle=title if view.study.name else "",
        legend=legend,
        notes=[
            dose_response.said(curve, view, measure),
            f"{dose_response.reading([curve], view)} The diamond is the mean; the shaded band is "
            f"the margin of {view.study.margin:g} points within which a difference does not "
            "matter. An arrow: the interval goes on beyond the plot.",
        ],
    )


def _pairs(findings: Sequence[Finding], view: PageView) -> str:
    """How many pairs the contrasts have, of how many planned, and of which seeds."""
    planned = len(view.study.seeds)
    seeds = {one.pairs.seeds for one in findings}
    if len(seeds) > 1:
        counts = sorted(len(one) for one in seeds)
        return f"Contrasts have {counts[0]} to {counts[-1]} of {counted(planned, 'planned pair')}."
    (same,) = seeds
    if len(same) < planned:
        return f"{len(same)} of {counted(planned, 'planned pair')}, {seeds_text(same)}."
    return f"{counted(len(same), 'pair')}, {seeds_text(same)}."


def _endings(curves: Sequence[DoseCurve]) -> list[str]:
    """Endings of the names of curves, all different: nothing for the only one, else its setting,
    with what plays or with the arm of the reference where others have the same one."""
    if len(curves) == 1:
        return [""]
    ways = [
        [_safe(one.setting) for one in curves],
        [_safe(f"{one.setting} {one.game}") for one in curves],
        [_safe(f"{one.setting} {one.reference}") for one in curves],
        [_safe(f"{one.setting} {number}") for number, one in enumerate(curves, start=1)],
    ]
    return [
        next(f"-{names[at]}" for names in ways if names.count(names[at]) == 1)
        for at in range(len(curves))
    ]


def _safe(text: str) -> str:
    """A text as part of a file's name: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST].strip("-")
