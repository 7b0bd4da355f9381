"""Table of the classes that gain and lose between two arms."""

from dataclasses import dataclass
from html import escape

import numpy as np

from sparring.reporting import sections
from sparring.studies.findings import Interval
from sparring.studies.page.view import PageView
from sparring.studies.page.votes import Ballot
from sparring.studies.plan import Contrast
from sparring.studies.statistics.paired import mean_interval

OPEN_ROWS = 12
"""Number of classes up to which the table is unfolded."""
MAX_ROWS = 60
"""Most classes in a table: half of those that gain most, half of those that lose most."""


@dataclass(frozen=True, kw_only=True)
class ClassWin:
    """Scores of two arms on the images of one class.

    Attributes:
        name: of the class.
        images: number of images that both arms scored.
        first: points of the first arm, the mean over seeds.
        second: the same of the second arm.
        interval: of the difference over seeds, of this class alone; None for fewer than two seeds.
        gained: images that only the first arm gets right in most runs.
        lost: images that only the second arm does.
    """

    name: str
    images: int
    first: float
    second: float
    interval: Interval | None
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        """First minus second, in points."""
        return self.first - self.second


def class_wins(votes: Ballot) -> list[ClassWin]:
    """Scores of both arms by class, the largest gain first; classes without images left out."""
    found = []
    for label, name in enumerate(votes.classes):
        images = votes.targets == label
        if images.any():
            first = votes.accuracies(votes.first, images)
            second = votes.accuracies(votes.second, images)
            known = ~np.isnan(first) & ~np.isnan(second)
            differences = (first - second)[known]
            found.append(
                ClassWin(
                    name=name,
                    images=int(images.sum()),
                    first=float(first[known].mean()),
                    second=float(second[known].mean()),
                    interval=mean_interval(differences) if len(differences) > 1 else None,
                    gained=int((votes.gained & images).sum()),
                    lost=int((votes.lost & images).sum()),
                )
            )
    return sorted(found, key=lambda one: (-one.difference, one.name))


def class_table(view: PageView, contrast: Contrast, votes: Ballot) -> str:
    """Table of the classes as HTML, folded if it is long; empty without classes."""
    wins = class_wins(votes)
    if not wins:
        return ""
    gain = sum(one.difference > 0 for one in wins)
    lose = sum(one.difference < 0 for one in wins)
    shown = wins if len(wins) <= MAX_ROWS else [*wins[: MAX_ROWS // 2], *wins[-MAX_ROWS // 2 :]]
    first, second = (
        sections.swatch(view.number(name), name) for name in (contrast.first, contrast.second)
    )
    head = (
        '<th scope="col">Class</th><th scope="col" class="number">Images</th>'
        f'<th scope="col" class="number">{first}</th><th scope="col" class="number">{second}</th>'
        '<th scope="col" class="number">Difference</th>'
        '<th scope="col" class="number">95 %, of the class alone</th>'
        '<th scope="col" class="number">Gained</th><th scope="col" class="number">Lost</th>'
    )
    left_out = (
        f'<p class="note">The {len(wins) - len(shown):,} classes between the {MAX_ROWS // 2} with '
        "the largest gains and those with the largest losses are left out.</p>"
        if len(shown) < len(wins)
        else ""
    )
    return (
        f"<details{' open' if len(wins) <= OPEN_ROWS else ''}><summary>By class: {gain:,} of "
        f"{len(wins):,} gain, {lose:,} lose</summary>{_NOTE}{left_out}"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Scores by class">'
        f'<table class="plain wide"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(map(_row, shown))}</tbody></table></div></details>"
    )


_NOTE = (
    '<p class="note">Means over seeds in points. Gained: images that the first arm gets right in '
    "more than half of its runs and the second in fewer than half; lost: the reverse. Each "
    "interval stands alone: among twenty classes of two equal arms, one is expected to exclude "
    "0.</p>"
)


def _row(one: ClassWin) -> str:
    values = (
        f"{one.images:,}",
        f"{one.first:.1f}",
        f"{one.second:.1f}",
        f"{one.difference:+.1f}",
        "-" if one.interval is None else f"{one.interval.low:+.1f} to {one.interval.high:+.1f}",
        f"{one.gained:,}",
        f"{one.lost:,}",
    )
    cells = "".join(f'<td class="number">{value}</td>' for value in values)
    return f'<tr><th scope="row">{escape(one.name)}</th>{cells}</tr>'
