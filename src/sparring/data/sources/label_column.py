"""Which column of a table holds the labels."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from sparring.data.classes import LABEL_COLUMNS, Labels, label_columns
from sparring.errors import DataError

Numbers: TypeAlias = Callable[[str], tuple[Labels | None, tuple[str, ...] | None]]
"""Gives a column of labels as numbers, None if they are not read yet, and their names."""


@dataclass(frozen=True)
class ColumnLabels:
    """Labels of the images of a table.

    Attributes:
        labels: class of each image, -1 where unknown; None without any.
        class_names: name of each label, if known.
        missing: reason why there are none; empty if there are.
        notes: what a user should read about it, a line each.
        column: name of the column; empty without labels.
    """

    labels: Labels | None = None
    class_names: tuple[str, ...] | None = None
    missing: str = ""
    notes: tuple[str, ...] = ()
    column: str = ""


def column_labels(columns: Iterable[str], numbers: Numbers) -> ColumnLabels:
    """Labels from the first column that may hold them, or why there are none.

    Args:
        columns: columns that do not hold the images.
        numbers: a column as numbers, and their names.
    """
    names = list(columns)
    found = label_columns(names)
    if not found:
        return ColumnLabels(
            missing=f"a column of labels is called {LABEL_COLUMNS[0]}, {LABEL_COLUMNS[2]} or the "
            f"like, and the columns are {', '.join(names)}"
        )
    try:
        labels, class_names = numbers(found[0])
    except DataError as error:
        return ColumnLabels(missing=str(error), notes=(f"the labels cannot be used: {error}",))
    if found[0] == LABEL_COLUMNS[0]:
        return ColumnLabels(labels, class_names, column=found[0])
    others = f", not {', '.join(found[1:])}" * (len(found) > 1)
    note = f"the labels are those of the column '{found[0]}'{others}"
    return ColumnLabels(labels, class_names, notes=(note,), column=found[0])
