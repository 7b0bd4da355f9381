"""Which runs may be averaged, and what stands in the way: like is compared with like.

Runs are pooled if they differ in the seed alone and were scored on the same images after as many
steps with the same settings of the protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparring.config import leaves
from sparring.reporting.summary import RunSummary

HARMLESS = (
    "data.cache",
    "data.store",
    "data.workers",
    "training.acceleration",
    "training.checkpoint_activations",
    "training.checkpoint_minutes",
    "training.device",
    "training.log_steps",
    "training.max_steps",  # the steps made are compared instead
)
"""Settings that change where and how fast a run computes, and not what."""

OF_THE_SEED = ("seed", "data.limit_seed")
"""Settings that tell runs of one method apart that are averaged."""

_BUDGET = (
    "data.path",
    "data.limit",
    "training.epochs",
    "training.num_steps",
    "training.batch_size",
    "training.image_size",
)


@dataclass(frozen=True)
class Pool:
    """Runs of one method that differ in the seed alone.

    Attributes:
        name: the label of the runs; with their folder if there are several pools of that label.
        runs: at least one, each of another seed.
    """

    name: str
    runs: tuple[RunSummary, ...]


def pools(runs: Sequence[RunSummary], protocol: str | None = None) -> list[Pool]:
    """The runs in pools, in order of appearance.

    Args:
        runs: of any methods.
        protocol: name of the protocol whose scores are to be averaged; None: of no scores.
    """
    found: list[list[RunSummary]] = []
    for run in runs:
        for pool in found:
            is_new_seed = all(one.seed != run.seed for one in pool)
            if pool[0].label == run.label and is_new_seed and not apart(pool[0], run, protocol):
                pool.append(run)
                break
        else:
            found.append([run])
    labels = [pool[0].label for pool in found]
    return [
        Pool(label if labels.count(label) == 1 else f"{label}, {_folders(pool)}", tuple(pool))
        for label, pool in zip(labels, found, strict=True)
    ]


def not_pooled(runs: Sequence[RunSummary], protocol: str | None) -> list[str]:
    """One sentence for each method of which not all runs were averaged, with the reason."""
    by_label: dict[str, list[Pool]] = {}
    for pool in pools(runs, protocol):
        by_label.setdefault(pool.runs[0].label, []).append(pool)
    sentences = []
    for label, found in by_label.items():
        first = found[0].runs[0]
        others = [pool.runs[0] for pool in found[1:]]
        why = dict.fromkeys(
            reason
            for run in others
            for reason in apart(first, run, protocol) or ["nothing, not even the seed"]
        )
        if others:
            sentences.append(
                f"The {len(found)} scores of {label} are not averaged: the runs differ in "
                f"{'; '.join(why)}."
            )
    return sentences


def apart(one: RunSummary, other: RunSummary, protocol: str | None) -> list[str]:
    """What but the seeds tells two runs apart, and their scores of a protocol; empty for like and
    like."""
    found = [name for name in _unequal(one.config, other.config) if name not in OF_THE_SEED]
    if one.steps != other.steps:
        found.append(f"steps made ({_count(one.steps)} and {_count(other.steps)})")
    return [*found, *(scored_apart(one, other, protocol) if protocol is not None else ())]


def scored_apart(one: RunSummary, other: RunSummary, protocol: str) -> list[str]:
    """What tells the scoring of two runs apart: images and settings of the protocol."""
    if protocol not in one.trained or protocol not in other.trained:
        return []
    first, second = one.records.get(protocol), other.records.get(protocol)
    results = one.trained[protocol], other.trained[protocol]
    if not (first and second and first.version and second.version):
        # Before the record was kept, the seed of the run drew the images that are held out.
        is_drawn = any("held out" in str(result.get("tested_on")) for result in results)
        counts = {result.get("test_images") for result in results}
        unequal = len(counts) > 1 or (is_drawn and one.seed != other.seed)
        return ["scored images"] if unequal else []
    found = []
    if first.test.identity != second.test.identity:
        found.append("scored images")
    if first.train.identity != second.train.identity:
        found.append("images that the classifier learned from")
    return found + [f"{protocol}.{name}" for name in _unequal(first.settings, second.settings)]


def unlike_scores(runs: Sequence[RunSummary], protocol: str) -> list[str]:
    """Sentence that warns of scores that stand side by side and are not of like and like; none if
    they are."""
    scored = [run for run in runs if protocol in run.trained]
    found = dict.fromkeys(
        reason for run in scored[1:] for reason in scored_apart(scored[0], run, protocol)
    )
    return [f"Not comparable: these scores differ in {', '.join(found)}."] if found else []


def unequal_budgets(runs: Sequence[RunSummary]) -> str | None:
    """Sentence that warns of runs with unequal epochs, batches, image sizes or images, or that
    have made unequal shares of their steps; None for equal ones."""
    flat = [dict(leaves(run.config)) for run in runs]
    found = []
    for name in _BUDGET:
        values = dict.fromkeys(str(config[name]) for config in flat if name in config)
        found += [f"{name} ({', '.join(values)})"] if len(values) > 1 else []
    steps = dict.fromkeys(_count(run.steps) for run in runs if run.steps is not None)
    if len(steps) > 1:
        found.append(f"steps made ({', '.join(steps)})")
    return (
        f"These runs had unequal budgets, and their scores are not those of equals: "
        f"{'; '.join(found)}."
        if found
        else None
    )


def _unequal(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Names of the settings in which two configurations differ."""
    first, second = dict(leaves(one)), dict(leaves(other))
    return [
        name
        for name in dict.fromkeys([*first, *second])
        if name not in HARMLESS and first.get(name) != second.get(name)
    ]


def _folders(pool: Sequence[RunSummary]) -> str:
    more = f" and {len(pool) - 1} more" if len(pool) > 1 else ""
    return f"{pool[0].path}{more}"


def _count(steps: int | None) -> str:
    return "unknown" if steps is None else f"{steps:,}"
