"""The line with which a stopped command ends: what is lost, and what can follow."""

from pathlib import Path

import pytest

from sparring.command.error_exit import exit_on_interrupt
from sparring.training.interrupt import StoppedAtOnce


def end(run: Path, stop: KeyboardInterrupt, capsys: pytest.CaptureFixture[str]) -> str:
    """Standard error of a command that a signal has stopped."""
    with pytest.raises(SystemExit) as caught, exit_on_interrupt(run):
        raise stop
    assert caught.value.code == 1
    return capsys.readouterr().err


def test_a_run_stopped_at_once_says_what_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "before the first checkpoint: 12 steps are lost" in end(
        tmp_path, StoppedAtOnce(12), capsys
    )
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "last.pt").touch()
    shown = end(tmp_path, StoppedAtOnce(1), capsys)
    assert "1 step since the last checkpoint are lost" not in shown
    assert "1 step since the last checkpoint is lost" in shown
    assert f"continue with `sparring resume {tmp_path}`" in shown


def test_a_run_that_has_saved_says_nothing_of_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing is lost" in end(tmp_path, KeyboardInterrupt(), capsys)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "last.pt").touch()
    for stop in (KeyboardInterrupt(), StoppedAtOnce(0)):
        assert end(tmp_path, stop, capsys).startswith("error: stopped; continue with")
