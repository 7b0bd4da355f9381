"""How a command fails: one line on standard error, and an exit code. 0: done, 1: failed, 2: wrong
usage."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from sparring.errors import SparringError


@contextmanager
def resumable(run: Path) -> Iterator[None]:
    """Let Ctrl-C end a training with the command that goes on with it."""
    try:
        yield
    except KeyboardInterrupt:
        has_checkpoint = (run / "checkpoint" / "last.pt").exists()
        fail(
            f"stopped; continue with `sparring resume {run}`"
            if has_checkpoint
            else "stopped before the first step; nothing is lost",
            1,
        )


def explain(error: Exception) -> NoReturn:
    """End with one line about an error, and its exit code."""
    if isinstance(error, SparringError):
        fail(str(error), error.exit_code)
    if hasattr(error, "format_message"):  # typer carries its own copy of click's exceptions
        message = " ".join(str(error.format_message()).split())
        if not message:  # no command at all: the help has been shown
            raise SystemExit(2)
        fail(message.replace(": Input should be", ": it should be"), 2)
    if isinstance(error, OSError) and error.errno is not None:
        fail(f"{error.strerror}: {error.filename}" if error.filename else str(error), 1)
    fail(f"unexpected {type(error).__name__}: {error}; run again with --debug to see where", 1)


def fail(message: str, code: int) -> NoReturn:
    """End with one line on standard error."""
    sys.stderr.write(f"error: {' '.join(message.splitlines())}\n")
    sys.stderr.flush()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        os._exit(
            code
        )  # the other processes wait in a collective call; leaving at once lets torchrun end them
    raise SystemExit(code)
