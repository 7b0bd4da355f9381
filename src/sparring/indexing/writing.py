"""Files that an answer is written to: a page, a CSV file, a list of keys."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from sparring.files import write_atomically


def write_page(html: str, path: Path) -> None:
    """Write a page.

    Raises:
        StorageError: if the file cannot be written; an older one stays as it is.
    """
    write_atomically(path, html.encode("utf-8", "backslashreplace"))


def write_csv(columns: Sequence[str], rows: Sequence[Sequence[object]], path: Path) -> None:
    """Write a table as CSV in UTF-8, with a head.

    Raises:
        StorageError: if the file cannot be written; an older one stays as it is.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))


def write_lines(lines: Sequence[str], path: Path) -> None:
    """Write a text file of one key per line.

    Raises:
        StorageError: if the file cannot be written; an older one stays as it is.
    """
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(path, text.encode("utf-8", "backslashreplace"))
