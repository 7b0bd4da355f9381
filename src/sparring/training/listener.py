"""Who is told what happens while a function works; the library never prints."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from sparring.optim.schedule import Position


class Listener(Protocol):
    """Is told what happens while a function works."""

    def report(self, line: str) -> None:
        """One line worth reading."""

    def count(self, what: str, done: int, total: int) -> None:
        """Something long has come so far."""

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """A record of training, with a warning or None."""


def counter(what: str, listener: Listener | None) -> Callable[[int, int], None] | None:
    """Progress function of one long piece of work, taking what is done and the total."""
    return None if listener is None else partial(listener.count, what)
