"""What protocols found beside their number: warnings, notes, tables and curves, in one form for all
of them.

The form is that of `evaluation.protocol`; whatever in scores.json has another one is left out.
Every text passes `escape`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, TypeAlias, TypeGuard

from sparring.evaluation.catalogue import in_order, protocol_of, title_of
from sparring.reporting.figures import NUM_COLORS, curves_svg
from sparring.reporting.sections import section, swatch
from sparring.reporting.summary import RunSummary, Score
from sparring.reporting.wording import percent, run_names

_Found: TypeAlias = Sequence[tuple[int | None, str, Score]]
"""Number of the run (None: untrained), name and result of each contestant."""

_LEAD = "What the protocols found beside the number that the scores quote."


def details(runs: Sequence[RunSummary]) -> str:
    """A section with the tables, curves and notes of every protocol, most of them folded up; empty
    without any."""
    names = dict.fromkeys(
        name for run in runs for scores in (run.trained, run.untrained) for name in scores
    )
    content = "".join(_protocol(name, _found(name, runs)) for name in in_order(names))
    return section("Details of the protocols", content, lead=_LEAD) if content else ""


def _found(name: str, runs: Sequence[RunSummary]) -> _Found:
    """Every run's result, then those of the untrained encoders, equal ones once."""
    named = list(enumerate(zip(run_names(runs), runs, strict=True)))
    trained = [
        (number, run_name, run.trained[name])
        for number, (run_name, run) in named
        if _is_result(run.trained.get(name))
    ]
    untrained = {
        json.dumps(run.untrained[name], sort_keys=True): (run_name, run.untrained[name])
        for _, (run_name, run) in reversed(named)
        if _is_result(run.untrained.get(name))
    }
    starts = list(reversed(untrained.values()))
    return [
        *trained,
        *(
            (None, f"untrained, {run_name}" if len(starts) > 1 else "untrained", result)
            for run_name, result in starts
        ),
    ]


def _protocol(name: str, found: _Found) -> str:
    content = _sentences(found) + "".join(
        _contestant(number, who, result) for number, who, result in found
    )
    if not content:
        return ""
    entry = protocol_of(name)
    about = (
        f'<p class="note">{escape(f"{entry.question[:1].upper()}{entry.question[1:]} Source: {entry.source}.")}</p>'
        if entry
        else ""
    )
    opened = (
        " open" if entry is not None and entry.is_joint else ""
    )  # an answer, where the others explain a number
    return f"<details{opened}><summary>{escape(title_of(name))}</summary>{about}{content}</details>"


def _sentences(found: _Found) -> str:
    """Warnings and notes, each once, with the names of those whom it concerns unless these are
    all."""
    said: dict[tuple[str, str], list[str]] = {}
    for _, who, result in found:
        for kind in ("warning", "note"):
            if isinstance(text := result.get(kind), str) and text:
                said.setdefault((kind, text), []).append(who)
    parts = []
    for (kind, text), names in sorted(said.items(), key=lambda item: item[0][0] != "warning"):
        whose = "" if len(names) == len(found) else f"{', '.join(names)}: "
        parts.append(f'<p class="{kind}">{escape(whose + text)}</p>')
    return "".join(parts)


def _contestant(number: int | None, who: str, result: Score) -> str:
    tables = "".join(
        _table(content) for content in _contents(result, "table") if _is_table(content)
    )
    plots = "".join(
        _plots(content) for content in _contents(result, "curves") if _is_curves(content)
    )
    if not tables and not plots:
        return ""
    figures = f'<div class="plots">{plots}</div>' if plots else ""
    return f'<div class="findings"><h3>{swatch(number, who)}</h3>{tables}{figures}</div>'


def _table(content: Mapping[str, Any]) -> str:
    columns = [str(column) for column in content["columns"]]
    numeric = [
        any(_is_number(row[place]) for row in content["rows"]) for place in range(len(columns))
    ]
    head = "".join(
        f'<th scope="col"{_number_class(is_numeric)}>{escape(column.removesuffix("%").rstrip(" ,"))}</th>'
        for column, is_numeric in zip(columns, numeric, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_number_class(is_numeric)}>{escape(_cell(value, column))}</td>"
            for value, column, is_numeric in zip(row, columns, numeric, strict=True)
        )
        + "</tr>"
        for row in content["rows"]
    )
    return (
        f'<p class="note">{escape(str(content["title"]))}</p>'
        f'<div class="scroll"><table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _number_class(is_numeric: bool) -> str:
    return ' class="number"' if is_numeric else ""


def _cell(value: object, column: str) -> str:
    """Text of a cell: a share as a percentage where the column says so, `-` where nothing is."""
    if value is None:
        return "-"
    if not _is_number(value):
        return str(value)
    if column.endswith("%") and 0 <= value <= 1:
        return percent(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _plots(content: Mapping[str, Any]) -> str:
    """A figure, or several where there are more lines than colours."""
    scale = 100 if str(content["y"]).endswith("%") else 1
    lines = [
        (str(name), points)
        for name, line in content["lines"].items()
        if (points := list(_points(line, scale)))
    ]
    return "".join(
        _plot(content, lines[start : start + NUM_COLORS])
        for start in range(0, len(lines), NUM_COLORS)
    )


def _plot(
    content: Mapping[str, Any], lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]
) -> str:
    title, y = str(content["title"]), str(content["y"])
    drawn = [
        (place, [x for x, _ in points], [value for _, value in points])
        for place, (_, points) in enumerate(lines)
    ]
    svg = curves_svg(
        drawn,
        description=f"{title}: {', '.join(name for name, _ in lines)}",
        x_label=str(content["x"]),
    )
    legend = f'<p class="legend">{"".join(swatch(place, name) for place, (name, _) in enumerate(lines))}</p>'
    return f"<figure><figcaption><b>{escape(title)}</b><small>{escape(y)}</small></figcaption>{svg}{legend}</figure>"


def _points(line: object, scale: float) -> Iterator[tuple[float, float]]:
    """The finite points of a line."""
    for point in line if isinstance(line, list | tuple) else ():
        match point:
            case [x, value] if _is_number(x) and _is_number(value):
                yield float(x), scale * float(value)


def _contents(result: Score, key: str) -> list[object]:
    found = result.get(key)
    return list(found) if isinstance(found, list | tuple) else [found]


def _is_result(found: object) -> bool:
    return isinstance(found, Mapping)


def _is_table(content: object) -> TypeGuard[Mapping[str, Any]]:
    match content:
        case {"title": _, "columns": list() | tuple() as columns, "rows": list() | tuple() as rows}:
            return all(isinstance(row, list | tuple) and len(row) == len(columns) for row in rows)
    return False


def _is_curves(content: object) -> TypeGuard[Mapping[str, Any]]:
    match content:
        case {"title": _, "x": _, "y": _, "lines": Mapping()}:
            return True
    return False


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
