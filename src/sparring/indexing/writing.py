"""Files that an answer is written to: a page, a CSV file, a list of keys."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from sparring.files import write_atomically

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def write_page(html: str, path: Path) -> None:
    """Write a page.

    Raises:
        StorageError: if the file cannot be written; an older one stays as it is.
    """
    write_atomically(path, html.encode("utf-8", "backslashreplace"))


def write_csv(columns: Sequence[str], rows: Sequence[Sequence[object]], path: Path) -> None:
    """Write a table as CSV in UTF-8, with a head; no text in it is taken for a formula.

    A name of an image or a class that a spreadsheet would compute as a formula is written with an
    apostrophe before it; `--json` has all names as they are.

    Raises:
        StorageError: if the file cannot be written; an older one stays as it is.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _inert(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay as they are."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@")):
        return cell
    return cell if _NUMBER.fullmatch(cell) else f"'{cell}"


def write_lines(lines: Sequence[str], path: Path) -> None:
    """Write a text file of one key per line.

    Raises:
        StorageError: if the file cannot be written; an older one stays as it is.
    """
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(path, text.encode("utf-8", "backslashreplace"))
