"""Parts that sections of a study's page share: tables, figures, folded text.

Every text that comes from outside passes `escape` before it is handed over as HTML.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDE, NARROW = 860.0, 350.0
"""Widths of a figure that is drawn twice, for a screen and for a phone."""
_MANY = 24
"""Letters from which on a cell's text needs a column of some width."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        title: text of its head.
        note: what the title leaves out, as text.
        below: HTML below both, such as an axis.
        is_number: whether its cells are numbers, set flush right.
    """

    title: str
    note: str = ""
    below: str = ""
    is_number: bool = True


def table(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, note: str = ""
) -> str:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        caption: what the table shows, as text.
        columns: the first one is that of the rows' names.
        rows: HTML of the cells.
        note: what a reader has to know, as text.
    """
    head = "".join(
        f'<th scope="col"{_kind(column)}>{escape(column.title)}'
        f"{f'<small>{escape(column.note)}</small>' if column.note else ''}{column.below}</th>"
        for column in columns
    )
    body = "".join(
        f'<tr><th scope="row">{cells[0]}</th>'
        + "".join(
            f"<td{_kind(column, cell)}>{cell}</td>"
            for column, cell in zip(columns[1:], cells[1:], strict=True)
        )
        + "</tr>"
        for cells in rows
    )
    more = f"<small>{escape(note)}</small>" if note else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="panel dense"><caption><span><b>{escape(caption)}</b>{more}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure(title: str, svg: str, *, note: str = "") -> str:
    """A figure below its title and a note, both as text."""
    more = f"<small>{escape(note)}</small>" if note else ""
    return f"<figure><figcaption><b>{escape(title)}</b>{more}</figcaption>{svg}</figure>"


def fitted(draw: Callable[[float], str]) -> str:
    """A figure that is drawn for a screen and for a phone; the page shows the one that fits."""
    return f'<div class="wide">{draw(WIDE)}</div><div class="narrow">{draw(NARROW)}</div>'


def folded(title: str, content: str, *, is_open: bool = False) -> str:
    """Content below a title that opens and closes it; open on paper."""
    shown = " open" if is_open else ""
    return f"<details{shown}><summary>{escape(title)}</summary>{content}</details>"


def mark(text: str) -> str:
    """A sentence that stands out, because numbers are not to be read without it."""
    return f'<p class="warning" role="note">{escape(text)}</p>'


def _kind(column: Column, cell: str = "") -> str:
    if column.is_number:
        return ' class="number"'
    return ' class="words"' if len(cell) > _MANY and not cell.startswith("<svg") else ""
