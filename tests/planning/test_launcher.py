"""The launcher returns the worker's measurement, raises its errors, and ends it."""

import signal
from dataclasses import asdict
from pathlib import Path

import pytest
from example_measurements import EXAMPLE

from sparring.errors import ConfigError, TrainingError
from sparring.planning import launcher
from sparring.planning.measurement import MeasurementRequest


class Listener:
    """Records progress."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, int, int]] = []

    def report(self, line: str) -> None: ...
    def observe(self, *record: object) -> None: ...
    def count(self, what: str, done: int, total: int) -> None:
        self.counted.append((what, done, total))


REQUEST = MeasurementRequest(
    tree={}, data="photos", backbone=None, batch_size=64, steps=5, count="memory", folder=""
)


def replace_worker(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Replace the worker by these lines of Python."""
    (folder / "stand_in.py").write_text("import json, os, sys\nsys.stdin.buffer.read()\n" + code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(launcher, "WORKER", "stand_in")


def test_measurement_is_returned_and_progress_is_forwarded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replace_worker(
        monkeypatch,
        tmp_path,
        'print(json.dumps({"count": ["steps", 1, 5]}))\n'
        f'print(json.dumps({{"done": [{asdict(EXAMPLE)}]}}))',
    )
    listener = Listener()
    assert launcher.measure_in_subprocess(REQUEST, listener, title="simclr") == [EXAMPLE]
    assert listener.counted == [("simclr: steps", 1, 5)]


def test_error_keeps_its_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replace_worker(
        monkeypatch, tmp_path, 'print(json.dumps({"error": ["ConfigError", "wrong word"]}))'
    )
    with pytest.raises(ConfigError, match=r"^wrong word$"):
        launcher.measure_in_subprocess(REQUEST, None, title="simclr")


@pytest.mark.parametrize(
    "end",
    ['print(json.dumps({"out of memory": "no"}))', f"os.kill(os.getpid(), {int(signal.SIGKILL)})"],
)
def test_out_of_memory_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str
) -> None:
    replace_worker(monkeypatch, tmp_path, end)
    with pytest.raises(
        TrainingError,
        match=(
            "simclr: out of memory in a step of 64 images; plan again with a smaller --batch-size"
        ),
    ):
        launcher.measure_in_subprocess(REQUEST, None, title="simclr")


def test_crash_reports_the_last_line_of_standard_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replace_worker(monkeypatch, tmp_path, "raise KeyError('lost')")
    with pytest.raises(
        launcher.ProcessError, match="measuring simclr failed: KeyError: 'lost'"
    ) as found:
        launcher.measure_in_subprocess(REQUEST, None, title="simclr")
    assert "Traceback" in str(found.value.__cause__)


def test_worker_is_killed_when_the_launcher_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replace_worker(
        monkeypatch,
        tmp_path,
        'print(json.dumps({"count": ["steps", os.getpid(), 0]}), flush=True)\n'
        "import time\ntime.sleep(600)",
    )

    class Stopped(Listener):
        """Presses Ctrl-C at the first message."""

        def count(self, what: str, done: int, total: int) -> None:
            super().count(what, done, total)
            raise KeyboardInterrupt

    listener = Stopped()
    with pytest.raises(KeyboardInterrupt):
        launcher.measure_in_subprocess(REQUEST, listener, title="simclr")
    assert not Path("/proc", str(listener.counted[0][1])).exists()
