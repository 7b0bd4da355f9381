"""What a study's records say: findings, attributions, sources of variance, headline, cautions."""

from sparring.studies import history
from sparring.studies.attributions import attributions
from sparring.studies.cautions import cautions, of_changes
from sparring.studies.contrasts import further_findings, planned_findings
from sparring.studies.findings import Analysis
from sparring.studies.folder import StudyFolder
from sparring.studies.headline import headline
from sparring.studies.progress import next_pairs, progress
from sparring.studies.results import Results
from sparring.studies.statistics.variance import sources_of_variance

__all__ = ["analyse", "next_pairs"]


def analyse(
    results: Results, folder: StudyFolder | None = None, *, resamples: int = 10_000
) -> Analysis:
    """Everything a study's page and tables say, from whatever records there are.

    Records of runs that the plan does not name are left out of all numbers.

    Args:
        results: plan and records.
        folder: of the study, for what only stored predictions can tell; None: without them.
        resamples: of bootstrap intervals; 0: none are made.

    Raises:
        ConfigError: for looks without bounds in the table.
        RunError: if the folder's history.json cannot be read.
    """
    kept = _of_plan(results)
    state = progress(kept)
    findings = planned_findings(kept, state, resamples=resamples)
    ignored = len(results.records) - len(kept.records)
    return Analysis(
        results=kept,
        findings=findings,
        further=further_findings(kept, state),
        attributions=attributions(kept, state),
        variance={
            one.contrast.name: sources_of_variance(kept, one.contrast, one.measure, folder)
            for one in findings
        },
        headline=headline(findings, kept.study, state),
        cautions=(
            *(of_changes(history.changes(folder)) if folder is not None else ()),
            *cautions(kept, findings, state, ignored=ignored),
            *(history.cautions(folder) if folder is not None else ()),
        ),
    )


def _of_plan(results: Results) -> Results:
    """The results without records of runs that the plan does not name."""
    study = results.study
    arms, seeds = {arm.name for arm in study.arms}, set(study.seeds)
    kept = tuple(
        one
        for one in results.records
        if one.name.arm in arms
        and one.name.seed in seeds
        and one.name.share in study.shares
        and one.name.budget in study.budgets
    )
    return Results(study=study, records=kept)
