"""The process that measures: what becomes of its answers, and of its end without one."""

import signal
from dataclasses import asdict
from pathlib import Path

import pytest
from measurements import PLAIN

from sparring.errors import ConfigError, TrainingError
from sparring.planning import process
from sparring.planning.measurement import Request


class Listener:
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, int, int]] = []

    def report(self, line: str) -> None: ...
    def observe(self, *record: object) -> None: ...
    def count(self, what: str, done: int, total: int) -> None:
        self.counted.append((what, done, total))


REQUEST = Request(
    tree={}, data="photos", backbone=None, batch_size=64, steps=5, count="memory", folder=""
)


def answering(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Let the measuring process be these lines of Python."""
    (folder / "stand_in.py").write_text("import json, os, sys\nsys.stdin.buffer.read()\n" + code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(process, "CHILD", "stand_in")


def test_measurement_comes_back_and_progress_on_the_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answering(
        monkeypatch,
        tmp_path,
        'print(json.dumps({"count": ["steps", 1, 5]}))\n'
        f'print(json.dumps({{"done": {asdict(PLAIN)}}}))',
    )
    listener = Listener()
    assert process.measured(REQUEST, listener, title="simclr") == PLAIN
    assert listener.counted == [("simclr: steps", 1, 5)]


def test_error_keeps_its_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answering(monkeypatch, tmp_path, 'print(json.dumps({"error": ["ConfigError", "wrong word"]}))')
    with pytest.raises(ConfigError, match=r"^wrong word$"):
        process.measured(REQUEST, None, title="simclr")


@pytest.mark.parametrize(
    "end",
    ['print(json.dumps({"out of memory": "no"}))', f"os.kill(os.getpid(), {int(signal.SIGKILL)})"],
)
def test_lack_of_memory_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str
) -> None:
    answering(monkeypatch, tmp_path, end)
    with pytest.raises(
        TrainingError,
        match=(
            "simclr: out of memory in a step of 64 images; plan again with a smaller --batch-size"
        ),
    ):
        process.measured(REQUEST, None, title="simclr")


def test_end_without_an_answer_gives_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answering(monkeypatch, tmp_path, "raise KeyError('lost')")
    with pytest.raises(
        process.ProcessError, match="measuring simclr failed: KeyError: 'lost'"
    ) as found:
        process.measured(REQUEST, None, title="simclr")
    assert "Traceback" in str(found.value.__cause__)


def test_process_ends_when_nobody_waits_any_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answering(
        monkeypatch,
        tmp_path,
        'print(json.dumps({"count": ["steps", os.getpid(), 0]}), flush=True)\n'
        "import time\ntime.sleep(600)",
    )

    class Stopped(Listener):
        """Ctrl-C at the first word."""

        def count(self, what: str, done: int, total: int) -> None:
            super().count(what, done, total)
            raise KeyboardInterrupt

    listener = Stopped()
    with pytest.raises(KeyboardInterrupt):
        process.measured(REQUEST, listener, title="simclr")
    assert not Path("/proc", str(listener.counted[0][1])).exists()
