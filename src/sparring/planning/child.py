"""The process in which a few steps are made: `python -m sparring.planning.child`, a request on its
standard input, lines of JSON out.

A process of its own per measurement: the largest memory of one method would hide that of the next,
and a process that is out of memory takes nothing with it.
"""

import json
import os
import pickle
import shutil
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

# The command has these in memory while it trains.
import sparring.api
import sparring.command.display  # noqa: F401
from sparring.errors import ConfigError, SparringError
from sparring.planning.gauges import ProcessGauge, TensorGauge
from sparring.planning.live import LiveBytes
from sparring.planning.measurement import Measurement, Request
from sparring.planning.memory import forget_peak
from sparring.planning.steps import make_steps
from sparring.training.devices import choose_device


class Answers:
    """Messages to the process that asked; what libraries print goes to standard error."""

    def __init__(self) -> None:
        self._pipe = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def send(self, kind: str, content: Any) -> None:
        """One message."""
        self._pipe.write(json.dumps({kind: content}) + "\n")
        self._pipe.flush()

    def count(self, what: str, done: int, total: int) -> None:
        """How far it is."""
        self.send("count", [what, done, total])


def measure(request: Request, answers: Answers) -> Measurement:
    """Make the steps of a request."""
    live = LiveBytes()
    is_memory = request.count == "memory"
    gauge = (
        ProcessGauge(choose_device(request.tree["training"]["device"]))
        if is_memory
        else TensorGauge(live)
    )
    with nullcontext() if is_memory else live:
        return make_steps(request, answers.count, gauge)


def main() -> None:
    """Answer one request."""
    answers = Answers()
    sys.path[:] = pickle.load(sys.stdin.buffer)
    request: Request | None = None
    try:
        request = _read()
        if not isinstance(request.data, str):
            # Images in memory came through a pipe, which takes them twice for a moment
            forget_peak()
        answers.send("done", asdict(measure(request, answers)))
    except SparringError as error:
        answers.send("error", [type(error).__name__, str(error)])
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        answers.send("out of memory", str(error).splitlines()[0])
    finally:
        if request is not None:
            # Here too, with what `process` made around it, in case that nobody waits for the answer
            # any more.
            shutil.rmtree(Path(request.folder).parent, ignore_errors=True)


def _read() -> Request:
    try:
        request = pickle.load(sys.stdin.buffer)
    except (AttributeError, ImportError) as error:
        raise ConfigError(
            f"the images or the backbone cannot be handed to another process: {error}; define "
            "it in a module"
        ) from None
    assert isinstance(request, Request)
    return request


def _is_out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, MemoryError)
        or "out of memory" in str(error).lower()
        or "can't allocate memory" in str(error)
    )


if __name__ == "__main__":
    main()
