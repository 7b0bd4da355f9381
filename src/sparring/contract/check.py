"""Checks of the contract, and the error that lists those that fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One check of the contract.

    Attributes:
        name: the required property as a sentence.
        run: function that raises AssertionError if the check fails.
        is_slow: whether it takes a second or more.
    """

    name: str
    run: Callable[[], None]
    is_slow: bool = False


def run_all(checks: Sequence[Check], *, what: str) -> None:
    """Run every check and report all that fail.

    Args:
        checks: checks, in the order in which they run.
        what: name of the checked method, opponent or protocol.

    Raises:
        AssertionError: if any check fails; one line per failed check.
    """
    failed = []
    for check in checks:
        try:
            check.run()
        except Exception as error:
            reason = " ".join(str(error).split()) or "no reason given"
            failed.append(f"- {check.name}: {type(error).__name__}: {reason[:500]}")
    if failed:
        count = f"{len(failed)} of {len(checks)}"
        raise AssertionError(
            "\n".join([f"{what} breaks {count} promises of the contract", *failed])
        )
