"""The other end of `planning.child`: start it, pass its progress on, take its answer."""

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
from sparring.planning.measurement import Measurement, Request
from sparring.training.listener import Listener

CHILD = "sparring.planning.child"


class ProcessError(RuntimeError):
    """The measuring process ended without an answer; its own words are the cause."""


def measured(request: Request, listener: Listener | None, *, title: str) -> Measurement:
    """Let a process of its own make the steps of a request.

    Args:
        request: what to measure; its folder is made here, and gone afterwards.
        listener: told how far it is.
        title: what is measured, for messages.

    Raises:
        SparringError: as raised there.
        TrainingError: there was not enough memory.
        ConfigError: images or backbone cannot be handed to another process.
    """
    with tempfile.TemporaryDirectory(prefix="sparring-plan-", ignore_cleanup_errors=True) as folder:
        content = _pickled(replace(request, folder=str(Path(folder, "run"))))
        with Path(folder, "words.txt").open("w+b") as words, _started(words) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):  # it has ended already: what it said tells why
                process.stdin.write(content)
                process.stdin.close()
            answer: dict[str, Any] = {}
            for line in process.stdout:
                answer = json.loads(line)
                if "count" in answer and listener is not None:
                    what, done, total = answer["count"]
                    listener.count(f"{title}: {what}", done, total)
            return _taken(answer, process.wait(), words, request=request, title=title)


@contextmanager
def _started(words: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, which does not outlive this one's interest in it."""
    call = [sys.executable, "-m", CHILD]
    process = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _pickled(request: Request) -> bytes:
    try:
        return pickle.dumps(sys.path) + pickle.dumps(request)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"the images or the backbone cannot be handed to another process: {error}; define "
            "it in a module"
        ) from None


def _taken(
    answer: dict[str, Any], code: int, words: IO[bytes], *, request: Request, title: str
) -> Measurement:
    """The measurement, or the error that there was instead."""
    if "done" in answer:
        return Measurement(**answer["done"])
    if "error" in answer:
        kind, text = answer["error"]
        found = getattr(errors, kind, SparringError)
        raise found(text)
    if "out of memory" in answer or code == -signal.SIGKILL:
        raise TrainingError(
            f"{title}: out of memory in a step of {request.batch_size} images; plan again "
            "with a smaller --batch-size or --image-size"
        )
    words.seek(0)
    said = words.read().decode(errors="replace").strip()
    last = said.splitlines()[-1] if said else f"exit code {code}"
    raise ProcessError(f"measuring {title} failed: {last}") from ProcessError(said)
