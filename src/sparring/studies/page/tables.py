"""Tables of a study as texts of files: Markdown, CSV and LaTeX, of arms and of contrasts."""

import csv
import io
import re
from collections.abc import Sequence
from html import escape

from sparring.studies.findings import Analysis
from sparring.studies.page.plain_tables import (
    PLUS_MINUS,
    Cell,
    Table,
    arms_in_short,
    arms_table,
    contrasts_in_short,
    contrasts_table,
)
from sparring.studies.page.wording import NOTHING

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    PLUS_MINUS: r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_MARKDOWN = re.compile(r"[\\`*_|~$]|(?<=\])[(\[]")


def csv_text(table: Table) -> str:
    """The table as comma-separated values (RFC 4180), numbers with six decimals at most."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(table.columns)
    writer.writerows([[_plain(cell) for cell in row] for row in table.rows])
    return out.getvalue()


def markdown_text(tables: Sequence[Table]) -> str:
    """Tables in Markdown, each below its caption."""
    return "\n".join(map(_markdown_table, tables))


def latex_text(tables: Sequence[Table]) -> str:
    """Tables in LaTeX, for the package booktabs."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(map(_latex_table, tables))


def _markdown_table(table: Table) -> str:
    right = len(table.columns) - table.num_names
    lines = [
        _markdown_row(table.columns),
        "|" + " --- |" * table.num_names + " ---: |" * right,
        *(_markdown_row([_text(cell) for cell in row]) for row in table.rows),
    ]
    return f"{markdown_escaped(table.caption)}\n\n" + "\n".join(lines) + "\n"


def _latex_table(table: Table) -> str:
    form = "l" * table.num_names + "r" * (len(table.columns) - table.num_names)
    lines = [
        "\\begin{table}",
        f"\\caption{{{latex_escaped(table.caption)}}}",
        f"\\begin{{tabular}}{{{form}}}",
        "\\toprule",
        _latex_row(table.columns),
        "\\midrule",
        *(_latex_row([_text(cell) for cell in row]) for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def markdown_escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table."""
    plain = escape(" ".join(text.split()), quote=False)
    return _MARKDOWN.sub(r"\\\g<0>", plain)


def latex_escaped(text: str) -> str:
    """Text that LaTeX shows as it is; hyphens stay single."""
    plain = " ".join(text.split())
    escaped = "".join(_LATEX.get(sign, sign) for sign in plain)
    return re.sub(r"-(?=-)", "-{}", escaped)


def table_files(analysis: Analysis, name: str) -> dict[str, str]:
    """Content of every table file by its name, such as `study-arms.csv`."""
    results = analysis.results
    found = {
        "arms": (arms_table(results), arms_in_short(results)),
        "contrasts": (contrasts_table(analysis), [contrasts_in_short(analysis)]),
    }
    files = {}
    for what, (plain, short) in found.items():
        files[f"{name}-{what}.csv"] = csv_text(plain)
        files[f"{name}-{what}.md"] = markdown_text(short)
        files[f"{name}-{what}.tex"] = latex_text(short)
    return files


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(markdown_escaped, cells)) + " |"


def _latex_row(cells: Sequence[str]) -> str:
    """Line of a table; a bracket or star right after a line's end would be read as its option."""
    guard = "{}" if cells[0].lstrip().startswith(("[", "*")) else ""
    return guard + " & ".join(map(latex_escaped, cells)) + r" \\"


def _text(cell: Cell) -> str:
    return NOTHING if cell is None else str(cell)


def _plain(cell: Cell) -> str:
    if cell is None:
        return ""
    return str(round(cell, 6) + 0.0) if isinstance(cell, float) else str(cell)
