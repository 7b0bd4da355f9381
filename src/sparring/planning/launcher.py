"""Start of `planning.worker` in a process of its own, which returns a measurement."""

import json
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from sparring import errors
from sparring.errors import ConfigError, SparringError, TrainingError
from sparring.planning.measurement import Measurement, MeasurementRequest
from sparring.training.listener import Listener

WORKER = "sparring.planning.worker"


class ProcessError(RuntimeError):
    """The measuring process ended without a result; its standard error is the cause."""


def measure_in_subprocess(
    request: MeasurementRequest, listener: Listener | None, *, title: str
) -> list[Measurement]:
    """Measurements of a few steps, made in a separate process, smallest batch first.

    Args:
        request: what to measure; its folder is created here and removed afterwards.
        listener: receives progress.
        title: what is measured, for messages.

    Raises:
        SparringError: as raised in that process.
        TrainingError: if memory did not suffice.
        ConfigError: if images or backbone cannot be passed to another process.
    """
    with tempfile.TemporaryDirectory(prefix="sparring-plan-", ignore_cleanup_errors=True) as folder:
        content = _pickled(replace(request, folder=str(Path(folder, "run"))))
        with (
            Path(folder, "stderr.txt").open("w+b") as errors_file,
            _started(errors_file) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):  # it has ended already; its output says why
                process.stdin.write(content)
                process.stdin.close()
            answer: dict[str, Any] = {}
            for line in process.stdout:
                answer = json.loads(line)
                if "count" in answer and listener is not None:
                    what, done, total = answer["count"]
                    listener.count(f"{title}: {what}", done, total)
            return _measurements_or_error(
                answer, process.wait(), errors_file, request=request, title=title
            )


@contextmanager
def _started(errors_file: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The running process; it is killed on exit."""
    call = [sys.executable, "-m", WORKER]
    process = subprocess.Popen(
        call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors_file
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _pickled(request: MeasurementRequest) -> bytes:
    try:
        return pickle.dumps(sys.path) + pickle.dumps(request)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"the images or the backbone cannot be handed to another process: {error}; define "
            "it in a module"
        ) from None


def _measurements_or_error(
    answer: dict[str, Any],
    code: int,
    errors_file: IO[bytes],
    *,
    request: MeasurementRequest,
    title: str,
) -> list[Measurement]:
    """Measurements, or the error that the process reported instead."""
    if "done" in answer:
        return [Measurement(**found) for found in answer["done"]]
    if "error" in answer:
        kind, text = answer["error"]
        found = getattr(errors, kind, SparringError)
        raise found(text)
    if "out of memory" in answer or code == -signal.SIGKILL:
        raise TrainingError(
            f"{title}: out of memory in a step of {request.batch_size} images; plan again "
            "with a smaller --batch-size or --image-size"
        )
    errors_file.seek(0)
    output = errors_file.read().decode(errors="replace").strip()
    last = output.splitlines()[-1] if output else f"exit code {code}"
    raise ProcessError(f"measuring {title} failed: {last}") from ProcessError(output)
