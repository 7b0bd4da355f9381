"""Cautions of a study: what its numbers cannot show, and what is unequal in it."""

from collections.abc import Iterable, Sequence

from sparring.reporting.sentences import listed
from sparring.studies.findings import Finding
from sparring.studies.plan import Study
from sparring.studies.plan_changes import Change
from sparring.studies.plan_gaps import incomplete, tuning
from sparring.studies.progress import Progress
from sparring.studies.records import RunName, RunRecord
from sparring.studies.results import Results
from sparring.studies.statistics.paired import what_pairing_bought
from sparring.wording import counted

FEW_PAIRS = 5
"""Pairs below which the spread between seeds is hardly known."""
_MOST_NAMED = 3
"""Most runs, or arms, that a note they share names; of more, their number is given."""
SAME_WITHIN_PAIR = ("threads", "processes", "device", "processor", "torch", "python", "sparring")
"""Parts of a run's environment that should be equal within a pair."""


def cautions(
    results: Results, findings: Sequence[Finding], progress: Progress, *, ignored: int
) -> tuple[str, ...]:
    """Sentences that stand beside the numbers, those about the main question first.

    Args:
        results: plan, and the records of its runs.
        findings: the planned contrasts on the primary measure.
        progress: of the study.
        ignored: number of records that belong to no run of the plan.
    """
    return tuple(
        dict.fromkeys(
            [
                *incomplete(results.study),
                *_few(findings),
                *_stopping(findings, progress),
                *_unfinished(results, progress),
                *_unpaired(results, findings),
                *_pairing(findings),
                *tuning(results.study),
                *_seen_tests(results.study),
                *_budgets(results),
                *_machines(results),
                *_origins(results, ignored),
            ]
        )
    )


def of_changes(changes: Iterable[Change]) -> Iterable[str]:
    """What changes of the plan do to its claims, in one sentence; nothing where none could have
    been chosen for the scores.

    Args:
        changes: of the plan since it was first written.
    """
    if late := [change.what for change in changes if change.is_of_the_question]:
        yield (
            f"The plan was changed after scores were there ({'; '.join(late)}). Error rates and "
            "intervals hold for plans that are fixed before: they do not allow for this choice."
        )


def notes(records: Iterable[RunRecord]) -> list[str]:
    """What was written down about runs; a note that several runs share is said once."""
    noted: dict[str, list[RunName]] = {}
    for one in records:
        if one.note:
            noted.setdefault(one.note, []).append(one.name)
    return [f"{_named(names)}: {note}" for note, names in noted.items()]


def _named(names: Sequence[RunName]) -> str:
    """Runs by their names, or how many of which arms if they are many."""
    if len(names) <= _MOST_NAMED:
        return "; ".join(map(str, names))
    arms = list(dict.fromkeys(name.arm for name in names))
    of = ", ".join(arms) if len(arms) <= _MOST_NAMED else f"{len(arms)} arms"
    return f"{len(names)} runs of {of}"


def _few(findings: Sequence[Finding]) -> Iterable[str]:
    pairs = len(findings[0].pairs) if findings else 0
    if pairs == 1:
        yield (
            "One pair on the main question: the spread from seed to seed, and with it every "
            "interval, is not known."
        )
    elif 1 < pairs < FEW_PAIRS:
        yield (
            f"{pairs} pairs on the main question: the spread from seed "
            "to seed, and with it every interval, is known only roughly."
        )


def _stopping(findings: Sequence[Finding], progress: Progress) -> Iterable[str]:
    """What early stopping, or looking before the end, does to the numbers."""
    early = [look for look in progress.looks[:-1] if look.decision.startswith("stop")]
    if early:
        yield (
            f"The study went on after the look at {early[0].planned} pairs, which said "
            f"'{early[0].decision}'. Claims hold; intervals are the wider repeated ones."
        )
    if progress.planned and not progress.reached and findings:
        yield "No look is reached: intervals are ordinary ones, for orientation only."
    if progress.reached > 1 and any(one.p_sign_flip is not None for one in findings):
        yield (
            "Sign-flip p-values, bootstrap intervals and shares of wins do not allow for the looks "
            "before this one; p-values and intervals of the mean do."
        )


def _unfinished(results: Results, progress: Progress) -> Iterable[str]:
    if results.failed:
        names = "; ".join(str(one.name) for one in results.failed)
        yield (
            f"{counted(len(results.failed), 'run')} failed and left no score ({names}). If an arm "
            "fails where it would have scored badly, the other pairs flatter it."
        )
    if progress.pending and not progress.is_over:
        runs = counted(progress.pending, "run")
        fewer = ", fewer if it stops early" if progress.planned else ""
        yield f"The study is not over: its planned contrasts need {runs} more{fewer}."
    lacking = [
        str(one.name)
        for one in results.records
        if one.status == "finished" and not _is_scored(one, results.study)
    ]
    if lacking:
        yield f"Scores of some protocols are missing: {'; '.join(lacking)}."


def _is_scored(record: RunRecord, study: Study) -> bool:
    return all(
        protocol in record.scores.get(test.name, {})
        for test in study.tests
        for protocol in study.protocols
    )


def _unpaired(results: Results, findings: Sequence[Finding]) -> Iterable[str]:
    """Seeds that only one arm of a contrast has, where no more runs are to come for them."""
    made = {record.name for record in results.records}
    lost: dict[int, list[str]] = {}
    for finding in findings:
        measure, arms = finding.measure, (finding.contrast.first, finding.contrast.second)
        scored = [set(results.scores(name, measure)) for name in arms]
        alone = [
            seed
            for seed in sorted(scored[0] ^ scored[1])
            if all(
                RunName(arm=name, seed=seed, share=measure.share, budget=measure.budget) in made
                for name in arms
            )
        ]
        for seed in alone:
            lost.setdefault(seed, []).append(finding.contrast.name)
    for seed, names in lost.items():
        yield f"Seed {seed} has a score of one arm only, and makes no pair, in {listed(names)}."


def _pairing(findings: Sequence[Finding]) -> Iterable[str]:
    for finding in findings:
        if finding.correlation is not None and finding.correlation <= 0:
            bought = what_pairing_bought(finding.pairs.first, finding.pairs.second)
            assert bought is not None  # there is a correlation
            yield f"{finding.contrast.name}: {bought.sentence}"


def _seen_tests(study: Study) -> Iterable[str]:
    """Test sets on which arms were tuned, as far as their names tell."""
    for test in study.tests:
        seen = [
            arm.name
            for arm in study.arms
            if arm.tuning.images and arm.tuning.images in (test.name, test.data or study.data)
        ]
        if seen:
            yield (
                f"{', '.join(seen)} was tuned on the test set {test.name}, so scores on it flatter "
                "that arm."
            )


def _budgets(results: Results) -> Iterable[str]:
    """Arms that saw unequal numbers of images though the plan says that they see the same."""
    if results.study.primary_budget != "images":
        return
    seen = {
        arm.name: {one.images for one in results.of_arm(arm.name, results.primary)}
        for arm in results.study.arms
    }
    if len(set().union(*seen.values())) > 1:
        counts_of = ", ".join(
            f"{name} {' or '.join(f'{count:,}' for count in sorted(counts))}"
            for name, counts in seen.items()
            if counts
        )
        yield f"Runs saw unequal numbers of images: {counts_of}."


def _machines(results: Results) -> Iterable[str]:
    """Parts of the environment that differ within a pair."""
    differing: dict[str, set[str]] = {}
    runs = [one for arm in results.study.arms for one in results.of_arm(arm.name, results.primary)]
    for part in SAME_WITHIN_PAIR:
        by_seed: dict[int, set[str]] = {}
        for one in runs:
            if part in one.environment:
                by_seed.setdefault(one.name.seed, set()).add(str(one.environment[part]))
        if any(len(values) > 1 for values in by_seed.values()):
            differing[part] = set().union(*by_seed.values())
    for part, values in differing.items():
        yield (
            f"Runs of one pair differ in {part} ({', '.join(sorted(values))}); they share their "
            "draws, but not their rounding."
        )


def _origins(results: Results, ignored: int) -> Iterable[str]:
    taken: dict[str, int] = {}
    for one in results.records:
        if one.taken_from:
            taken[one.taken_from] = taken.get(one.taken_from, 0) + 1
    for study, count in taken.items():
        yield (
            f"{counted(count, 'finished run')} taken over from {study}: equal configuration, "
            "images and version."
        )
    yield from notes(results.records)
    if ignored:
        yield (
            f"{counted(ignored, 'record')} of runs that this plan does not name: left out of all "
            "numbers."
        )
