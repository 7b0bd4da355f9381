"""One run of a study as a call that can be made anywhere: plain values, no open files."""

from dataclasses import dataclass, field
from typing import Protocol

from sparring.config import Tree
from sparring.studies.plan import ScoredSet
from sparring.studies.records import RunName, RunRecord


@dataclass(frozen=True, kw_only=True)
class RunOrder:
    """What one run of a study has to do. It can be pickled.

    Attributes:
        name: place in the study.
        key: see `RunRecord.key`.
        study: folder of the study, absolute, as every machine sees it.
        data: images to train on.
        train: further arguments of `sparring.train` besides `data` and `out`.
        protocols: by which it is scored.
        protocol_settings: their settings.
        tests: on what it is scored.
        threads: of the process that makes it.
    """

    name: RunName
    key: str
    study: str
    data: str
    train: Tree = field(default_factory=dict)
    protocols: tuple[str, ...] = ("knn", "linear")
    protocol_settings: Tree = field(default_factory=dict)
    tests: tuple[ScoredSet, ...] = ()
    threads: int = 1


class RunCall(Protocol):
    """A function of a module that makes a run and gives its record."""

    def __call__(self, order: RunOrder) -> RunRecord:
        """Make the run, or go on with it where an earlier call was interrupted."""
