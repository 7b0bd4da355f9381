"""The parts of a comparison as the functions that it calls; here they are found, and nowhere else.

They are loaded late, since statistics and pages take a second to import, and handed over as values,
so that a comparison can be tried with others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.planning.study_cost import ArmCost
from sparring.studies.findings import Analysis
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunCall, RunOrder
from sparring.studies.plan import Arm, Study
from sparring.studies.records import RunRecord
from sparring.studies.results import Results


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Functions of a comparison.

    Attributes:
        arms_of: arms of methods, with twins and controls.
        read_plan: plan of a TOML file.
        refusals: reasons for which a plan is not started.
        cautions: what a plan cannot show.
        write_plan: writes plan and history of a study.
        orders: runs of the first pairs of a plan.
        measured: what one run of each arm takes.
        next_pairs: number of pairs that have to be run; None when the study is over.
        run: makes runs with an engine; every record is written as soon as there is one.
        call: what makes one run.
        reused: records of runs that other studies have finished.
        analyse: what the scores say.
        write_page: writes a study's HTML page.
        write_tables: writes a study's tables beside the page of this name.
    """

    arms_of: Callable[..., Sequence[Arm]]
    read_plan: Callable[[Path], Study]
    refusals: Callable[[Study], Sequence[str]]
    cautions: Callable[[Study], Sequence[str]]
    write_plan: Callable[[StudyFolder, Study], object]
    orders: Callable[..., Sequence[RunOrder]]
    measured: Callable[..., Sequence[ArmCost]]
    next_pairs: Callable[[Results], int | None]
    run: Callable[..., Sequence[RunRecord]]
    call: RunCall
    reused: Callable[[Sequence[RunOrder], Sequence[Path]], Sequence[RunRecord]]
    analyse: Callable[..., Analysis]
    write_page: Callable[[Analysis, StudyFolder, Path], Path]
    write_tables: Callable[[Analysis, Path], Sequence[Path]]


def load_parts() -> Parts:
    """The library's own parts."""
    names: dict[str, Any] = {}
    return Parts(**names)
