"""How often each run of a command was tried, and what is done when a try fails, for all engines."""

from collections.abc import Mapping, Sequence

from sparring.evaluation.catalogue import short_title_of
from sparring.studies.attempts import KILLED, STOPPED, AttemptLog, Failure
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.records import RunName, RunRecord
from sparring.training.listener import Listener

MOST_SPARED = 10
"""Deaths of a process before its run began that cost the run no try."""


class Tries:
    """Answers of the runs of one command.

    Args:
        orders: of all runs.
        retries: how often a run that failed is tried again.
        listener: told about every run that ends.
    """

    def __init__(
        self, orders: Sequence[RunOrder], *, retries: int, listener: Listener | None
    ) -> None:
        self._orders, self._retries, self._listener = tuple(orders), retries, listener
        self._records: dict[RunName, RunRecord] = {}
        self._failures = dict.fromkeys((one.name for one in orders), 0)
        self._spared = dict.fromkeys(self._failures, 0)
        self._before: Mapping[RunName, int] = {
            one.name: len(AttemptLog(one).read()) for one in orders
        }

    @property
    def records(self) -> list[RunRecord]:
        """Records of the runs that have ended, in the order of their orders."""
        return [self._records[one.name] for one in self._orders if one.name in self._records]

    def keep(self, record: RunRecord) -> None:
        """Take the record of a run that was finished before."""
        self._records[record.name] = record

    def takes(self, order: RunOrder, answer: RunRecord | Failure) -> bool:
        """Whether a run has to be tried again after this answer.

        Args:
            order: of the run.
            answer: what its attempt gave.
        """
        if isinstance(answer, Failure):
            return self._is_tried_again(order, answer)
        self._records[order.name] = answer
        number = f"{len(self._records):,} of {len(self._orders):,}"
        self._tell(f"{order.name}: {_result(order, answer)} ({number})")
        return False

    def loses(self, order: RunOrder, reason: str = KILLED, *, spares_unbegun: bool = False) -> bool:
        """Whether a run has to be tried again whose process ended without an answer.

        Args:
            order: of the run.
            reason: what is known about it.
            spares_unbegun: whether a try that had not begun costs none, since the process may have
                died of another run.
        """
        if spares_unbegun and self._spared[order.name] < MOST_SPARED:
            AttemptLog(order).close_open(reason)
            if self._num_logged(order) <= self._failures[order.name]:
                self._spared[order.name] += 1
                return True
        return self._is_tried_again(order, Failure(reason=reason))

    def _num_logged(self, order: RunOrder) -> int:
        """Tries of this command that began, those that were asked to stop left out."""
        made = AttemptLog(order).read()[self._before[order.name] :]
        return sum(one.outcome != STOPPED for one in made)

    def _is_tried_again(self, order: RunOrder, failure: Failure) -> bool:
        log = AttemptLog(order)
        log.close_open(failure.reason)
        self._failures[order.name] += 1
        logged = self._num_logged(order)
        if logged < self._failures[order.name]:
            log.add(failure.reason)
        num_tries = max(self._failures[order.name], logged)
        if not failure.is_final and num_tries <= self._retries:
            self._tell(
                f"{order.name}: try {num_tries} of {1 + self._retries} failed ({failure.reason}); "
                "tried again from its checkpoint"
            )
            return True
        self._give_up(order, failure, num_tries)
        return False

    def _give_up(self, order: RunOrder, failure: Failure, num_tries: int) -> None:
        folder = StudyFolder(order.study)
        run = folder.run(order.name)
        record = RunRecord(
            name=order.name,
            key=order.key,
            status="failed",
            attempts=AttemptLog(order).read(),
            folder=str(run.relative_to(folder.path)) if run.is_dir() else "",
        )
        folder.write_record(record)
        self._records[order.name] = record
        times = "time" if num_tries == 1 else "times"
        self._tell(f"{order.name}: given up after it failed {num_tries} {times}: {failure.reason}")

    def _tell(self, line: str) -> None:
        if self._listener is not None:
            self._listener.report(line)
            self._listener.count("runs", len(self._records), len(self._orders))


def _result(order: RunOrder, record: RunRecord) -> str:
    """Score of a finished run on the first test set by the first protocol, in points, and how long
    all its attempts took."""
    # It imports torch, which the engines need not, and the runs have by then.
    from sparring.training.opponent_pretraining import lasting

    protocol = order.protocols[0]
    test = order.tests[0].name if order.tests else ""
    score = record.scores.get(test, {}).get(protocol)
    parts = [] if score is None else [f"{short_title_of(protocol)} {100 * score:.1f}"]
    if seconds := sum(one.seconds for one in record.attempts):
        parts.append(lasting(seconds) if seconds >= 120 else f"{seconds:.0f} s")
    return ", ".join(["finished", *parts])
