"""Strength of opponents in image space, beside that of their twins."""

from collections.abc import Sequence
from html import escape

from sparring.reporting import negative_doctor, sections
from sparring.studies.page.view import PageView
from sparring.studies.records import RunRecord


def image_strengths(view: PageView) -> str:
    """Strength of opponents in image space: the game's number beside its twin's, by arms."""
    blocks = []
    for number, arm in enumerate(view.study.arms):
        records = view.results.of_arm(arm.name, view.results.primary)
        for strength in negative_doctor.strengths_of(arm.method, arm.opponent):
            made, beside = (_last(records, name) for name in (strength.metric, strength.beside))
            if made is None:
                continue
            against = "" if beside is None else f" beside {beside:.3f}"
            text = f"{strength.metric} {made:.3f}{against}: {strength.meaning}."
            blocks.append(f"<li>{sections.swatch(number, arm.name)} {escape(text)}</li>")
    if not blocks:
        return ""
    return f'<h3>Opponents in image space</h3><ul class="remarks">{"".join(blocks)}</ul>'


def _last(records: Sequence[RunRecord], name: str) -> float | None:
    """Mean over runs of a metric's last value; None if no run has it."""
    values = [
        value
        for record in records
        if (value := next((r[name] for r in reversed(record.opponent) if name in r), None))
        is not None
    ]
    return sum(values) / len(values) if values else None
