"""The page, the tables and the figures of a study, written from its plan and its records."""

from collections.abc import Sequence
from pathlib import Path

from sparring.api import study_parts
from sparring.api.study_parts import Parts
from sparring.errors import UsageError
from sparring.studies import history
from sparring.studies.findings import Analysis
from sparring.studies.folder import StudyFolder
from sparring.studies.results import Results


def only_study(paths: Sequence[Path]) -> StudyFolder | None:
    """The study that the paths name; None if they name runs.

    Raises:
        UsageError: if there is a study among several paths.
    """
    studies = [path for path in paths if StudyFolder(path).is_study()]
    if not studies:
        return None
    if len(paths) > 1:
        raise UsageError(
            f"{studies[0]} is a study, and a page shows one study or several runs: name it alone, "
            "or name run folders only"
        )
    return StudyFolder(studies[0])


def report_study(folder: StudyFolder, out: Path) -> list[Path]:
    """Write the page of a study, tables and figures beside it; run folders may be missing.

    Args:
        folder: of the study.
        out: HTML file to write.

    Returns:
        The page, then tables and figures.

    Raises:
        RunError: if a record is damaged.
    """
    parts = study_parts.load_parts()
    return write_outputs(parts, parts.analyse(results_of(folder), folder), folder, out)


def results_of(folder: StudyFolder) -> Results:
    """Plan and records of a study, without records of runs that the plan no longer means.

    Raises:
        RunError: if it is no study, or a file of it is damaged.
    """
    study = history.read_study(folder)
    return Results(study=study, records=history.current(folder, folder.read_records()))


def write_outputs(parts: Parts, analysis: Analysis, folder: StudyFolder, out: Path) -> list[Path]:
    """Write what a study says as a page, and as tables and figures beside it."""
    page = parts.write_page(analysis, folder, out)
    names = parts.names_beside(analysis, folder, page.stem)
    return [page, *map(page.with_name, names)]
