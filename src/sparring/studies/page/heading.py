"""Head of a study's page: what was found, what was compared, and what has to be known first."""

import re
from collections.abc import Sequence
from html import escape

from sparring.reporting.sentences import listed
from sparring.studies.cautions import notes
from sparring.studies.page.arm_numbers import arm_cost
from sparring.studies.page.frame import mark
from sparring.studies.page.looks import stopped
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import measure_text, pairs_text
from sparring.studies.records import RunRecord

_MOST_NAMED = 6
"""Most arms, test sets or failed runs that the head names."""


def heading(view: PageView, changes: Sequence[str]) -> str:
    """Headline, marks and facts.

    Args:
        view: the study.
        changes: later changes of the plan, in words.
    """
    first, rest = _split(view.analysis.headline)
    more = f'<p class="trust">{escape(rest)}</p>' if rest else ""
    compared = f'<p class="trust">{escape(_compared(view))}</p>'
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in _facts(view)
    )
    return (
        f"<h1>{_kept_together(escape(first))}</h1>{more}{compared}{_marks(view, changes)}"
        f'<dl class="facts">{facts}</dl>'
    )


def _split(headline: str) -> tuple[str, str]:
    """First sentence of a headline, and the others."""
    first, *rest = re.split(r"(?<=\)\.) |(?<=[.!?]) (?=[A-Z])", headline, maxsplit=1)
    return first, " ".join(rest)


def _kept_together(html: str) -> str:
    """The headline with what stands in brackets, and points with their number, on one line where
    they fit."""
    return re.sub(r"\([^()]*\)\.?|[+-]?[\d.]+ points?\b", r"<span>\g<0></span>", html)


def _compared(view: PageView) -> str:
    """Sentence on what was compared, at which budget, by which measure."""
    study = view.study
    names = [arm.name for arm in study.arms]
    arms = listed(names) if len(names) <= _MOST_NAMED else f"{len(names)} arms"
    budget = {"images": "images seen", "time": "training time"}[view.results.primary.budget]
    return (
        f"Compared: {arms}, trained on {study.data} at equal {budget}, paired by seed. Primary "
        f"measure: {measure_text(view.results.primary, study)}."
    )


def _marks(view: PageView, changes: Sequence[str]) -> str:
    """What has to be known before any number is read."""
    cautions = list(view.analysis.cautions)
    cautions = list(dict.fromkeys([*cautions, *notes(view.results.records)]))
    alarms = [f"The plan was changed after it was written down: {text}." for text in changes]
    failed = view.results.failed
    if failed and not any(str(failed[0].name) in text for text in cautions):
        alarms.append(_failed(failed))
    early = stopped(view)
    return (
        "".join(mark(text) for text in alarms)
        + (f'<p class="mark" role="note">{escape(early)}</p>' if early else "")
        + _cautions(cautions)
    )


def _cautions(texts: Sequence[str]) -> str:
    """What the study cannot show, as one list."""
    if not texts:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return (
        f'<div class="warning" role="note"><b>To be read with the numbers</b><ul>{items}</ul></div>'
    )


def _failed(failed: Sequence[RunRecord]) -> str:
    if not failed:
        return ""
    names = [str(one.name) for one in failed[:_MOST_NAMED]]
    if len(failed) > _MOST_NAMED:
        names.append(f"{len(failed) - _MOST_NAMED} more")
    one = len(failed) == 1
    return (
        f"{len(failed)} run{'' if one else 's'} failed and {'is' if one else 'are'} missing from "
        f"every number: {'; '.join(names)}."
    )


def _facts(view: PageView) -> list[tuple[str, str]]:
    """Names and values of what was trained, scored and decided beforehand."""
    study, results = view.study, view.results
    finished = [one for one in results.records if one.status == "finished"]
    tests = [one.name for one in study.tests]
    found = [
        ("Study", study.name),
        ("Images", study.data),
        ("Test sets", listed(tests) if len(tests) <= _MOST_NAMED else str(len(tests))),
        ("Images seen", _images_seen(view)),
        ("Pairs", pairs_text(results)),
        ("Budget", _budget(view)),
        ("Margin", f"{study.margin:g} points"),
        ("Error level", f"{100 * study.alpha:g} %, over all planned contrasts"),
        ("Runs", f"{len(finished)} finished, {len(results.failed)} failed"),
        ("Threads per run", str(study.threads)),
        ("Date", _dates(results.records)),
        ("Device", _distinct(results.records, "device")),
        ("Version", _distinct(results.records, "sparring")),
    ]
    return [(name, value) for name, value in found if value]


def _budget(view: PageView) -> str:
    study = view.study
    epochs = f"{study.epochs} epochs" if study.epochs is not None else "epochs of the recipes"
    equal = {"images": "equal images", "time": "equal time", "both": "equal images and equal time"}
    shares = ""
    if study.shares != (1.0,):
        shares = f", on {listed([f'{100 * share:g} %' for share in study.shares])} of the images"
    return f"{epochs}, {equal[study.equal]}{shares}"


def _images_seen(view: PageView) -> str:
    """Images that a run of the primary measure sees; a range where arms differ."""
    primary = view.results.primary
    costs = [arm_cost(view.results, arm.name, primary) for arm in view.study.arms]
    seen = sorted({round(cost.images) for cost in costs if cost is not None})
    return " to ".join(f"{one:,}" for one in dict.fromkeys([*seen[:1], *seen[-1:]]))


def _dates(records: Sequence[RunRecord]) -> str:
    """First and last day on which a run was started."""
    days = sorted({one.started[:10] for record in records for one in record.attempts})
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def _distinct(records: Sequence[RunRecord], name: str) -> str:
    values = dict.fromkeys(str(one.environment[name]) for one in records if name in one.environment)
    return " / ".join(values)
