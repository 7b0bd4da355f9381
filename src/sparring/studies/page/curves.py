"""Section of a study's page on how fast the arms learn: curves, costs, times, shares."""

from html import escape

from sparring.reporting import sections
from sparring.studies.page.final_scores import final_figures, share_section
from sparring.studies.page.frame import folded
from sparring.studies.page.learning_curves import (
    AXES,
    SCORE,
    bands_note,
    curves_figure,
    legend,
    measures_of,
)
from sparring.studies.page.time_table import time_section
from sparring.studies.page.view import PageView

_COSTS = "The final scores beside what they cost. No run was looked at while it trained."
_LEAD = (
    "What the monitor saw while the runs trained. The score of a study is that of the trained "
    "encoders on the test set; the online kNN is on held-out training images."
)


def section(view: PageView) -> str:
    """Learning curves with bands, scores beside their cost, time to a score, data efficiency.

    Empty if no run was looked at while it trained and nothing else differs in cost.
    """
    scored = "".join(curves_figure(view, SCORE, axis) for axis in AXES)
    figures = scored + final_figures(view)
    rest = "".join(
        curves_figure(view, name, "images") for name in measures_of(view) if name != SCORE
    )
    shares = share_section(view)
    if not (figures or rest or shares):
        return ""
    content = [f'<p class="note">{escape(bands_note(view))}</p>' if scored or rest else ""]
    content.append(legend(view))
    if figures:
        content.append(f'<div class="plots two">{figures}</div>')
    if rest:
        others = f'{legend(view)}<div class="plots two">{rest}</div>'
        content.append(folded("Other measures of the monitor", others))
    content += [time_section(view), shares]
    lead = _LEAD if scored or rest else _COSTS
    return sections.section("How the arms learn", "".join(content), lead=lead)
