"""What a protocol is.

A protocol is a file of this folder with two names: its settings, and a function from a evaluated,
the data and the settings to its result. The line in `catalogue.PROTOCOLS` makes it known.

    def linear(evaluated: EvaluatedEncoder, data: EvaluationData, settings: LinearSettings) -> Result: ...

A result is what JSON can hold. These keys have a meaning for whoever shows it, and a protocol adds
what else it found:

    the headline named in the catalogue    a number in [0, 1]; what tables and bars quote
    warning, note                          a sentence that must, or may, stand beside the number
    table                                  see `table`
    curves                                 see `curves`
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Result: TypeAlias = dict[str, Any]


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str | float | int | None]], *, title: str
) -> Result:
    """A table of a result. Numbers between 0 and 1 in columns whose name ends in `%` are shown as
    percentages.

    Args:
        columns: names.
        rows: as many cells as columns; None: nothing there.
        title: what it tells.
    """
    assert all(len(row) == len(columns) for row in rows)
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x: str, y: str
) -> Result:
    """Curves of a result.

    Args:
        lines: points (x, y) by name, x rising.
        title: what they tell.
        x: what runs along the horizontal axis, with its unit.
        y: what is measured; shown as a percentage if the name ends in `%`.
    """
    return {
        "title": title,
        "x": x,
        "y": y,
        "lines": {name: [list(point) for point in points] for name, points in lines.items()},
    }


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and standard deviation over draws (n - 1 in the divisor; 0 for a single one).

    Example:
        >>> spread([0.5, 0.7])
        (0.6, 0.1414...)
    """
    mean = sum(values) / len(values)
    return mean, (sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)) ** 0.5
