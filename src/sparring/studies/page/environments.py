"""On which machine and with which versions the runs of a study were made, and whether on equal
ones."""

from collections.abc import Mapping, Sequence
from html import escape

from sparring.config import leaves
from sparring.reporting import sections
from sparring.reporting.sentences import listed
from sparring.studies.records import RunRecord

PASSING = ("command", "started", "planned_steps")
"""Entries of a run's environment that differ from run to run in any study."""
NUM_NAMED = 6
"""Most runs that are named where an entry differs."""

Found = dict[str, dict[str, list[RunRecord]]]
"""Runs by value of each entry."""


def environment_section(records: Sequence[RunRecord]) -> str:
    """Table of the environment, each entry once, and those in which runs differ marked; a sentence
    if nothing was recorded."""
    found = entries(records)
    if not found:
        return sections.missing_note("The environment of the runs was not recorded.")
    unequal = [name for name, values in found.items() if len(values) > 1]
    rows = "".join(_row(name, values, is_marked=name in unequal) for name, values in found.items())
    machines = list(dict.fromkeys(one.attempts[-1].host for one in records if one.attempts))
    if machines:
        rows += f'<tr><th scope="row">machines</th><td>{escape(listed(machines))}</td></tr>'
    table = (
        '<div class="scroll" tabindex="0" role="region" aria-label="Environment">'
        f'<table class="plain"><tbody>{rows}</tbody></table></div>'
    )
    title = f"Environment{f': runs differ in {listed(unequal)}' if unequal else ', equal for all'}"
    return f"{_warning(unequal)}{folded(title, table, is_open=bool(unequal))}"


def entries(records: Sequence[RunRecord]) -> Found:
    """Runs by value of each entry of their environment, entries in order of appearance."""
    found: Found = {}
    for record in records:
        for name, value in leaves(record.environment):
            if name not in PASSING:
                found.setdefault(name, {}).setdefault(str(value), []).append(record)
    for values in found.values():
        known = {id(one) for runs in values.values() for one in runs}
        if without := [one for one in records if one.environment and id(one) not in known]:
            values.setdefault("not recorded", []).extend(without)
    return found


def folded(title: str, content: str, *, is_open: bool = False) -> str:
    """Content below a title that opens and closes it."""
    shown = " open" if is_open else ""
    return f"<details{shown}><summary>{escape(title)}</summary>{content}</details>"


def _warning(unequal: Sequence[str]) -> str:
    if not unequal:
        return ""
    return (
        f'<p class="warning">Not all runs had the same {escape(listed(unequal))}. Seconds are '
        "compared across unlike machines then, and equal seeds need not give equal bits.</p>"
    )


def _row(name: str, values: Mapping[str, Sequence[RunRecord]], *, is_marked: bool) -> str:
    if not is_marked:
        return f'<tr><th scope="row">{escape(name)}</th><td>{escape(next(iter(values)))}</td></tr>'
    lines = "".join(
        f"<div>{escape(value)} <small>({escape(_runs(runs))})</small></div>"
        for value, runs in values.items()
    )
    return (
        f'<tr class="differs"><th scope="row">{escape(name)} <b>differs</b></th>'
        f"<td>{lines}</td></tr>"
    )


def _runs(runs: Sequence[RunRecord]) -> str:
    """Number of runs and, if they are few, their names."""
    names = [str(run.name) for run in runs]
    count = f"{len(runs)} run{'s' * (len(runs) > 1)}"
    return f"{count}: {'; '.join(names)}" if len(names) <= NUM_NAMED else count
