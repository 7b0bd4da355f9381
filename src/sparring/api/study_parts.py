"""The parts of a comparison that take long or draw pictures, as the functions that it calls.

They are loaded late, since statistics and pages take a second to import, and handed over as values,
so that a comparison can be tried without training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.planning.study_cost import ArmCost
from sparring.studies.findings import Analysis
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunCall
from sparring.studies.records import RunRecord
from sparring.studies.results import Results


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Functions of a comparison.

    Attributes:
        measured: what one run of each arm takes; see `measured_arms`.
        next_pairs: number of pairs that have to be run; None when the study is over.
        run: makes runs with an engine and writes their records; see `run_orders`.
        call: makes one run.
        analyse: what the scores say.
        write_page: writes a study's HTML page, and its tables and figures beside it.
        names_beside: names of the tables and figures beside a page that is called so.
    """

    measured: Callable[..., Sequence[ArmCost]]
    next_pairs: Callable[[Results], int | None]
    run: Callable[..., Sequence[RunRecord]]
    call: RunCall
    analyse: Callable[..., Analysis]
    write_page: Callable[[Analysis, StudyFolder, Path], Path]
    names_beside: Callable[[Analysis, StudyFolder, str], Sequence[str]]


def load_parts() -> Parts:
    """The library's own parts."""
    from sparring.api.study_runs import make_run
    from sparring.planning.arm_measurement import measured_arms
    from sparring.studies.analysis import analyse
    from sparring.studies.engines.engine import run_orders
    from sparring.studies.page.beside import names_beside
    from sparring.studies.page.page import write_study_page
    from sparring.studies.progress import next_pairs

    return Parts(
        measured=measured_arms,
        next_pairs=next_pairs,
        run=run_orders,
        call=make_run,
        analyse=analyse,
        write_page=write_study_page,
        names_beside=names_beside,
    )
