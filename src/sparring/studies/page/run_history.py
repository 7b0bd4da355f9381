"""What happened to the runs of a study: those that failed, were tried again, were taken over, or
are not made yet."""

from collections.abc import Sequence
from html import escape

from sparring.studies.page.frame import Column, folded, mark, table
from sparring.studies.page.wording import NOTHING
from sparring.studies.records import RunRecord, planned_runs
from sparring.studies.results import Results


def history_section(results: Results) -> str:
    """Failed, interrupted, taken and missing runs, each kind with a sentence."""
    return _failed(results) + _tried_again(results) + _taken(results) + _missing(results)


def _failed(results: Results) -> str:
    failed = results.failed
    if not failed:
        return "<p>No run was given up.</p>"
    count = f"{len(failed)} run{'s' * (len(failed) > 1)}"
    verb = "were" if len(failed) > 1 else "was"
    warning = (
        f"{count} {verb} given up and {verb} left out of every number: a contrast has the seeds "
        "alone that both its arms finished. If an arm fails where it would have scored low, its "
        "mean is too high."
    )
    title = f"Failed runs ({len(failed)})"
    return mark(warning) + folded(title, _attempts("Failed runs", failed), is_open=True)


def _tried_again(results: Results) -> str:
    again = [one for one in results.records if one.status == "finished" and len(one.attempts) > 1]
    if not again:
        return ""
    content = _attempts("Runs of several attempts", again)
    return folded(f"Finished after several attempts ({len(again)})", content)


def _attempts(caption: str, records: Sequence[RunRecord]) -> str:
    """Table of every attempt of some runs."""
    columns = [
        Column(title="Run", is_number=False),
        Column(title="Attempt"),
        Column(title="Seconds"),
        *(Column(title=title, is_number=False) for title in ("Started", "Machine", "How it ended")),
    ]
    rows = []
    for record in records:
        name = escape(str(record.name))
        for number, one in enumerate(record.attempts, start=1):
            started = f'<span class="number">{escape(time_text(one.started))}</span>'
            row = [name, str(number), f"{one.seconds:,.0f}", started]
            rows.append([*row, escape(one.host), escape(one.outcome)])
        if not record.attempts:
            rows.append([name, *[NOTHING] * 4, "no attempt was recorded"])
    return table(caption, columns, rows)


def time_text(text: str) -> str:
    """Date and minute of an ISO 8601 time, as written by its machine; other texts as they are."""
    return f"{text[:10]} {text[11:16]}" if text[10:11] == "T" else text


def _taken(results: Results) -> str:
    taken = [one for one in results.records if one.taken_from]
    if not taken:
        return ""
    columns = [Column(title="Run", is_number=False), Column(title="Made in", is_number=False)]
    rows = [[escape(str(one.name)), escape(one.taken_from)] for one in taken]
    note = (
        "Finished in another study with the same configuration, images, protocols, threads and "
        "version."
    )
    content = table("Runs of other studies", columns, rows, note=note)
    return folded(f"Taken from other studies ({len(taken)})", content)


def _missing(results: Results) -> str:
    there = {one.name for one in results.records}
    missing = [name for name in planned_runs(results.study) if name not in there]
    if not missing:
        return ""
    total = len(planned_runs(results.study))
    seeds = sorted({name.seed for name in missing})
    stopped = ""
    if results.study.looks and min(seeds) > max((name.seed for name in there), default=-1):
        stopped = " They are the last pairs, which a study that stops early does not need."
    names = "".join(f"<li>{escape(str(name))}</li>" for name in missing)
    lead = f'<p class="note">{len(missing)} of {total} planned runs have no record.{stopped}</p>'
    return folded(f"Not made ({len(missing)})", f"{lead}<ul>{names}</ul>")
