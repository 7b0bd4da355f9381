"""Ends of a failed command: one line on standard error, and an exit code.

0: done, 1: failed, 2: wrong usage.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from sparring.errors import SparringError
from sparring.machine_memory import is_out_of_memory


@contextmanager
def exit_on_interrupt(run: Path) -> Iterator[None]:
    """Exit on Ctrl-C with the command that continues the training."""
    try:
        yield
    except KeyboardInterrupt as stop:
        num_lost = getattr(stop, "num_lost", 0)  # of a `StoppedAtOnce`, whose module imports torch
        steps = f"{num_lost:,} steps" if num_lost != 1 else "1 step"
        are = "are" if num_lost != 1 else "is"
        if (run / "checkpoint" / "last.pt").exists():
            lost = f" at once, and {steps} since the last checkpoint {are} lost" if num_lost else ""
            message = f"stopped{lost}; continue with `sparring resume {run}`"
        elif num_lost:
            message = (
                f"stopped at once, before the first checkpoint: {steps} {are} lost (one signal "
                f"alone saves first); train again with --resume-if-exists, or another --out"
            )
        else:
            message = "stopped before the first step; nothing is lost"
        exit_with_message(message, 1, stop)


def exit_with_error(error: Exception) -> NoReturn:
    """Exit with one line about an error, and the exit code of its kind."""
    if isinstance(error, SparringError):
        exit_with_message(str(error), error.exit_code, error)
    if hasattr(error, "format_message"):  # typer has its own copy of click's exceptions
        message = " ".join(str(error.format_message()).split())
        if not message:  # no command given: the help has been shown
            raise SystemExit(2)
        message = message.partition(", unable to parse")[0]
        exit_with_message(message.replace(": Input should be", ": it should be") + _got(error), 2)
    if isinstance(error, OSError) and error.errno is not None:
        exit_with_message(
            f"{error.strerror}: {error.filename}" if error.filename else str(error), 1, error
        )
    if is_out_of_memory(error):
        first, _, _ = str(error).partition("\n")  # PyTorch's stack follows
        exit_with_message(f"out of memory: {first}; take a smaller batch, image or network", 1)
    exit_with_message(
        f"unexpected {type(error).__name__}: {error}; run again with --debug to see where", 1, error
    )


def _got(error: Exception) -> str:
    """Clause with the value that an option refused, which typer leaves out of its message."""
    found = getattr(error.__cause__, "errors", None)  # of pydantic, by which typer reads values
    values = [one["input"] for one in found()] if callable(found) else []
    return f", got '{values[0]}'" if values else ""


def exit_with_message(message: str, code: int, error: BaseException | None = None) -> NoReturn:
    """Exit with one line on standard error; of several processes, one prints it.

    Args:
        message: what to print.
        code: exit code.
        error: error of which the message is.
    """
    is_alone = os.environ.get("WORLD_SIZE", "1") == "1"
    beginning = "" if is_alone else _peers().speaker(error)
    if beginning is not None:
        sys.stderr.write(f"error: {beginning}{' '.join(message.splitlines())}\n")
        sys.stderr.flush()
    if not is_alone:
        # The other processes wait in a collective call; exiting at once lets torchrun end them.
        _peers().linger()
        os._exit(code)
    raise SystemExit(code)


def _peers() -> ModuleType:
    from sparring import peers  # imports torch

    return peers
