"""Lists of image files: text with a path per line, and tables (CSV) with a header."""

import codecs
import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sparring.data.classes import label_columns, listed, numbered
from sparring.data.names import shown
from sparring.data.sources.files import Files
from sparring.data.sources.image_source import Source
from sparring.data.sources.parts import PART_COLUMNS, Use, choose_part, column_layout
from sparring.errors import DataError
from sparring.regular_files import read_bytes

PATH_COLUMNS = (
    *("path", "file", "image", "filename", "file_name", "filepath", "file_path"),
    *("image_path", "img_path", "img"),
)
"""Columns of a table that are taken as paths, in any case, the first of them that is there."""
DELIMITERS = (",", ";", "\t")

_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_LINE_END = re.compile(r"\r\n|\n|\r")
_FIRST_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\n|\r|(?<=.)$)")


class _Rows(NamedTuple):
    """Rows of a list: paths, and the columns of labels and parts if it has them."""

    paths: list[str]
    labels: list[str] | None = None
    parts: list[str] | None = None
    notes: tuple[str, ...] = ()


def open_list(path: Path, *, use: Use = "train") -> Source:
    """Images of a list.

    A line of text is a path; empty lines and lines that begin with # are left out. A table has a
    header, is separated by commas, semicolons or tabs, and has a column of paths, perhaps one of
    labels and one that says which part a row belongs to. A path is relative to the folder of the
    list, else to the working folder; ~ and backslashes are understood, and quotes around it.

    Args:
        path: text or table, in UTF-8, or in UTF-16 with a byte order mark.
        use: what the images are wanted for; chooses a part.

    Raises:
        DataError: if it is no text, has no column of paths, or none of its images exists.
    """
    text = _text(path)
    while (line := _FIRST_LINE.match(text)) and _is_left_out(path, line[1]):
        text = text[line.end() :]
    header = None if line is None else _header(line[1])
    if path.suffix.lower() != ".txt" or header is not None:
        rows = _table(path, text, header)
    else:
        rows = _Rows([_unquoted(line) for line in _LINE_END.split(text)])
    kept = [row for row, name in enumerate(rows.paths) if not _is_left_out(path, name)]
    if not kept:
        raise DataError(f"{path} lists no images; it needs one path per line")
    names, notes = _resolved(path, [rows.paths[row] for row in kept])
    whole = Files(path.parent, names)
    whole.notes = (*rows.notes, *notes, *repeated(path.parent, names))
    if rows.labels is not None:
        whole = _labelled(whole, path, names, [rows.labels[row] for row in kept])
    if rows.parts is None:
        return whole
    layout = column_layout([rows.parts[row] for row in kept])
    return choose_part(whole, layout, use=use, where=str(path))


def _labelled(source: Files, path: Path, names: list[str], values: list[str]) -> Files:
    """The source with labels, or with the reason why they cannot be used."""
    try:
        labels, class_names = numbered(values, where=f"{path}, column of labels,")
    except DataError as error:
        source.labels_missing = str(error)
        source.notes += (f"the labels cannot be used: {error}",)
        return source
    found = Files(path.parent, names, labels=labels, class_names=class_names)
    found.notes = source.notes
    return found


def _is_left_out(path: Path, line: str) -> bool:
    """Whether a line is empty or a comment: it begins with # and is no file."""
    text = line.strip()
    return not text or (text.startswith("#") and _found(path, text) is None)


def _table(path: Path, text: str, header: tuple[str, list[str]] | None) -> _Rows:
    if header is None:
        columns = [column.strip() for column in next(csv.reader(text.splitlines()[:1]), [])]
        raise DataError(
            f"{path} has the columns {', '.join(columns) or '(none)'}; name one of them 'path'"
        )
    delimiter, columns = header
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), **_format(delimiter)))[1:]
    except csv.Error as error:
        raise DataError(f"cannot read {path} as a table: {error}") from None

    def values(name: str) -> list[str]:
        """A column; empty where a row is too short."""
        place = columns.index(name)
        return [row[place].strip() if place < len(row) else "" for row in rows]

    labels = label_columns(columns)
    parts = first_column(PART_COLUMNS, columns)
    notes = (
        ()
        if len(labels) < 2
        else (f"the labels are those of the column '{labels[0]}', not {', '.join(labels[1:])}",)
    )
    return _Rows(
        values(first_column(PATH_COLUMNS, columns) or ""),
        values(labels[0]) if labels else None,
        values(parts) if parts else None,
        notes,
    )


def _format(delimiter: str) -> dict[str, Any]:
    return {"delimiter": delimiter, "skipinitialspace": True}


def _header(line: str) -> tuple[str, list[str]] | None:
    """Delimiter and columns of a header that has a column of paths; None for any other line."""
    for delimiter in DELIMITERS:
        read = next(csv.reader([line], **_format(delimiter)), [])
        columns = [column.strip() for column in read]
        if first_column(PATH_COLUMNS, columns) is not None:
            return delimiter, columns
    return None


def first_column(wanted: Sequence[str], columns: Sequence[str]) -> str | None:
    """The first of the wanted columns that is there, in any case; None if none is."""
    by_name = {column.lower(): column for column in columns}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _resolved(path: Path, paths: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Name of each listed image, relative to the folder of the list or absolute; and notes.

    Raises:
        DataError: if none of them exists.
    """
    found = [_found(path, name) for name in paths]
    missing = [name for name, place in zip(paths, found, strict=True) if place is None]
    first = shown(str(path.parent.absolute() / missing[0])) if missing else ""
    if len(missing) == len(paths):
        raise DataError(
            f"none of the {len(paths):,} images that {path} lists exists; the first would be "
            f"{first}: paths are relative to the folder of the list, or absolute"
        )
    notes = []
    if missing:
        notes.append(
            f"{len(missing):,} of the {len(paths):,} images that {path} lists do not exist, such "
            f"as {first}"
        )
    elsewhere = [place for place in found if place is not None and place[1]]
    if elsewhere:
        notes.append(
            f"{len(elsewhere):,} paths of {path} are taken relative to the working folder "
            f"{Path.cwd()}, not to the folder of the list"
        )
    names = [name if place is None else place[0] for name, place in zip(paths, found, strict=True)]
    return names, tuple(notes)


def _found(path: Path, name: str) -> tuple[str, bool] | None:
    """Name of a listed image that exists, and whether it is relative to the working folder."""
    forms = dict.fromkeys((name, name.replace("\\", "/")))
    for form in map(os.path.expanduser, forms):
        if os.path.lexists(os.path.join(path.parent, form)):  # noqa: PTH118 - for speed
            return form, False
    for form in forms:
        if os.path.lexists(form):
            return str(Path(form).absolute()), True
    return None


def repeated(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """A line about images that a list names twice; none without any.

    Args:
        folder: what relative names are relative to.
        names: paths of images.
    """
    first: dict[str, int] = {}
    folder = folder.absolute()
    places = [os.path.normpath(os.path.join(folder, name)) for name in names]  # noqa: PTH118 - for speed
    again = [names[row] for row, place in enumerate(places) if first.setdefault(place, row) != row]
    if not again:
        return ()
    examples = listed([shown(name) for name in dict.fromkeys(again)][:1])
    many = len(again) > 1
    rows = f"{len(again):,} row{'s' * many} of the list repeat{'s' * (not many)}"
    return (f"{rows} an image, such as {examples}",)


def _unquoted(line: str) -> str:
    text = line.strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if is_quoted else text


def _text(path: Path) -> str:
    """Text of a list; bytes that are not UTF-8 are kept, since names of files may hold them.

    Raises:
        DataError: if it cannot be read or is no text.
    """
    try:
        content = read_bytes(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "")
    try:
        if encoding:
            return content.decode(encoding)
    except UnicodeDecodeError:
        pass
    if b"\0" in content:
        raise DataError(
            f"{path} is not UTF-8 text, nor UTF-16 with a byte order mark; save the list as UTF-8"
        )
    return content.decode("utf-8-sig", "surrogateescape")
