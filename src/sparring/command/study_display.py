"""What a finished comparison prints: arms, contrasts, the answer in words, and the next command."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sparring.api.comparison import ArmScore, Comparison
from sparring.evaluation.catalogue import short_title_of
from sparring.planning.plan_text import duration_text
from sparring.studies.findings import Finding
from sparring.wording import counted

SHOWN_FAILURES = 5
"""Failed runs that are named; the page has all."""


def print_comparison(comparison: Comparison, *, following: str = "") -> None:
    """Print one screen about a study on standard output.

    Args:
        comparison: the study.
        following: command to name as the next one; empty: one of this study.
    """
    out = Console(file=sys.stdout)
    study = comparison.study
    title = short_title_of(study.protocols[0])
    _say(out, f"{study.name or comparison.path.name}: {title}, {study.tests[0].name}, in points")
    out.print(_arms(comparison))
    if comparison.findings:
        out.print()
        out.print(_contrasts(comparison))
    _say(out, "")
    _say(out, comparison.headline)
    primary = comparison.analysis.primary
    if primary is not None and primary.power and primary.power not in comparison.headline:
        _say(out, primary.power)
    for caution in comparison.analysis.cautions:
        _say(out, f"note: {caution}")
    for line in _failures(comparison):
        _say(out, line)
    for line in _next(comparison, following):
        _say(out, line)


def _say(out: Console, line: str) -> None:
    out.print(line, highlight=False, markup=False, soft_wrap=True)


def _arms(comparison: Comparison) -> Table:
    """A row per arm: scores over seeds, and what a run took."""
    table = Table(box=None, pad_edge=False)
    table.add_column("arm")
    for name in ("runs", "mean", "sd", "training"):
        table.add_column(name, justify="right")
    if (start := comparison.start()) is not None:
        table.add_row(*_arm(start))
    for arm in comparison.arms():
        table.add_row(*_arm(arm))
    return table


def _arm(arm: ArmScore) -> list[Text]:
    """Cells of an arm's row."""
    cells = (
        arm.arm,
        f"{arm.seeds}" + (f" ({arm.failed} failed)" if arm.failed else ""),
        "-" if arm.mean is None else f"{arm.mean:.1f}",
        "-" if arm.sd is None else f"{arm.sd:.1f}",
        "-" if arm.seconds is None else duration_text(float(f"{arm.seconds:.3g}")),
    )
    return [Text(cell) for cell in cells]


def _contrasts(comparison: Comparison) -> Table:
    """A row per planned contrast: difference, interval, and what it allows to say."""
    level = 100 * (1 - comparison.study.alpha)
    table = Table(box=None, pad_edge=False)
    table.add_column("contrast")
    table.add_column("pairs", justify="right")
    table.add_column("difference", justify="right")
    table.add_column(f"{level:g} % interval", justify="right")
    table.add_column("")
    for finding in comparison.findings:
        table.add_row(
            Text(finding.contrast.name),
            str(len(finding.pairs)),
            "-" if finding.mean is None else f"{finding.mean:+.2f}",
            _interval(finding),
            Text(_conclusion(finding, comparison.study.margin)),
        )
    return table


def _interval(finding: Finding) -> str:
    if finding.interval is None:
        return "-"
    return f"{finding.interval.low:+.2f} to {finding.interval.high:+.2f}"


def _conclusion(finding: Finding, margin: float) -> str:
    if finding.conclusion == "no more than the margin":
        return f"within {margin:g} points"
    return finding.conclusion


def _failures(comparison: Comparison) -> list[str]:
    """Lines about runs that have been given up."""
    failed = comparison.failed
    lines = [
        f"failed: {one.name}: {one.attempts[-1].outcome if one.attempts else 'no reason recorded'}"
        for one in failed[:SHOWN_FAILURES]
    ]
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"failed: {len(failed) - SHOWN_FAILURES} more, which the page lists")
    return lines


def _beside(files: Sequence[Path]) -> str:
    """How many tables and figures lie beside a page."""
    num_figures = sum(path.suffix == ".svg" for path in files)
    counts = [(len(files) - num_figures, "table"), (num_figures, "figure")]
    said = " and ".join(counted(number, noun) for number, noun in counts if number)
    return f", with {said} beside it" if said else ""


def _next(comparison: Comparison, following: str) -> list[str]:
    """Where the page is, and the next command."""
    where = shlex.quote(str(comparison.path))
    lines = []
    if comparison.files:
        page, *others = comparison.files
        lines.append(f"page: {page}{_beside(others)}")
    if following:
        lines.append(f"next: {following}")
    elif comparison.failed:
        lines.append(f"next: sparring compare {where} (tries the failed runs again)")
    elif not comparison.is_over:
        lines.append(f"next: sparring compare {where} (goes on)")
    else:
        lines.append(f"next: sparring report {where} --out study.html")
    return lines
