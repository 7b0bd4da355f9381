"""A comparison whose runs are drawn, not trained, and the parts that make it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_studies import made_record

from sparring.api import study_parts
from sparring.api.study_parts import Parts
from sparring.config import read_toml, toml_text
from sparring.planning.study_cost import ArmCost, names_of
from sparring.studies.findings import Analysis, Finding, Interval
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Arm, Study
from sparring.studies.records import RunName, RunRecord
from sparring.studies.results import Results

GIB = 2**30


class StandIns:
    """Parts of a comparison that remember what they were asked.

    Attributes:
        ran: runs that were made, a list for each call.
        measured: whether each measurement was exact.
        fails: runs that fail for good.
        stop_at: number of finished runs at which the user presses Ctrl-C.
        key: what the keys of all orders end with, such as a version.
    """

    def __init__(self) -> None:
        self.ran: list[list[RunName]] = []
        self.engines: list[dict[str, Any]] = []
        self.measured: list[bool] = []
        self.fails: set[RunName] = set()
        self.stop_at: int | None = None
        self.key = "1"
        self.refusals: list[str] = []
        self.twins: object = None
        self.while_running: Callable[[], object] = lambda: None

    def parts(self) -> Parts:
        """The parts."""
        return Parts(
            arms_of=self._arms_of,
            read_plan=lambda path: Study.build(read_toml(path)),
            refusals=lambda study: self.refusals,
            cautions=lambda study: ["three seeds are few"] if len(study.seeds) < 4 else [],
            write_plan=_write_plan,
            orders=self._orders,
            measured=self._measured,
            next_pairs=_next_pairs,
            run=self._run,
            call=_never,
            reused=self._reused,
            analyse=_analyse,
            write_page=_write_page,
            write_tables=lambda analysis, out: [],
        )

    def _arms_of(self, methods: Sequence[str], twins: object) -> list[Arm]:
        self.twins = twins
        return [Arm(name=name, method=name) for name in methods]

    def _orders(
        self, study: Study, folder: StudyFolder, *, pairs: int | None = None
    ) -> list[RunOrder]:
        return [
            RunOrder(
                name=name,
                key=f"{name} {study.epochs} {self.key}",
                study=str(folder.path),
                data=study.data,
                train={"method": study.arm(name.arm).method},
            )
            for name in names_of(study, study.seeds[:pairs])
        ]

    def _measured(self, study: Study, orders: object, **how: Any) -> list[ArmCost]:
        self.measured.append(how["exact"])
        return [
            ArmCost(
                arm=arm.name,
                measured_as=arm.name,
                step_seconds=0.5,
                training_seconds=600.0,
                peak_bytes=GIB,
                disk_bytes=2**20,
                images=1000,
                room_bytes=64 * GIB,
            )
            for arm in study.arms
        ]

    def _run(self, orders: Sequence[RunOrder], **how: Any) -> list[RunRecord]:
        self.engines.append({"engine": how["engine"], "workers": how["workers"]})
        self.ran.append([])
        self.while_running()
        made = []
        study = Study.build(read_toml(how["folder"].plan))
        for order in orders:
            record = self._record(study, order)
            made.append(record)
            self.ran[-1].append(order.name)
            how["folder"].write_record(record)
            if len(made) == self.stop_at:
                raise KeyboardInterrupt
        return made

    def _record(self, study: Study, order: RunOrder) -> RunRecord:
        draw = np.random.default_rng(order.name.seed)
        arm = study.arm(order.name.arm)
        points = float(draw.normal()) + list(study.arms).index(arm)
        record = made_record(study, arm, order.name, points=points, draw=draw)
        if order.name in self.fails:
            attempt = replace(record.attempts[0], outcome="the worker was killed")
            return RunRecord(name=order.name, key=order.key, status="failed", attempts=(attempt,))
        return replace(record, key=order.key)

    def _reused(self, orders: Sequence[RunOrder], studies: Sequence[Path]) -> list[RunRecord]:
        known = [one for path in studies for one in StudyFolder(path).read_records()]
        keys = {one.key: one for one in known if one.status == "finished"}
        return [
            replace(keys[order.key], taken_from="elsewhere")
            for order in orders
            if order.key in keys
        ]


def _write_plan(folder: StudyFolder, study: Study) -> None:
    folder.plan.write_text(toml_text(study.tree()))


def _next_pairs(results: Results) -> int | None:
    """The first look, then the next, until all seeds have a record of every arm."""
    study = results.study
    for pairs in (*study.looks, len(study.seeds)):
        if any(
            record is None or record.status == "failed"
            for name in names_of(study, study.seeds[:pairs])
            for record in (results.record(name),)
        ):
            return pairs
    return None


def _never(order: RunOrder) -> RunRecord:
    raise AssertionError("stand-ins make no run")


def _analyse(results: Results, folder: object = None) -> Analysis:
    findings = tuple(
        Finding(
            contrast=contrast,
            measure=results.primary,
            pairs=(pairs := results.pairs(contrast.first, contrast.second, results.primary)),
            mean=float(pairs.differences.mean()) if len(pairs) else None,
            sd=None,
            interval=Interval(low=-1.5, high=0.25),
            p=0.2,
            p_holm=0.2,
            bootstrap=None,
            p_sign_flip=None,
            probability=None,
            p_equivalence=0.3,
            correlation=0.5,
            looks=(),
            conclusion="no evidence",
            sentence="",
            power="4 more pairs would settle a difference of 1 point.",
        )
        for contrast in results.study.planned_contrasts()
    )
    return Analysis(
        results=results,
        findings=findings,
        further=(),
        attributions=(),
        variance={},
        headline="Whether the opponent helps here cannot be told from these pairs.",
        cautions=(),
    )


def _write_page(analysis: Analysis, folder: StudyFolder, out: Path) -> Path:
    out.write_text(analysis.headline)
    return out


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Parts of every comparison of this test."""
    found = StandIns()
    monkeypatch.setattr(study_parts, "load_parts", found.parts)
    return found
