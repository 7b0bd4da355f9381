"""A comparison whose runs are drawn, not trained, and whose cost is not measured."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_studies import made_record

from sparring.api import study_parts
from sparring.api.study_parts import Parts
from sparring.planning.study_cost import ArmCost
from sparring.studies.engines.time_limit import TimeLimit
from sparring.studies.findings import Analysis
from sparring.studies.folder import StudyFolder
from sparring.studies.history import read_study
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Study
from sparring.studies.records import RunName, RunRecord

GIB = 2**30


class StandIns:
    """Parts of a comparison that remember what they were asked.

    Attributes:
        ran: runs that were made, a list for each call.
        engines: what each call was given besides runs.
        orders: orders of the last call.
        measured: whether each measurement was exact.
        fails: runs that fail for good.
        stop_at: number of runs of a call after which the user presses Ctrl-C.
        while_running: called by each call.
        limits: limit of time that each call was given.
        make: makes the runs of a call.
        points: points of an arm's run with a seed above the level of all.
    """

    def __init__(self) -> None:
        self.ran: list[list[RunName]] = []
        self.engines: list[dict[str, Any]] = []
        self.orders: list[RunOrder] = []
        self.measured: list[bool] = []
        self.fails: set[RunName] = set()
        self.stop_at: int | None = None
        self.while_running: Callable[[], object] = lambda: None
        self.limits: list[TimeLimit | None] = []
        self.make: Callable[[Sequence[RunOrder]], list[RunRecord]] = self._make
        self.points: Callable[[str, int], float] = lambda arm, seed: -1.0 * (arm == "adco")

    def parts(self, whole: Parts) -> Parts:
        """The library's parts with these in their places."""
        return replace(
            whole,
            measured=self._measured,
            run=self._run,
            call=_never,
            write_page=_write_page,
            names_beside=lambda analysis, folder, name: [],
        )

    def _measured(self, study: Study, orders: object, **how: Any) -> list[ArmCost]:
        self.measured.append(how["exact"])
        return [
            ArmCost(
                arm=arm.name,
                measured_as=arm.name,
                step_seconds=0.5 + 0.5 * number,
                training_seconds=600.0,
                peak_bytes=GIB,
                disk_bytes=2**20,
                images=1000,
                room_bytes=64 * GIB,
                is_rough=not how["exact"],
            )
            for number, arm in enumerate(study.arms)
        ]

    def _run(self, orders: Sequence[RunOrder], **how: Any) -> list[RunRecord]:
        self.engines.append({name: how[name] for name in ("engine", "workers", "options")})
        self.limits.append(how["limit"])
        self.ran.append([])
        self.orders = list(orders)
        self.while_running()
        return self.make(orders)

    def _make(self, orders: Sequence[RunOrder]) -> list[RunRecord]:
        folder, made = StudyFolder(orders[0].study), list[RunRecord]()
        study = read_study(folder)
        for order in orders:
            made.append(self._record(study, order))
            self.ran[-1].append(order.name)
            folder.write_record(made[-1])
            if len(made) == self.stop_at:
                raise KeyboardInterrupt
        return made

    def _record(self, study: Study, order: RunOrder) -> RunRecord:
        draw = np.random.default_rng(order.name.seed)
        arm = study.arm(order.name.arm)
        points = float(draw.normal()) + self.points(arm.name, order.name.seed)
        record = made_record(study, arm, order.name, points=points, draw=draw)
        if order.name in self.fails:
            attempt = replace(record.attempts[0], outcome="the worker was killed")
            return RunRecord(name=order.name, key=order.key, status="failed", attempts=(attempt,))
        return replace(record, key=order.key)


def _never(order: RunOrder) -> RunRecord:
    raise AssertionError("stand-ins make no run")


def _write_page(analysis: Analysis, folder: StudyFolder, out: Path) -> Path:
    out.write_text(analysis.headline)
    return out


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Parts of every comparison of this test."""
    found, whole = StandIns(), study_parts.load_parts
    monkeypatch.setattr(study_parts, "load_parts", lambda: found.parts(whole()))
    return found
