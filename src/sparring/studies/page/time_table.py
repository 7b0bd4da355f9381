"""Table of how many images and seconds each arm needs to get where the control ends."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape

import numpy as np

from sparring.reporting import sections
from sparring.reporting.sentences import listed
from sparring.studies.page.frame import Column, table
from sparring.studies.page.learning_curves import SCORE, place_text
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import NOTHING, level_text
from sparring.studies.results import Results
from sparring.studies.statistics.curves import (
    Axis,
    TimeRatio,
    TimeToScore,
    curve_of,
    time_ratio,
    time_to_score,
)

_AXES: tuple[Axis, ...] = ("images", "seconds")


@dataclass(frozen=True, kw_only=True)
class Race:
    """Times of all arms to what the reference arm ends with, seed by seed.

    Attributes:
        reference: name of the arm whose final online score has to be reached.
        scores: that score, in [0, 1], by seed.
        times: of each arm, by name and axis.
    """

    reference: str
    scores: Mapping[int, float]
    times: Mapping[tuple[str, Axis], TimeToScore]

    def ratio(self, arm: str, axis: Axis, *, level: float) -> TimeRatio:
        """Time of an arm over that of the reference, paired by seed."""
        return time_ratio(self.times[arm, axis], self.times[self.reference, axis], level=level)


def reference_of(view: PageView) -> str | None:
    """The primary game's control; without one, the second arm of the primary contrast."""
    planned = view.study.planned_contrasts()
    if not planned:
        return None
    return view.study.arm(planned[0].first).control or planned[0].second


def race(view: PageView) -> Race | None:
    """Times of all arms; None without online scores of the reference."""
    reference, results = reference_of(view), view.results
    if reference is None:
        return None
    scores = {
        one.name.seed: float(heights[-1])
        for one in results.of_arm(reference, results.primary)
        if len(heights := curve_of(one, SCORE, "images")[1])
    }
    if not scores:
        return None
    return Race(
        reference=reference,
        scores=scores,
        times={
            (arm.name, axis): _times(results, arm.name, scores, axis)
            for arm in view.study.arms
            for axis in _AXES
        },
    )


def _times(results: Results, arm: str, scores: Mapping[int, float], axis: Axis) -> TimeToScore:
    """When an arm's run of each seed reaches the score of that seed."""
    reached: dict[int, float] = {}
    at_first_look: dict[int, float] = {}
    never: dict[int, float] = {}
    for seed, score in scores.items():
        own = replace(
            results, records=tuple(one for one in results.records if one.name.seed == seed)
        )
        found = time_to_score(own, arm, results.primary, score=score, name=SCORE, axis=axis)
        reached |= found.reached
        at_first_look |= found.at_first_look
        never |= found.never
    return TimeToScore(
        arm=arm,
        axis=axis,
        score=float(np.mean([*scores.values()])),
        reached=reached,
        at_first_look=at_first_look,
        never=never,
    )


def time_section(view: PageView) -> str:
    """Table of the times, and a sentence on runs that never got there; empty without scores."""
    found = race(view)
    if found is None or len(view.study.arms) < 2:
        return ""
    reference = found.reference
    mean = 100 * float(np.mean([*found.scores.values()]))
    level = level_text(view.study)
    columns = [
        Column(title="Arm", is_number=False),
        Column(title="Images", note="mean over runs that get there"),
        Column(title="Ratio of images", note=f"paired, {level} interval"),
        Column(title="Seconds", note="mean over runs that get there"),
        Column(title="Ratio of seconds", note=f"paired, {level} interval"),
        Column(title="Runs that get there"),
    ]
    rows = [
        [
            sections.swatch(number, arm.name),
            *(cell for axis in _AXES for cell in _cells(found, view, arm.name, axis)),
            _count(found.times[arm.name, "images"]),
        ]
        for number, arm in enumerate(view.study.arms)
    ]
    note = (
        f"First time a run reaches the online kNN with which {reference} ends with the same seed, "
        f"{mean:.1f} % on average. A ratio is over {reference}, below 1 where the arm is sooner: "
        "the geometric mean over seeds."
    )
    words = "".join(
        f'<p class="note">{escape(sentence)}</p>'
        for arm in view.study.arms
        if (sentence := censored_sentence(found.times[arm.name, "images"], reference))
    )
    caption = f"Time to a score: until an arm gets where {reference} ends"
    return f'<div class="below">{table(caption, columns, rows, note=note)}{words}</div>'


def _cells(found: Race, view: PageView, arm: str, axis: Axis) -> list[str]:
    times = found.times[arm, axis]
    known = [*times.reached.values(), *times.at_first_look.values()]
    mean = place_text(float(np.mean(known)), axis).removesuffix(" images") if known else NOTHING
    until = f"at most {mean}" if times.at_first_look else mean
    if arm == found.reference:
        return [until, "1"]
    ratio = found.ratio(arm, axis, level=1 - view.study.alpha)
    if ratio.estimate is None:
        return [until, NOTHING]
    inside, count = ratio.estimate.interval, len(ratio.seeds)
    ends = f" [{inside.low:.2f}, {inside.high:.2f}]" if inside else ""
    few = f"<br><small>{count} seed{'s' * (count > 1)} only</small>"
    return [until, f"{ratio.estimate.value:.2f}{ends}{few if count < times.num_runs else ''}"]


def _count(times: TimeToScore) -> str:
    there = len(times.reached) + len(times.at_first_look)
    return f"{there} of {times.num_runs}" if times.num_runs else NOTHING


def censored_sentence(times: TimeToScore, reference: str) -> str:
    """What to know about runs that never got there, or had been there at their first look.

    Empty if there are none.
    """
    parts = []
    if times.never:
        seeds = listed([str(seed) for seed in sorted(times.never)])
        parts.append(
            f"{times.arm} never reaches what {reference} ends with in {len(times.never)} of "
            f"{times.num_runs} runs (seed{'s' * (len(times.never) > 1)} {seeds}); its means and "
            "ratios are of the other seeds, and cannot stand for all."
        )
    if times.at_first_look:
        parts.append(
            f"{times.arm} is there at the first look already in {len(times.at_first_look)} of "
            f"{times.num_runs} runs, which give no ratio."
        )
    return " ".join(parts)
