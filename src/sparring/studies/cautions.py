"""Cautions of a study: what its numbers cannot show, and what is unequal in it."""

from collections.abc import Iterable, Sequence

from sparring.studies.findings import Finding
from sparring.studies.plan import Study
from sparring.studies.plan_checks import incomplete
from sparring.studies.progress import Progress
from sparring.studies.records import RunName, RunRecord
from sparring.studies.results import Results
from sparring.studies.statistics.differences import counted
from sparring.studies.statistics.paired import what_pairing_bought

FEW_PAIRS = 5
"""Pairs below which the spread between seeds is hardly known."""
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
                *_tuning(results.study),
                *_budgets(results),
                *_machines(results),
                *_origins(results, ignored),
            ]
        )
    )


def _few(findings: Sequence[Finding]) -> Iterable[str]:
    if findings and 0 < len(findings[0].pairs) < FEW_PAIRS:
        yield (
            f"{counted(len(findings[0].pairs), 'pair')} on the main question: the spread from seed "
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
        if alone:
            yield (
                f"{finding.contrast.name}: seed {', '.join(map(str, alone))} has a score of one "
                "arm only and makes no pair."
            )


def _pairing(findings: Sequence[Finding]) -> Iterable[str]:
    for finding in findings:
        if finding.correlation is not None and finding.correlation <= 0:
            bought = what_pairing_bought(finding.pairs.first, finding.pairs.second)
            assert bought is not None  # there is a correlation
            yield f"{finding.contrast.name}: {bought.sentence}"


def _tuning(study: Study) -> Iterable[str]:
    most = max(study.arms, key=lambda arm: arm.tuning.trials)
    fewer = [arm for arm in study.arms if arm.tuning.trials < most.tuning.trials]
    if fewer:
        listed = ", ".join(f"{arm.name} with {arm.tuning.trials}" for arm in fewer)
        yield (
            f"Arms were tuned unequally: {most.name} with {most.tuning.trials} trials, {listed}. "
            "Part of a difference may be the tuning's."
        )
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
        listed = ", ".join(
            f"{name} {' or '.join(f'{count:,}' for count in sorted(counts))}"
            for name, counts in seen.items()
            if counts
        )
        yield f"Runs saw unequal numbers of images: {listed}."


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
    noted: dict[str, list[RunName]] = {}
    for one in results.records:
        if one.note:
            noted.setdefault(one.note, []).append(one.name)
    for note, names in noted.items():
        arms = {name.arm for name in names}
        whose = f" of {names[0].arm}" if len(arms) == 1 else ""
        yield f"{names[0] if len(names) == 1 else counted(len(names), 'run') + whose}: {note}"
    if ignored:
        yield (
            f"{counted(ignored, 'record')} of runs that this plan does not name: left out of all "
            "numbers."
        )
