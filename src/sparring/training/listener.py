"""Interface through which functions report progress; the library itself never prints."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from sparring.optim.schedule import Position


class Listener(Protocol):
    """Receiver of progress reports of a long-running function."""

    def report(self, line: str) -> None:
        """Receive one line of text."""

    def count(self, what: str, done: int, total: int) -> None:
        """Receive the progress of a long piece of work."""

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Receive a record of training metrics, with a warning or None."""


def counter(what: str, listener: Listener | None) -> Callable[[int, int], None] | None:
    """Progress function for one long piece of work; it takes the amount done and the total."""
    return None if listener is None else partial(listener.count, what)
