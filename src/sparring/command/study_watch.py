"""The live table of a study: which runs wait, run, are finished or have failed."""

import json
import sys
import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sparring.command.study_state import RunState, StudyState
from sparring.evaluation.catalogue import short_title_of
from sparring.planning.plan_text import duration_text
from sparring.studies.records import RunName

REFRESH_SECONDS = 2.0
"""Pause between two looks at the files."""
CELLS = {"waiting": ".", "stopped": "stopped", "failed": "failed", "running": "begins"}
"""What the grid shows of a run that has neither a score nor a number of steps."""
MOST_SEEDS = 12
"""Columns of the grid; more seeds are counted only."""


def watch(read: Callable[[], StudyState], *, as_json: bool, where: str) -> None:
    """Show a study until it is over or the user stops; once if the output is no terminal.

    Args:
        read: the state of the study now.
        as_json: whether to print one state for programs.
        where: the study's folder, for the last line.
    """
    console = Console(file=sys.stdout)
    if as_json or not console.is_terminal:
        state = read()
        if as_json:
            console.file.write(json.dumps(state.tree()) + "\n")
        else:
            console.print(shown(state, where=where), soft_wrap=True)
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                state = read()
                live.update(shown(state, where=where), refresh=True)
                if is_over(state):
                    return
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        return


def is_over(state: StudyState) -> bool:
    """Whether every run is finished or has failed."""
    return state.count("finished") + state.count("failed") == len(state.runs)


def shown(state: StudyState, *, where: str) -> RenderableType:
    """Tables and lines about a study."""
    parts: list[RenderableType] = [_grid(state)]
    working = [run for run in state.runs if run.status == "running"]
    if working:
        parts += [Text(""), _working(working)]
    failed = [run for run in state.runs if run.status == "failed"]
    parts += [Text(f"failed: {run.name}: {run.why}") for run in failed]
    return Group(*parts, Text(""), *map(Text, _summary(state, where=where)))


def _grid(state: StudyState) -> Table:
    """A row per arm, a column per seed."""
    study = state.study
    seeds = study.seeds[:MOST_SEEDS]
    protocol, test = short_title_of(study.protocols[0]), study.tests[0].name
    table = Table(
        box=None, pad_edge=False, title=f"{protocol}, {test}, in points", title_justify="left"
    )
    table.add_column("arm \\ seed")
    for seed in seeds:
        table.add_column(str(seed), justify="right")
    by_name = {run.name: run for run in state.runs}
    for budget in study.budgets:
        for share in study.shares:
            for arm in study.arms:
                names = [
                    RunName(arm=arm.name, seed=seed, share=share, budget=budget) for seed in seeds
                ]
                label = str(names[0]).replace(f", seed {seeds[0]}", "")
                table.add_row(Text(label), *(Text(_cell(by_name[name])) for name in names))
    return table


def _cell(run: RunState) -> str:
    if run.status == "finished":
        return "done" if run.score is None else f"{run.score:.1f}"
    if run.steps and run.status != "failed":
        return f"{100 * run.share_done:.0f} %" + "?" * (run.status == "stopped")
    return CELLS[run.status]


def _working(runs: list[RunState]) -> Table:
    """A row per run that is at work."""
    table = Table(box=None, pad_edge=False)
    table.add_column("running")
    for name in ("step", "images/s", "left"):
        table.add_column(name, justify="right")
    for run in runs:
        is_scored = run.steps is not None and run.step == run.steps
        table.add_row(
            Text(str(run.name)),
            "-" if run.step is None else f"{run.step:,} of {run.steps or 0:,}",
            "-" if run.images_per_second is None else f"{run.images_per_second:,.0f}",
            "scoring" if is_scored else _left(run.seconds_left),
        )
    return table


def _summary(state: StudyState, *, where: str) -> list[str]:
    """Lines below the tables."""
    done, total = state.count("finished"), len(state.runs)
    parts = [f"{done:,} of {total:,} runs finished"]
    for status in ("running", "stopped", "waiting", "failed"):
        number = state.count(status)
        parts += [f"{number:,} {status}"] if number else []
    lines = [", ".join(parts)]
    if len(state.study.seeds) > MOST_SEEDS:
        lines.append(f"shown: the first {MOST_SEEDS} of {len(state.study.seeds)} seeds")
    if state.seconds_left is not None:
        early = ", if it does not stop early" if state.study.looks else ""
        lines.append(f"about {_left(state.seconds_left)} left{early}")
    if state.count("stopped"):
        lines.append("a question mark: nothing has been written for a while")
    if not state.count("running") and not is_over(state) and not state.is_played:
        lines.append(f"nothing runs now; go on with `sparring compare {where}`")
    elif is_over(state):
        lines.append(f"next: sparring report {where} --out study.html")
    return lines


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return duration_text(float(f"{seconds:.2g}")).removeprefix("about ")
