"""Sentences of a report: what the scores are, and how far to trust them."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from sparring.config import leaves
from sparring.evaluation.catalogue import (
    headline_of,
    in_order,
    short_title_of,
    worse_than_start,
)
from sparring.reporting.gallery import HardestNegatives, Retrieval
from sparring.reporting.pools import HARMLESS, OF_THE_SEED, not_pooled, pools
from sparring.reporting.summary import RunSummary, Score
from sparring.training.encoder_names import start_phrase
from sparring.training.metrics import alarm

# Settings that may differ in a fair comparison: what is compared, and the seed.
_NOT_A_CONFOUNDER = (
    "method",
    "opponent",
    *OF_THE_SEED,
    "players.bank",
    "bank",
    "queue",
    *HARMLESS,
)


def headline(runs: Sequence[RunSummary]) -> list[str]:
    """Clauses of the headline: the first score of every pool of runs, and that of what
    they started from."""
    protocol = first_protocol(runs)
    if protocol is None:
        return [f"{listed(list(by_method(runs)))}, not scored"]
    clauses: list[str] = []
    scored = [run for run in runs if accuracy(run.trained, protocol) is not None]
    for pool in pools(scored, protocol):
        scores = [
            score for run in pool.runs if (score := accuracy(run.trained, protocol)) is not None
        ]
        words = (" scores", f" {short_title_of(protocol)}") if not clauses else ("", "")
        parenthesis = _parenthesis(pool.runs, scores)
        clauses.append(f"{pool.name}{parenthesis}{words[0]} {percent(mean(scores))}{words[1]}")
    starts = defaultdict(list)
    for run in runs:
        if (score := accuracy(run.start, protocol)) is not None:
            starts[start_phrase(run.start_name)].append(score)
    return [*clauses, *(f"{phrase} {percent(mean(found))}" for phrase, found in starts.items())]


def start_of(runs: Sequence[RunSummary]) -> str:
    """What all of these runs started from, as sentences call it."""
    names = {run.start_name for run in runs}
    return start_phrase(names.pop()) if len(names) == 1 else "what each run started from"


def _parenthesis(group: Sequence[RunSummary], scores: Sequence[float]) -> str:
    notes = [next((run.note for run in group if run.note), "")]
    if len(scores) > 1:
        notes.append(
            f"mean of {len(scores)} seeds, {percent(min(scores))} to {percent(max(scores))}"
        )
    text = "; ".join(note for note in notes if note)
    return f" ({text})" if text else ""


def evidence(runs: Sequence[RunSummary]) -> list[str]:
    """Sentences on how far the scores can be trusted."""
    protocol, groups, sentences = first_protocol(runs), by_method(runs), []
    if protocol is None:
        return [
            "There is no score, because the images have no labels or have not been evaluated "
            "yet. The label-free panel, the retrievals "
            "and the map show whether training went astray; none of them replaces a score."
        ]
    scored = [run for run in runs if accuracy(run.trained, protocol) is not None]
    counts = {len(pool.runs) for pool in pools(scored, protocol)}
    if counts == {1} and len(groups) > 1:
        sentences.append(
            "Each method ran with one seed, and one seed is no evidence of a difference "
            "between methods: another may "
            "reverse their order. Compare at least three seeds of each."
        )
    elif counts == {1}:
        which = "This is one seed" if len(runs) == 1 else "Each score is of one seed"
        sentences.append(f"{which}; another gives another score.")
    elif min(counts) < 3:
        sentences.append(
            "Fewer than three seeds of a method show little of its spread; read differences "
            "with care."
        )
    return [*sentences, *not_pooled(scored, protocol), *_sampling_error(runs, protocol)]


def _sampling_error(runs: Sequence[RunSummary], protocol: str) -> list[str]:
    """Sentences on the sampling error of the scored images (95 %, binomial), and on the gains
    within it."""
    images = [
        int(n)
        for run in runs
        if isinstance(n := run.trained.get(protocol, {}).get("test_images"), int)
    ]
    scores = [score for run in runs if (score := accuracy(run.trained, protocol)) is not None]
    if not images or not scores:
        return []
    error = 1.96 * math.sqrt(mean(scores) * (1 - mean(scores)) / min(images))
    sentences = [
        f"With {min(images):,} scored images, their choice alone moves a score by about "
        f"{100 * error:.1f} points either way."
    ]
    gains = {
        name: after - before
        for name, run in zip(run_names(runs), runs, strict=True)
        if (after := accuracy(run.trained, protocol)) is not None
        and (before := accuracy(run.start, protocol)) is not None
    }
    worse = [name for name, gain in gains.items() if gain < -error]
    if worse:
        sentences.append(
            f"{listed(worse)} scored below {start_of(runs)} by more than that: pretraining has "
            "cost accuracy."
        )
    small = [name for name, gain in gains.items() if abs(gain) <= error]
    if small:
        sentences.append(
            f"The gain of {listed(small)} over {start_of(runs)} is no larger than that."
        )
    return sentences


def confounders(runs: Sequence[RunSummary]) -> list[tuple[str, list[str]]]:
    """Settings in which the runs differ, with each run's value.

    `-` if a run lacks the setting.
    """
    flat = [dict(leaves(run.config)) for run in runs]
    names = dict.fromkeys(name for config in flat for name in config)
    return [
        (name, [str(config.get(name, "-")) for config in flat])
        for name in names
        if len({str(config.get(name, "-")) for config in flat}) > 1
    ]


def fairness(runs: Sequence[RunSummary]) -> str | None:
    """Sentence that names the settings, common to all methods, in which the runs differ.

    None if there are none.
    """
    flat = [dict(leaves(run.config)) for run in runs]
    shared = set.intersection(*(set(config) for config in flat)) if flat else set()
    names = [
        name
        for name, _ in confounders(runs)
        if name in shared
        and not any(name == free or name.startswith(f"{free}.") for free in _NOT_A_CONFOUNDER)
    ]
    if not names:
        return None
    return (
        f"Besides the method these runs differ in {listed(names)}, so a difference in score may "
        "come from there."
    )


def warnings(runs: Sequence[RunSummary]) -> list[str]:
    """What the reader must know before any number: a collapsed encoder, one that is worse than
    its start, a bank that has left the images."""
    found = []
    for name, run in zip(run_names(runs), runs, strict=True):
        warning = run.trained.get("geometry", {}).get("warning")
        if warning:
            found.append(f"{name}: {warning}")
        worse = worse_than_start(run.trained, run.start, name=run.start_name)
        if worse is not None:
            found.append(f"{name}: {worse}")
        record = {key: value for key in run.names() if (value := run.last(key)) is not None}
        astray = alarm(run.method, run.opponents, record)
        if astray is not None:
            found.append(f"{name}: {astray}.")
    return found


def retrieval_share(retrievals: Sequence[Retrieval]) -> float | None:
    """Share of the shown neighbours that have their query's class, in [0, 1].

    None without labels.
    """
    flags = [
        flag
        for retrieval in retrievals
        if retrieval.same_label is not None
        for flag in retrieval.same_label.tolist()
    ]
    return mean(flags) if flags else None


def false_negative_share(queries: Sequence[HardestNegatives]) -> float | None:
    """Share of the shown bank vectors whose nearest image has the query's class, in [0, 1].

    None without labels.
    """
    flags = [
        bool(negative.same_label[0])
        for query in queries
        for negative in query.negatives
        if negative.same_label is not None and len(negative.same_label)
    ]
    return mean(flags) if flags else None


def run_names(runs: Sequence[RunSummary]) -> list[str]:
    """Unique name of every run: its label, with the seed or the folder where labels repeat."""
    names = [run.label for run in runs]
    seeds = ["" if run.seed is None else f", seed {run.seed}" for run in runs]
    for details in (seeds, [f", {run.path}" for run in runs]):
        names = [
            name + detail if names.count(name) > 1 else name
            for name, detail in zip(names, details, strict=True)
        ]
    return names


def by_method(runs: Sequence[RunSummary]) -> dict[str, list[RunSummary]]:
    """Runs grouped by label, in order of appearance."""
    groups: dict[str, list[RunSummary]] = defaultdict(list)
    for run in runs:
        groups[run.label].append(run)
    return dict(groups)


def scored_protocols(runs: Sequence[RunSummary]) -> list[str]:
    """Protocols with a headline score in any run, in the order of the catalogue."""
    return in_order(
        name
        for run in runs
        for name, score in run.trained.items()
        if headline_of(name, score) is not None
    )


def first_protocol(runs: Sequence[RunSummary]) -> str | None:
    """Protocol that headlines quote: kNN if any run has it; None without scores."""
    return next(iter(scored_protocols(runs)), None)


def accuracy(scores: Mapping[str, Score], protocol: str) -> float | None:
    """Headline score of a protocol, in [0, 1]; None if it was not run."""
    return headline_of(protocol, scores.get(protocol, {}))


def listed(words: Sequence[str]) -> str:
    """Words joined with commas and `and`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def percent(share: float) -> str:
    """Share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value."""
    return sum(values) / len(values)


def certainty(score: Score) -> str:
    """What the number of test images says about a share, if the result has an interval."""
    interval = score.get("interval")
    if not isinstance(interval, Sequence):
        return ""
    low, high = interval
    within = 50 * (high - low)
    return f"; that many images tell it to within {within:.{int(within < 3)}f} points (95 %)"
