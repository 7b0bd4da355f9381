"""Process that runs a few steps: `python -m sparring.planning.worker`.

It reads a request from standard input and writes lines of JSON.

Each measurement has its own process: the peak memory of one method would hide that of the next, and
running out of memory ends only this process.
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

# The command line has these loaded while it trains, so they count towards its memory.
import sparring.api
import sparring.command.display  # noqa: F401
from sparring.errors import ConfigError, SparringError
from sparring.machine_memory import is_out_of_memory, reset_peak
from sparring.planning.growing_batches import measure_growing
from sparring.planning.live_tensors import LiveTensorBytes
from sparring.planning.measurement import Measurement, MeasurementRequest
from sparring.planning.memory_readers import ProcessMemory, TensorMemory
from sparring.planning.trial_steps import run_trial_steps
from sparring.training.devices import choose_device


class MessageWriter:
    """Writes messages to the parent process; whatever libraries print goes to standard error."""

    def __init__(self) -> None:
        self._pipe = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def send(self, kind: str, content: Any) -> None:
        """Write one message as a line of JSON."""
        self._pipe.write(json.dumps({kind: content}) + "\n")
        self._pipe.flush()

    def count(self, what: str, done: int, total: int) -> None:
        """Report progress."""
        self.send("count", [what, done, total])


def measure(request: MeasurementRequest, messages: MessageWriter) -> list[Measurement]:
    """Run the steps of a request and return their measurements, smallest batch first."""
    live = LiveTensorBytes()
    is_memory = request.count == "memory"
    memory = (
        ProcessMemory(choose_device(request.tree["training"]["device"]))
        if is_memory
        else TensorMemory(live)
    )
    with nullcontext() if is_memory else live:
        if request.deadline is not None:
            return measure_growing(request, messages.count, memory)
        return [run_trial_steps(request, messages.count, memory)]


def main() -> None:
    """Read one request and write its result."""
    messages = MessageWriter()
    sys.path[:] = pickle.load(sys.stdin.buffer)
    request: MeasurementRequest | None = None
    try:
        request = _read()
        if not isinstance(request.data, str):
            # Images from a pipe are held twice for a short time.
            reset_peak()
        messages.send("done", [asdict(found) for found in measure(request, messages)])
    except SparringError as error:
        messages.send("error", [type(error).__name__, str(error)])
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        messages.send("out of memory", str(error).splitlines()[0])
    finally:
        if request is not None:
            # The launcher removes this folder too, but it may be gone already.
            shutil.rmtree(Path(request.folder).parent, ignore_errors=True)


def _read() -> MeasurementRequest:
    try:
        request = pickle.load(sys.stdin.buffer)
    except (AttributeError, ImportError) as error:
        raise ConfigError(
            f"the images or the backbone cannot be handed to another process: {error}; define "
            "it in a module"
        ) from None
    assert isinstance(request, MeasurementRequest)
    return request


if __name__ == "__main__":
    main()
