"""Numbers and names as a study's page and tables write them."""

from collections.abc import Collection

from sparring.evaluation.catalogue import short_title_of
from sparring.reporting.sentences import listed
from sparring.studies.findings import Conclusion, Estimate, Finding, Interval
from sparring.studies.plan import Study
from sparring.studies.results import Measure, Results

NOTHING = "-"
"""What stands in place of a number that cannot be given."""

_CONCLUSIONS: dict[Conclusion, str] = {
    "better": "{first} is better",
    "worse": "{first} is worse",
    "no more than the margin": "no more than {margin:g} points either way",
    "no evidence": "no evidence of a difference",
    "too few pairs": "too few pairs",
}


def points(value: float | None) -> str:
    """A score in percent, or a spread in points, with two decimals."""
    return NOTHING if value is None else f"{round(value, 2) + 0.0:.2f}"


def signed(value: float | None) -> str:
    """A difference in points, with its sign."""
    return NOTHING if value is None else f"{round(value, 2) + 0.0:+.2f}"


def interval_text(interval: Interval | None) -> str:
    """Both ends of an interval of a difference."""
    return NOTHING if interval is None else f"[{signed(interval.low)}, {signed(interval.high)}]"


def estimate_text(estimate: Estimate) -> str:
    """A difference with its interval."""
    if estimate.interval is None:
        return signed(estimate.value)
    return f"{signed(estimate.value)} {interval_text(estimate.interval)}"


def p_text(p: float | None) -> str:
    """A p value with three decimals.

    Example:
        >>> p_text(0.0123), p_text(0.0009), p_text(None)
        ('0.012', '< 0.001', '-')
    """
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def share_text(estimate: Estimate | None) -> str:
    """A probability with its interval."""
    if estimate is None:
        return NOTHING
    inside = estimate.interval
    ends = "" if inside is None else f" [{inside.low:.2f}, {inside.high:.2f}]"
    return f"{estimate.value:.2f}{ends}"


def seeds_text(seeds: Collection[int]) -> str:
    """Seeds by their numbers.

    Example:
        >>> [seeds_text(some) for some in ([3], [0, 1, 2], range(12), [0, 1, 2, 5])]
        ['seed 3', 'seeds 0, 1 and 2', 'seeds 0 to 11', 'seeds 0, 1, 2 and 5']
    """
    found = sorted(seeds)
    if len(found) > 3 and found[-1] - found[0] == len(found) - 1:
        return f"seeds {found[0]} to {found[-1]}"
    return f"seed{'s' * (len(found) != 1)} {listed([str(seed) for seed in found])}"


def duration_text(seconds: float) -> str:
    """A training time in its natural unit.

    Example:
        >>> [duration_text(seconds) for seconds in (12.34, 125, 7300)]
        ['12.3 s', '2.1 min', '2.03 h']
    """
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.2f} h"


def size_text(num_bytes: float) -> str:
    """Number of bytes in GiB, or in MiB below one GiB."""
    return f"{num_bytes / 2**20:.0f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.2f} GiB"


def level_text(study: Study) -> str:
    """Level of the study's intervals.

    Example:
        >>> level_text(Study(data="photos", arms=[{"name": "a", "method": "b"}]))
        '95 %'
    """
    return f"{100 * (1 - study.alpha):.3g} %"


def protocol_text(protocol: str) -> str:
    """Short title of a protocol, as it begins a cell."""
    title = short_title_of(protocol)
    return title[:1].upper() + title[1:] if not title.startswith("kNN") else title


def measure_text(measure: Measure, study: Study) -> str:
    """What a score is of: protocol and test set, with share and budget where the study has more
    than one."""
    text = f"{protocol_text(measure.protocol)} on {measure.test}"
    return ", ".join([text, *filter(None, [runs_text(measure, study)])])


def runs_text(measure: Measure, study: Study) -> str:
    """Share of the images and budget of the runs behind a measure, where the study has more than
    one of them."""
    parts = []
    if len(study.shares) > 1:
        parts.append(f"{100 * measure.share:g} % of the images")
    if len(study.budgets) > 1:
        parts.append(f"equal {measure.budget}")
    return ", ".join(parts)


def conclusion_text(finding: Finding, study: Study) -> str:
    """What a contrast's numbers allow to say, in a few words."""
    words = _CONCLUSIONS[finding.conclusion]
    return words.format(first=finding.contrast.first, margin=study.margin)


def pairs_text(results: Results) -> str:
    """How many seeds all arms of the primary measure have, of those planned."""
    study = results.study
    of_arms = [set(results.scores(arm.name, results.primary)) for arm in study.arms]
    done = len(set.intersection(*of_arms)) if of_arms else 0
    planned = len(study.seeds)
    return f"{done}" if done == planned else f"{done} of {planned} in all arms"
