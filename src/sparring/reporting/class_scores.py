"""Scores of every class as an HTML table, beside those of the encoder from which a run started."""

from html import escape

from sparring.reporting.confusion import ClassScore, Confusion, Share, class_scores
from sparring.reporting.confusion_matrix import count_text

MAX_ROWS = 60
"""Most classes in a table: half of those that score worst, half of those that score best."""
_NOTE = (
    "%, with the 95 % interval that the number of images allows. Recall: recognised of the images "
    "of the class. Precision: right of the images said to be of it. F1: their harmonic mean."
)


def class_table(
    confusion: Confusion, start: Confusion | None, *, title: str, start_name: str
) -> str:
    """Table of recall, precision and F1 by class as HTML, which the page's script can sort.

    Args:
        confusion: of the trained encoder.
        start: of the encoder from which the run started, if it was scored on the same images.
        title: what the table is of, as text.
        start_name: name of that encoder.
    """
    scores = class_scores(confusion)
    before = class_scores(start) if start is not None and start.classes == confusion.classes else []
    shown = _shown(scores)
    rows = "".join(
        f'<tr><th scope="row">{escape(confusion.classes[label])}</th>'
        f'<td class="number">{count_text(float(confusion.images[label]))}</td>'
        + "".join(
            _cell(after) + (_start_cell(before[label][place]) if before else "")
            for place, after in enumerate(scores[label])
        )
        + "</tr>"
        for label in shown
    )
    left_out = len(scores) - len(shown)
    note = _NOTE + (f" The {left_out:,} classes in the middle are left out." if left_out else "")
    caption = f"<caption><span>{escape(title)}<small>{escape(note)}</small></span></caption>"
    return (
        f'<div class="scroll"><table class="plain sortable classes">{caption}'
        f"<thead><tr>{_head(bool(before), start_name)}</tr></thead><tbody>{rows}</tbody></table>"
        "</div>"
    )


def _head(has_start: bool, start_name: str) -> str:
    beside = f'<th scope="col" class="number beside">{escape(start_name)}</th>' if has_start else ""
    return '<th scope="col">Class</th><th scope="col" class="number">Images</th>' + "".join(
        f'<th scope="col" class="number">{name}</th>{beside}'
        for name in ("Recall", "Precision", "F1")
    )


def _shown(scores: list[ClassScore]) -> list[int]:
    """Classes of the table, in their order."""
    if len(scores) <= MAX_ROWS:
        return list(range(len(scores)))
    ranked = sorted(range(len(scores)), key=lambda label: (_f1(scores[label]), label))
    return sorted([*ranked[: MAX_ROWS // 2], *ranked[-MAX_ROWS // 2 :]])


def _f1(score: ClassScore) -> float:
    return -1.0 if score.f1 is None else score.f1.value


def _cell(share: Share | None) -> str:
    if share is None:
        return '<td class="number">-</td>'
    low, high = 100 * share.low, 100 * share.high
    return f'<td class="number">{100 * share.value:.1f}<small>{low:.0f} to {high:.0f}</small></td>'


def _start_cell(share: Share | None) -> str:
    text = "-" if share is None else f"{100 * share.value:.1f}"
    return f'<td class="number beside">{text}</td>'
