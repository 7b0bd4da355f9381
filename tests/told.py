"""A listener for tests, which keeps what it is told."""


class Told:
    """Listener that keeps the lines and the counts that it is told, and no records."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.counts: list[tuple[str, int, int]] = []

    def report(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)

    def count(self, what: str, done: int, total: int) -> None:
        """Keep a count."""
        self.counts.append((what, done, total))

    def observe(self, *_: object) -> None:
        """Keep nothing of a record."""
