"""A confusion matrix as an HTML table: rows are true classes, columns predicted ones."""

from collections.abc import Sequence
from html import escape

import numpy as np

from sparring.reporting.confusion import UNSEEN, Confusion, confused_order, grouped

MOST_CLASSES = 30
"""Most classes that have a row of their own; of more, groups are shown."""
NUM_GROUPS = 16
"""Groups of classes beyond that."""
NUMBERED = 20
"""Most rows whose cells show their numbers; of more, colours and texts on hover alone."""


def confusion_matrix(confusion: Confusion, *, name: str) -> str:
    """Table of shares and counts as HTML, with switches for its numbers and its order.

    Classes that are confused are neighbours. Beyond `MOST_CLASSES` rows are groups of classes.

    Args:
        confusion: the counts.
        name: of this matrix, not used twice on a page.
    """
    order = confused_order(confusion)
    is_grouped = len(order) > MOST_CLASSES
    if is_grouped:
        groups = [list(map(int, part)) for part in np.array_split(np.array(order), NUM_GROUPS)]
        confusion, order = grouped(confusion, groups), list(range(NUM_GROUPS))
    kind = "confusion" if len(order) <= NUMBERED else "confusion small"
    head = "".join(
        f'<th scope="col"><span>{escape(confusion.classes[n])}</span></th>' for n in order
    )
    rows = "".join(_row(confusion, label, order) for label in order)
    if confusion.counts[-1].sum() > 0:
        rows += _row(confusion, len(order), order)
    caption = _caption(len(order) if not is_grouped else None)
    places = " ".join(map(str, order))
    return (
        f'<div class="confusing">{_switches(name, has_order=not is_grouped)}'
        f'<div class="scroll"><table class="{kind}" data-order="{places}">'
        f"<caption><span>{escape(caption)}</span></caption>"
        f'<thead><tr><th scope="col">true class</th>{head}<th scope="col" class="number">images'
        f"</th></tr></thead><tbody>{rows}</tbody></table></div></div>"
    )


def _caption(num_classes: int | None) -> str:
    if num_classes is None:
        return (
            f"Rows: true classes in {NUM_GROUPS} groups of such as are confused; columns: what "
            "they are taken for. The diagonal holds mistakes within a group, too."
        )
    return (
        "Rows: true classes; columns: what they are taken for. Classes that are confused stand "
        "together."
    )


def _switches(name: str, *, has_order: bool) -> str:
    """Choice of the numbers, by the style of the page alone, and of the order, by its script."""
    chosen = "".join(
        f'<label class="choice"><input type="radio" name="{escape(name)}" class="{kind}"{state}> '
        f"{text}</label>"
        for kind, state, text in (
            ("shares", " checked", "% of the true class"),
            ("counts", "", "Images"),
        )
    )
    order = (
        '<label class="choice scripted"><input type="checkbox" class="by-class"> '
        "In the order of the classes</label>"
    )
    return f'<p class="choices">{chosen}{order if has_order else ""}</p>'


def _row(confusion: Confusion, label: int, order: Sequence[int]) -> str:
    counts = confusion.counts[label]
    total = counts.sum()
    name = confusion.classes[label] if label < len(confusion.classes) else UNSEEN
    cells = "".join(
        _cell(float(counts[column]), float(total), is_right=column == label) for column in order
    )
    return (
        f'<tr><th scope="row">{escape(name)}</th>{cells}'
        f'<td class="number">{count_text(float(total))}</td></tr>'
    )


def _cell(count: float, total: float, *, is_right: bool) -> str:
    kind = ' class="hit"' if is_right else ""
    if count == 0:
        return f"<td{kind}></td>"
    share = count / total
    # Small shares are what a reader looks for, so colours rise faster than shares.
    style = f"--s:{share**0.6:.2f}"
    return f'<td{kind} style="{style}"><b>{_percent(share)}</b><i>{count_text(count)}</i></td>'


def _percent(share: float) -> str:
    """Whole per cent as HTML; some never look like none, and nearly all never like all."""
    if share < 0.005:
        return "&lt;1"
    if 0.995 <= share < 1:
        return "&gt;99"
    return f"{100 * share + 1e-9:.0f}"


def count_text(count: float) -> str:
    """Number of images; with one decimal if it is a mean over fits."""
    return f"{count:,.0f}" if abs(count - round(count)) < 1e-9 else f"{count:,.1f}"
