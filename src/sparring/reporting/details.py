"""Details of the protocols as HTML: warnings, notes, tables and curves beside the score.

Only results in the form of `evaluation.protocol` are shown. Every text passes `escape`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, TypeAlias, TypeGuard

from sparring.evaluation.catalogue import in_order, protocol_of, title_of
from sparring.reporting.figures import Line, curves_svg
from sparring.reporting.inks import NUM_COLORS
from sparring.reporting.sections import section, swatch
from sparring.reporting.sentences import percent, run_names
from sparring.reporting.summary import RunSummary, Score

_Results: TypeAlias = Sequence[tuple[int | None, str, Score]]
"""Number of the run (None: before training), name and result of each encoder."""

_LEAD = "What the protocols found beside the number that the scores quote."


def details(runs: Sequence[RunSummary]) -> str:
    """Section with tables, curves and notes of every protocol, most of them folded.

    Empty if there are none.
    """
    names = dict.fromkeys(
        name for run in runs for scores in (run.trained, run.start) for name in scores
    )
    content = "".join(_protocol(name, _found(name, runs)) for name in in_order(names))
    return section("Details of the protocols", content, lead=_LEAD) if content else ""


def _found(name: str, runs: Sequence[RunSummary]) -> _Results:
    """Results of all runs, then those of the encoders from which they started, without
    repetitions."""
    named = list(enumerate(zip(run_names(runs), runs, strict=True)))
    trained = [
        (number, run_name, run.trained[name])
        for number, (run_name, run) in named
        if _is_result(run.trained.get(name))
    ]
    started = {
        json.dumps([run.start_name, run.start[name]], sort_keys=True): (run_name, run)
        for _, (run_name, run) in reversed(named)
        if _is_result(run.start.get(name))
    }
    starts = list(reversed(started.values()))
    return [
        *trained,
        *(
            (
                None,
                f"{run.start_name}, {run_name}" if len(starts) > 1 else run.start_name,
                run.start[name],
            )
            for run_name, run in starts
        ),
    ]


def _protocol(name: str, found: _Results) -> str:
    content = _sentences(found) + "".join(
        _encoder_details(number, who, result) for number, who, result in found
    )
    if not content:
        return ""
    entry = protocol_of(name)
    about = ""
    if entry:
        text = f"{entry.question[:1].upper()}{entry.question[1:]} Source: {entry.source}."
        about = f'<p class="note">{escape(text)}</p>'
    # The details of a joint protocol are its result; those of others explain a score.
    opened = " open" if entry is not None and entry.is_joint else ""
    return f"<details{opened}><summary>{escape(title_of(name))}</summary>{about}{content}</details>"


def _sentences(found: _Results) -> str:
    """Warnings and notes without repetitions.

    Each names its encoders unless it applies to all.
    """
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


def _encoder_details(number: int | None, who: str, result: Score) -> str:
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
        f'<th scope="col"{_number_class(is_numeric)}>'
        f"{escape(column.removesuffix('%').rstrip(' ,'))}</th>"
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
        f'<div class="scroll"><table class="plain"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _number_class(is_numeric: bool) -> str:
    return ' class="number"' if is_numeric else ""


def _cell(value: object, column: str) -> str:
    """Text of a table cell: shares as percentages if the column name ends in %, `-` for None."""
    if value is None:
        return "-"
    if not _is_number(value):
        return str(value)
    if column.endswith("%") and 0 <= value <= 1:
        return percent(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _plots(content: Mapping[str, Any]) -> str:
    """One figure, or several if there are more lines than colours."""
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
        Line(place, name, [x for x, _ in points], [value for _, value in points])
        for place, (name, points) in enumerate(lines)
    ]
    svg = curves_svg(
        drawn,
        description=f"{title}: {', '.join(name for name, _ in lines)}",
        x_label=str(content["x"]),
        palette="line",
    )
    names = "".join(swatch(place, name, palette="line") for place, (name, _) in enumerate(lines))
    return (
        f"<figure><figcaption><b>{escape(title)}</b><small>{escape(y)}</small></figcaption>"
        f'{svg}<p class="legend">{names}</p></figure>'
    )


def _points(line: object, scale: float) -> Iterator[tuple[float, float]]:
    """Finite points of a line, values multiplied by `scale`."""
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
