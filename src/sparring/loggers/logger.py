"""Interface of a logger: what shows the curves of a run somewhere else, such as TensorBoard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from sparring.measures.metric import Metric

End: TypeAlias = Literal["finished", "interrupted", "failed"]
"""How a training ended: at its last step, by a signal after which it can be resumed, or by an
error."""


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """A run as a logger sees it when its training begins or goes on.

    Attributes:
        name: last part of the run folder's path.
        folder: absolute path of the run folder, where a logger may keep files of its own.
        settings: resolved settings by dotted name, such as {"bank.size": 4096}.
        text: the same settings as TOML.
        metrics: meanings and titles of the numbers by name; a number may have none.
        first_step: step that is made next; 0 unless the run is resumed.
        kept: what `open` returned when this run was logged before; None: it was not.
        report: tells the user one line.
    """

    name: str
    folder: Path
    settings: Mapping[str, object]
    text: str
    metrics: Mapping[str, Metric]
    first_step: int
    kept: str | None
    report: Callable[[str], None] = field(repr=False)


class RunLogger(Protocol):
    """Receiver of a run's settings and metrics.

    All calls come from one thread, which is not that of the training, in the order open, log,
    close. What one of them raises turns the logger off, after a last `close`, and the training goes
    on.
    """

    def open(self, run: LoggedRun) -> str:
        """Begin, or go on with what `run.kept` names.

        Returns:
            a text that names these curves to a later `open` of the same run. If it differs from
            `run.kept`, the curves are new, and get the records before `run.first_step` too.
        """

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Receive the finite numbers of one record of metrics.jsonl, without its step."""

    def close(self, end: End) -> None:
        """End; the same run may be opened again later."""
