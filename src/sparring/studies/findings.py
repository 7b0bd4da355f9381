"""What a study found: numbers and words, without how they are shown or computed."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sparring.studies.plan import Contrast
from sparring.studies.results import Measure, Pairs, Results

Conclusion: TypeAlias = Literal[
    "better",  # the first arm, beyond chance, over the family of planned contrasts
    "worse",
    "no more than the margin",  # either way, by two one-sided tests
    "no evidence",  # the interval still holds differences that matter, and zero
    "too few pairs",  # fewer than two
]
Decision: TypeAlias = Literal["stop: difference", "stop: futile", "go on", "last look"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Two ends of an interval, in the unit of what it is of."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its interval; None where it cannot be given."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """State of early stopping after some pairs.

    Attributes:
        pairs: pairs that this look sees.
        t: paired t statistic.
        bound: |t| from which on a difference is claimed at this look.
        futility: |t| below which going on is not worth while; None at the last look.
        interval: repeated confidence interval of the mean difference, valid at every look.
        decision: what follows.
        planned: pairs that the plan names for this look, more than `pairs` where runs have failed.
    """

    pairs: int
    t: float
    bound: float
    futility: float | None
    interval: Interval
    decision: Decision
    planned: int = 0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One contrast on one measure, in points.

    Attributes:
        contrast: the two arms.
        measure: what the scores are of.
        pairs: scores of both arms by seed.
        mean: mean difference; None without pairs.
        sd: standard deviation of the differences; None for fewer than two pairs.
        interval: of the mean difference, by t; where the study may stop early, valid however it
            went (`sequential.interval_after`).
        p: of the paired t test, valid at this look; None for fewer than two pairs, before the
            first look or the planned end, and for a few differences that are equal by rounding.
        p_holm: over all planned contrasts on the primary measure; None on other measures.
        bootstrap: BCa interval; None for fewer than ten pairs.
        p_sign_flip: of the sign-flip test; None for fewer than six pairs, and before the first look
            or the planned end.
        probability: that the first arm is better on the next seed.
        p_equivalence: of two one-sided tests against the margin; None like `p`.
        correlation: of the arms over seeds; None for fewer than three pairs.
        looks: of early stopping so far, in order; empty without.
        conclusion: what the numbers allow to say.
        sentence: the same in words, with the numbers.
        power: sentence on what further pairs could settle; empty if nothing is open.
    """

    contrast: Contrast
    measure: Measure
    pairs: Pairs
    mean: float | None
    sd: float | None
    interval: Interval | None
    p: float | None
    p_holm: float | None
    bootstrap: Interval | None
    p_sign_flip: float | None
    probability: Estimate | None
    p_equivalence: float | None
    correlation: float | None
    looks: tuple[Look, ...]
    conclusion: Conclusion
    sentence: str
    power: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One bar of a waterfall: what a step from one encoder to the next adds, in points."""

    name: str
    what: str
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Where a game's score comes from: untrained, control, twin, game, one after the other."""

    game: str
    measure: Measure
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source of variance of a contrast: its standard deviation in points, and of what."""

    name: str
    sd: float | None
    what: str


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything a study's page and tables say.

    Attributes:
        results: plan and records.
        findings: the planned contrasts on the primary measure, the primary contrast first.
        further: the same contrasts on the other measures.
        attributions: one per game.
        variance: sources of variance of each finding, by the contrast's name.
        headline: one or two sentences that the numbers allow.
        cautions: what this study cannot show, and what is unequal in it, a sentence each.
    """

    results: Results
    findings: tuple[Finding, ...]
    further: tuple[Finding, ...]
    attributions: tuple[Attribution, ...]
    variance: dict[str, tuple[Source, ...]]
    headline: str
    cautions: tuple[str, ...]

    @property
    def primary(self) -> Finding | None:
        """The finding of the main question; None if no contrast was planned."""
        return self.findings[0] if self.findings else None
