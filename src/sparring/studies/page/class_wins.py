"""Table of the classes that gain and lose between two arms."""

from dataclasses import dataclass
from html import escape

import numpy as np

from sparring.studies.findings import Interval
from sparring.studies.page.frame import Column, folded, table
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
    first, second = votes.class_points(votes.first), votes.class_points(votes.second)
    everything = np.ones(len(votes.keys), dtype=np.bool_)
    images, gained, lost = map(votes.by_class, (everything, votes.gained, votes.lost))
    found = []
    for label, name in enumerate(votes.classes):
        known = ~np.isnan(first[label]) & ~np.isnan(second[label])
        if known.any():
            differences = (first[label] - second[label])[known]
            found.append(
                ClassWin(
                    name=name,
                    images=int(images[label]),
                    first=float(first[label][known].mean()),
                    second=float(second[label][known].mean()),
                    interval=mean_interval(differences) if len(differences) > 1 else None,
                    gained=int(gained[label]),
                    lost=int(lost[label]),
                )
            )
    return sorted(found, key=lambda one: (-one.difference, one.name))


def class_table(contrast: Contrast, votes: Ballot) -> str:
    """Table of the classes as HTML, folded if it is long; empty without classes."""
    wins = class_wins(votes)
    if not wins:
        return ""
    gain = sum(one.difference > 0 for one in wins)
    lose = sum(one.difference < 0 for one in wins)
    shown = wins if len(wins) <= MAX_ROWS else [*wins[: MAX_ROWS // 2], *wins[-MAX_ROWS // 2 :]]
    columns = [
        Column(title="Class", is_number=False),
        Column(title="Images"),
        Column(title=contrast.first, note="%"),
        Column(title=contrast.second, note="%"),
        Column(title="Difference", note="points, 95 % interval"),
        Column(title="Gained", note="images"),
        Column(title="Lost", note="images"),
    ]
    left_out = len(wins) - len(shown)
    note = _NOTE
    if left_out:
        note += f" The {left_out:,} classes between gains and losses are left out."
    caption = f"Classes of {contrast.first} and {contrast.second}"
    return folded(
        f"By class: {gain:,} of {len(wins):,} gain, {lose:,} lose",
        table(caption, columns, [_row(one) for one in shown], note=note),
        is_open=len(wins) <= OPEN_ROWS,
    )


_NOTE = (
    "Means over seeds. Gained: images that the first arm gets right in more than half of its runs "
    "and the second in fewer than half; lost: the reverse. Each interval stands alone: among "
    "twenty classes of two equal arms, one is expected to exclude 0."
)


def _row(one: ClassWin) -> list[str]:
    inside = one.interval
    between = f" [{inside.low:+.1f}, {inside.high:+.1f}]" if inside else ""
    return [
        escape(one.name),
        f"{one.images:,}",
        f"{one.first:.1f}",
        f"{one.second:.1f}",
        f"{one.difference:+.1f}{between}",
        f"{one.gained:,}",
        f"{one.lost:,}",
    ]
