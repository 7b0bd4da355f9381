"""What a comparison prints: arms, contrasts, the answer in words, and the next command."""

import shlex

from sparring.api.comparison import Comparison
from sparring.evaluation.catalogue import short_title_of
from sparring.planning.plan_text import aligned_table, duration_text
from sparring.studies.findings import Finding

SHOWN_FAILURES = 5
"""Failed runs that are named; the page has all."""


def comparison_lines(comparison: Comparison) -> list[str]:
    """Lines about what a study found: its arms, its planned contrasts, and the answer."""
    study = comparison.study
    title = short_title_of(study.protocols[0])
    name = study.name or comparison.path.name
    power = comparison.analysis.primary.power if comparison.analysis.primary else ""
    return [
        f"{name}: {title}, {study.tests[0].name}, in points",
        *_arms(comparison),
        "",
        *_contrasts(comparison),
        comparison.headline,
        *([power] if power and power not in comparison.headline else []),
        *_failures(comparison),
    ]


def closing_lines(comparison: Comparison) -> list[str]:
    """Lines about a study's cautions, where its page is, and the next command."""
    where = shlex.quote(str(comparison.path))
    lines = [f"note: {caution}" for caution in comparison.analysis.cautions]
    if comparison.files:
        page, *tables = comparison.files
        beside = f", with {len(tables)} tables beside it" if tables else ""
        lines.append(f"page: {page}{beside}")
    if comparison.failed:
        return [*lines, f"next: sparring compare {where} (tries the failed runs again)"]
    if not comparison.is_over:
        return [*lines, f"next: sparring compare {where} (goes on)"]
    return [*lines, f"next: sparring report {where} --out study.html"]


def _arms(comparison: Comparison) -> list[str]:
    """A line per arm: scores over seeds, and what a run took."""
    rows = [("arm", "runs", "mean", "sd", "training")]
    for arm in comparison.arms():
        rows.append(
            (
                arm.arm,
                f"{arm.seeds}" + (f" ({arm.failed} failed)" if arm.failed else ""),
                "-" if arm.mean is None else f"{arm.mean:.1f}",
                "-" if arm.sd is None else f"{arm.sd:.1f}",
                "-" if arm.seconds is None else duration_text(float(f"{arm.seconds:.3g}")),
            )
        )
    return aligned_table(rows)


def _contrasts(comparison: Comparison) -> list[str]:
    """A line per planned contrast, and an empty one: difference, interval, what it allows to
    say."""
    if not comparison.findings:
        return []
    level = 100 * (1 - comparison.study.alpha)
    rows = [("contrast", "pairs", "difference", f"{level:g} % interval")]
    for finding in comparison.findings:
        rows.append(
            (
                finding.contrast.name,
                str(len(finding.pairs)),
                "-" if finding.mean is None else f"{finding.mean:+.2f}",
                _interval(finding),
            )
        )
    said = ["", *(_conclusion(one, comparison.study.margin) for one in comparison.findings)]
    lines = zip(aligned_table(rows), said, strict=True)
    return [*(f"{line}  {words}".rstrip() for line, words in lines), ""]


def _interval(finding: Finding) -> str:
    if finding.interval is None:
        return "-"
    return f"{finding.interval.low:+.2f} to {finding.interval.high:+.2f}"


def _conclusion(finding: Finding, margin: float) -> str:
    if finding.conclusion == "no more than the margin":
        return f"no more than {margin:g} points"
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
