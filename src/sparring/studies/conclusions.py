"""What a contrast's numbers allow to say, as one of five conclusions and as a sentence."""

from sparring.studies.findings import Conclusion, Finding, Interval
from sparring.studies.plan import Study
from sparring.studies.progress import Progress
from sparring.studies.statistics.differences import is_rounded, points
from sparring.studies.titles import titles
from sparring.wording import counted

SETTLED: tuple[Conclusion, ...] = ("better", "worse", "no more than the margin")
"""Conclusions that leave nothing open."""


def conclusion(finding: Finding, *, alpha: float) -> Conclusion:
    """What the numbers of a finding allow to say.

    A difference is claimed by the p-value over the family of planned contrasts, unless pairs that
    came after the look which gave it take zero into the interval again. "No more than the margin"
    is a claim of its own, by two one-sided tests; it is not a lack of evidence.

    Args:
        finding: with its p-values.
        alpha: error rate of the study.
    """
    if finding.mean is None or len(finding.pairs) < 2:
        return "too few pairs"
    if is_rounded(finding.pairs.differences):
        return "no evidence"
    is_off_zero = finding.interval is not None and 0 not in finding.interval
    if is_off_zero and finding.p_holm is not None and finding.p_holm <= alpha:
        return "better" if finding.mean > 0 else "worse"
    if finding.p_equivalence is not None and finding.p_equivalence <= alpha:
        return "no more than the margin"
    return "no evidence"


def sentence(finding: Finding, study: Study, progress: Progress) -> str:
    """The conclusion of a finding in a sentence or two, with its numbers."""
    named = titles(study, [finding.contrast.first, finding.contrast.second])
    first, second = named[finding.contrast.first], named[finding.contrast.second]
    mean = finding.mean or 0.0
    if finding.conclusion == "too few pairs":
        return f"Cannot tell {first} from {second}: {_too_few(finding)}."
    inside = f"{numbers(finding, study)}{_p_text(finding, study)}"
    small = yet_small(finding, study)
    if finding.conclusion == "better":
        return f"{first} beats {second} by {size_text(mean, finding)} ({inside}).{small}"
    if finding.conclusion == "worse":
        return f"{first} is {size_text(-mean, finding)} below {second} ({inside}).{small}"
    if finding.conclusion == "no more than the margin":
        return (
            f"{first} and {second} differ by no more than {points(study.margin)} either way: "
            f"{signed_text(mean, finding)} ({inside})."
        )
    return (
        f"Cannot tell {first} from {second}: {signed_text(mean, finding)} ({inside})."
        f"{_why_open(finding, study, progress)}"
    )


def before_claims(study: Study, progress: Progress) -> str:
    """A sentence on when claims may be made, for a study that has not come so far."""
    if progress.planned:
        return f"Nothing is claimed before the first look, at {progress.planned[0]} pairs."
    pairs = counted(len(study.seeds), "pair")
    return f"Nothing is claimed before all {pairs} of every planned contrast are there."


def described(finding: Finding, study: Study) -> str:
    """A finding on a measure that no claim is made on, in a sentence."""
    named = titles(study, [finding.contrast.first, finding.contrast.second])
    contrast = f"{named[finding.contrast.first]} minus {named[finding.contrast.second]}"
    if finding.mean is None or len(finding.pairs) < 2:
        return f"{contrast}: {_too_few(finding)}."
    return (
        f"{contrast}: {signed_text(finding.mean, finding)} ({numbers(finding, study)}); described, "
        "not tested: the planned contrasts are tested on the primary measure alone."
    )


def numbers(finding: Finding, study: Study) -> str:
    """Interval and number of pairs: `95 % interval -1.2 to -0.6, 3 pairs`."""
    pairs = counted(len(finding.pairs), "pair")
    if finding.interval is None:
        return pairs
    places = decimals(finding.interval)
    low, high = (f"{_zeroed(end, places):.{places}f}" for end in _ends(finding.interval))
    return f"{100 * (1 - study.alpha):.3g} % interval {low} to {high}, {pairs}"


def signed_text(value: float, finding: Finding) -> str:
    """A difference with its sign: `-0.9 points`."""
    places = decimals(finding.interval)
    shown = f"{_zeroed(value, places):+.{places}f}"
    return f"{shown} point{'s' * (shown.lstrip('+-') != '1.0')}"


def size_text(value: float, finding: Finding) -> str:
    """A difference without its sign: `0.9 points`."""
    places = decimals(finding.interval)
    return f"{_zeroed(value, places):.{places}f} points"


def decimals(interval: Interval | None) -> int:
    """Decimals that a difference is known to: one, or more if its interval is short, or has an end
    whose sign would be lost."""
    if interval is None:
        return 1
    width = interval.high - interval.low
    places = 1 if width >= 0.3 else 2 if width >= 0.03 else 3
    while places < 3 and not all(round(end, places) for end in _ends(interval)):
        places += 1
    return places


def p_words(p: float) -> str:
    """A p-value in words: `p 0.012`, `p below 0.001`."""
    return "p below 0.001" if p < 0.001 else f"p {p:.2g}" if p < 0.995 else "p 1"


def _p_text(finding: Finding, study: Study) -> str:
    """The p-value that decided, and what it is over."""
    if finding.conclusion == "no more than the margin" and finding.p_equivalence is not None:
        return f", {p_words(finding.p_equivalence)} by two one-sided tests"
    if finding.p_holm is None:
        return ""
    family = len(study.planned_contrasts())
    over = f" over {family} planned contrasts" if family > 1 else ""
    return f", {p_words(finding.p_holm)}{over}"


def yet_small(finding: Finding, study: Study) -> str:
    """A sentence where a difference is beyond chance and no more than the margin."""
    if finding.p_equivalence is None or finding.p_equivalence > study.alpha:
        return ""
    return f" The difference is no more than {points(study.margin)}."


def _why_open(finding: Finding, study: Study, progress: Progress) -> str:
    """Why nothing is claimed, where the interval alone does not say it."""
    if not progress.is_tested:
        return f" {before_claims(study, progress)}"
    if is_rounded(finding.pairs.differences):
        return (
            " All pairs differ by exactly as much, which a few scores do by rounding; more pairs "
            "would show their spread."
        )
    inside = finding.interval
    if inside is None:
        return ""
    if 0 in inside:
        return (
            f" Zero and differences of more than {points(study.margin)} are both possible."
            if max(-inside.low, inside.high) > study.margin
            else ""
        )
    return " Its own interval leaves out zero; over all planned contrasts that is no claim."


def _too_few(finding: Finding) -> str:
    pairs = len(finding.pairs)
    seen = f" ({finding.mean:+.1f} points)" if finding.mean is not None else ""
    have = f"there is one pair{seen}" if pairs else "there is no pair"
    return f"{have}, and an interval needs two"


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _zeroed(value: float, places: int) -> float:
    """The value without the sign of a rounded zero."""
    return round(value, places) + 0.0
