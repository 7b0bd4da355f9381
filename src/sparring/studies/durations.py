"""How long the runs of a study take, by those that are finished."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sparring.studies.attempts import FINISHED, STOPPED, host
from sparring.studies.records import Attempt, RunName, RunRecord

NEARLY = 1.1
"""Ratio up to which two numbers of runs side by side count as equal."""


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """A finished run.

    Attributes:
        name: of the run.
        training: seconds of training.
        rest: seconds of all else, such as scoring; None: not known.
        beside: runs that were made at the same time, this one included; None: it was made on
            another machine, or nobody knows.
    """

    name: RunName
    training: float
    rest: float | None
    beside: float | None


class Durations:
    """How long runs take on this machine.

    A run that shares its processor with others is expected to take longer in proportion.

    Args:
        estimates: seconds of runs without others beside them, for arms of which no run is finished.
        is_cuda: whether the runs are made on a GPU; finished runs of the other kind tell nothing.
    """

    def __init__(
        self, estimates: Mapping[RunName, float] | None = None, *, is_cuda: bool = False
    ) -> None:
        self._estimates, self._is_cuda = dict(estimates or {}), is_cuda
        self._samples: list[_Sample] = []

    def learn(self, record: RunRecord, *, beside: float | None = None) -> None:
        """Take a finished run into account; a failed one tells nothing.

        Args:
            record: of the run.
            beside: runs that were made at the same time, this one included.
        """
        is_cuda = str(record.environment.get("device", "cpu")) != "cpu"
        if record.status != "finished" or is_cuda != self._is_cuda:
            return
        made = [one for one in record.attempts if one.outcome in (FINISHED, STOPPED)]
        whole = sum(one.seconds for one in made)
        is_here = bool(made) and made[-1].host == host()
        self._samples.append(
            _Sample(
                name=record.name,
                training=record.seconds,
                rest=max(0.0, whole - record.seconds) if made else None,
                beside=beside if is_here else None,
            )
        )

    def learn_all(self, records: Iterable[RunRecord], attempts: Sequence[Attempt]) -> None:
        """Take the finished runs of a study into account.

        Args:
            records: of the study.
            attempts: all that the study knows of, by which it is seen which runs were made at the
                same time.
        """
        for record in records:
            last = record.attempts[-1] if record.attempts else None
            self.learn(record, beside=None if last is None else side_by_side(last, attempts))

    def seconds(self, name: RunName, *, workers: int, room: int) -> float | None:
        """Seconds that a run takes; None where nothing tells.

        They are the longest of the arm's finished runs that were made as this one would be: on this
        machine, with about as many others beside them. Else those of the next best runs.

        Args:
            name: of the run.
            workers: runs at the same time, this one included.
            room: runs that do not slow each other down.
        """
        own = [one for one in self._samples if _arm(one.name) == _arm(name)]
        if not own:
            alone = self._estimates.get(name)
            return None if alone is None else alone * max(1.0, workers / room)
        known = [one for one in own if one.beside is not None] or own
        factors = [_factor(one.beside, workers=workers, room=room) for one in known]
        nearest = min(max(factor, 1 / factor) for factor in factors)
        rest = max((one.rest for one in self._samples if one.rest is not None), default=0.0)
        return max(
            factor
            * (
                one.training * name.share / one.name.share
                + (rest if one.rest is None else one.rest)
            )
            for factor, one in zip(factors, known, strict=True)
            if max(factor, 1 / factor) <= NEARLY * nearest
        )


def side_by_side(attempt: Attempt, attempts: Iterable[Attempt]) -> float:
    """Mean number of attempts of one machine while one of them lasted, itself included.

    Args:
        attempt: one of them.
        attempts: all, in any order; those of other machines do not count.
    """
    with suppress(ValueError):
        end = attempt.began + attempt.seconds
        shared = [
            min(end, one.began + one.seconds) - max(attempt.began, one.began)
            for one in attempts
            if one.host == attempt.host
        ]
        return max(1.0, sum(max(0.0, span) for span in shared) / max(attempt.seconds, 1e-3))
    return 1.0


def _arm(name: RunName) -> tuple[str, str]:
    return name.arm, name.budget


def _factor(beside: float | None, *, workers: int, room: int) -> float:
    """How much longer a run takes now than with so many others beside it."""
    if beside is None:
        return 1.0
    return max(1.0, workers / room) / max(1.0, beside / room)
