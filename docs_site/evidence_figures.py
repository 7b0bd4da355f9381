"""Figures of the evidence: all games beside their twins in one plot, and curves of dose and
response of the kept studies."""

from collections.abc import Iterator, Sequence

from evidence import STUDIES, Asked, Question, Row, asked_by, rows, set_name
from sparring.reporting.standalone import Panel, svg_file
from sparring.studies.folder import StudyFolder
from sparring.studies.page.figure_files import figure_files
from sparring.studies.page.forest import ForestRow, forest
from sparring.studies.page.view import PageView

_WIDTH = 600.0
TITLE = "Does the opponent help? Every game minus its disarmed twin"


def figures(questions: Sequence[Question]) -> Iterator[tuple[str, str]]:
    """Name and text of every SVG file in docs/images that shows evidence."""
    yield "evidence.svg", _all_games(questions)
    kept = {one.name: one for question in questions for one in question.asked if one.analysis}
    for asked in (*kept.values(), asked_by(STUDIES, "demo-strength")):
        for name, text in figure_files(_view(asked), asked.name).items():
            if "-dose" in name:
                yield name, text


def _view(asked: Asked) -> PageView:
    assert asked.analysis is not None
    return PageView(analysis=asked.analysis, folder=StudyFolder(STUDIES / asked.name))


def _all_games(questions: Sequence[Question]) -> str:
    """Forest plot of the games that have at least two pairs with their twin."""
    shown = [
        (number, row)
        for number, question in enumerate(questions)
        for row in rows(question)
        if row.twin is not None and row.twin.interval is not None
    ]
    lines = [_line(number, row) for number, row in shown]
    plot = forest(lines, _view(shown[0][1].asked), width=_WIDTH, title=TITLE)
    return svg_file(
        [Panel(svg=plot)],
        title=TITLE,
        subtitle="kNN accuracy of the encoder on images that it was not trained on",
        notes=[
            "Dots are pairs of runs with one seed, a diamond is their mean with its 95 % interval, "
            "an arrow an interval that goes on. Shaded: 0.5 points either way, the effect that "
            "matters. Games that were not run are left out.",
        ],
    )


def _line(number: int, row: Row) -> ForestRow:
    assert row.twin is not None
    return ForestRow(
        name=f"{row.twin.contrast.name}: {set_name(row.asked.study)}",
        number=number,
        finding=row.twin,
        conclusion=f"{len(row.twin.pairs)} pairs: {row.twin_verdict}",
    )
