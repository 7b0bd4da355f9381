"""What came out of one run of a study: a small JSON file that is kept.

Tables, intervals and figures are computed from these records alone; the run folders are needed for
galleries and for nothing else.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Self, TypeAlias

from sparring.config import Tree
from sparring.studies.plan import Budget, Study
from sparring.studies.typed_json import from_json

Status: TypeAlias = Literal["finished", "failed"]


@dataclass(frozen=True, kw_only=True)
class RunName:
    """Place of a run in its study: which arm, which pair, how many images, which budget."""

    arm: str
    seed: int
    share: float = 1.0
    budget: Budget = "images"

    def __str__(self) -> str:
        share = "" if self.share == 1.0 else f", {100 * self.share:g} % of the images"
        time = ", equal time" if self.budget == "time" else ""
        return f"{self.arm}, seed {self.seed}{share}{time}"


def planned_runs(study: Study, seeds: Sequence[int] | None = None) -> list[RunName]:
    """Places of all runs of a plan with these seeds, early stopping left aside; None: all seeds."""
    return [
        RunName(arm=arm.name, seed=seed, share=share, budget=budget)
        for seed in (study.seeds if seeds is None else seeds)
        for budget in study.budgets
        for share in study.shares
        for arm in study.arms
    ]


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A look of the monitor while the run trained.

    Attributes:
        images: images seen so far.
        seconds: seconds of training so far, over all attempts.
        measures: the monitor's measures by name, such as `knn_accuracy` in [0, 1].
    """

    images: int
    seconds: float
    measures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try to make the run.

    Attributes:
        started: when, ISO 8601.
        host: name of the machine, without its domain.
        seconds: how long it took.
        outcome: `finished`, or in one line why it ended.
    """

    started: str
    host: str
    seconds: float
    outcome: str

    @property
    def began(self) -> float:
        """When it started, in seconds since the epoch by this machine's clock.

        Raises:
            ValueError: if `started` is no date and time.
        """
        return float(time.mktime(time.strptime(self.started[:19], "%Y-%m-%dT%H:%M:%S")))


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run of a study and its scores.

    Attributes:
        name: its place in the study.
        key: hash of everything that decides its result: configuration, images, protocols, threads,
            version; equal keys mean equal runs, in whatever study.
        status: whether it has scores.
        scores: {test set: {protocol: score in [0, 1]}} of the trained encoder.
        start_scores: the same of the encoder from which the run started.
        draws: {test set: {protocol: scores of each draw of labels}}, for protocols that draw them.
        curve: looks of the monitor.
        opponent: the method's metrics at each record: [{"step": ..., name: value}].
        steps: steps that were made.
        images: images seen.
        seconds: wall-clock seconds of training.
        cpu_seconds: CPU seconds of training; None if not known.
        peak_bytes: peak memory; None if not known.
        predictions: {test set: {protocol: file below the study's folder}}.
        config: the resolved configuration.
        environment: of the run folder: command, versions, processor, device.
        attempts: every try, the last one last.
        folder: run folder below the study's; empty if it is not kept.
        taken_from: study from which the finished run was taken; empty if it was made here.
        note: a sentence that must stand beside the numbers; empty for none.
    """

    name: RunName
    key: str
    status: Status
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    start_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    draws: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    curve: tuple[CurvePoint, ...] = ()
    opponent: tuple[Mapping[str, float], ...] = ()
    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    cpu_seconds: float | None = None
    peak_bytes: int | None = None
    predictions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config: Tree = field(default_factory=dict)
    environment: Tree = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    folder: str = ""
    taken_from: str = ""
    note: str = ""

    def encoded(self) -> bytes:
        """Content of the record's JSON file."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def decoded(cls, content: bytes) -> Self:
        """The record of a JSON file.

        Raises:
            ValueError: if the content is no record.
        """
        try:
            found = from_json(cls, content)
        except ValueError as error:
            raise ValueError(f"no record of a run: {error}") from None
        for measure in (found.scores, found.start_scores):
            if not all(math.isfinite(score) for one in measure.values() for score in one.values()):
                raise ValueError("no record of a run: a score is no finite number")
        return found
