"""A check, and what is said when some fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One promise of the contract.

    Attributes:
        name: the promise as a sentence.
        run: raises AssertionError if it is not kept.
        is_slow: takes more than a few seconds.
    """

    name: str
    run: Callable[[], None]
    is_slow: bool = False


def run_all(checks: Sequence[Check], *, what: str) -> None:
    """Run every check and tell of all that fail.

    Args:
        checks: run in order.
        what: name of what is checked.

    Raises:
        AssertionError: one line per promise that is not kept.
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
