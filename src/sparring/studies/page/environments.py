"""On which machine and with which versions the runs of a study were made, and whether on equal
ones."""

from collections.abc import Mapping, Sequence
from html import escape

from sparring.config import leaves
from sparring.reporting import sections
from sparring.reporting.sentences import listed
from sparring.studies.page.frame import Column, folded, mark, table
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
    rows = [_row(name, values) for name, values in found.items()]
    machines = list(dict.fromkeys(one.attempts[-1].host for one in records if one.attempts))
    if machines:
        rows.append(["machines", escape(listed(machines))])
    columns = [Column(title="Entry", is_number=False), Column(title="Value", is_number=False)]
    title = f"Environment{f': runs differ in {listed(unequal)}' if unequal else ', equal for all'}"
    content = folded(title, table("Environment of the runs", columns, rows), is_open=bool(unequal))
    return (mark(_warning(unequal)) if unequal else "") + content


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


def _warning(unequal: Sequence[str]) -> str:
    return (
        f"Not all runs had the same {listed(unequal)}. Seconds are compared across unlike machines "
        "then, and equal seeds need not give equal bits."
    )


def _row(name: str, values: Mapping[str, Sequence[RunRecord]]) -> list[str]:
    if len(values) == 1:
        return [escape(name), escape(next(iter(values)))]
    lines = "".join(
        f"<div>{escape(value)} <small>({escape(_runs(runs))})</small></div>"
        for value, runs in values.items()
    )
    return [f'{escape(name)} <b class="badge">differs</b>', lines]


def _runs(runs: Sequence[RunRecord]) -> str:
    """Number of runs and, if they are few, their names."""
    names = [str(run.name) for run in runs]
    count = f"{len(runs)} run{'s' * (len(runs) > 1)}"
    return f"{count}: {'; '.join(names)}" if len(names) <= NUM_NAMED else count
