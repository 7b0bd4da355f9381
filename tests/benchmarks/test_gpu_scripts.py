"""The GPU's benchmarks at toy size on the CPU: every part runs, and says what it must."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROWS = {
    "loop": ("sparring.train, images/s, batch 512", "over plain PyTorch compiled"),
    "views": ("views, two per image, alone, images/s",),
    "games": ("adco over mocov2, time", "caco over mocov2, time", "clae over simclr, time"),
    "narrow": ("width 0.25, images/s, as by default",),
    "large": ("vit_tiny_patch16_224, 32 px, images/s",),
    "memory": ("host memory of ours, GB",),
    "scores": ("fine-tuning, steps/s over the bare step", "semi-supervised, steps/s"),
}
QUICK = ("views",)

Script = Callable[..., dict[str, Any]]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Run a script with `--cpu` in this process; returns what it wrote."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", [*sys.path])
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def run(name: str, *arguments: str) -> dict[str, Any]:
        out = tmp_path / "found.json"
        monkeypatch.setattr(sys, "argv", [name, "--cpu", "--out", str(out), *arguments])
        try:
            import_module(name).main()
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed
        found: dict[str, Any] = json.loads(out.read_text())
        return found

    return run


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[pytest.mark.slow] * (part not in QUICK)) for part in ROWS]
)
def test_a_part_of_the_speed_runs_and_writes_its_rows(part: str, script: Script) -> None:
    found = script("gpu_speed", "--part", part)
    assert found["device"] == "CPU, toy size"
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    for row in ROWS[part]:
        spread = found["found"][row]["found"]
        assert 0 < spread["lowest"] <= spread["median"] <= spread["highest"]


def test_every_part_of_the_speed_is_tried(script: Script) -> None:
    assert set(import_module("gpu_speed").PARTS) == set(ROWS)


@pytest.mark.slow
def test_everything_that_must_hold_on_a_gpu_holds_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    # In a process of its own: the checks of shapes that tests install are no code to compile.
    command = [sys.executable, str(BENCHMARKS / "gpu_correct.py"), "--cpu", "--minutes", "20"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(out.read_text())["found"]
    assert len(rows) > 30
    assert {row["holds"] for row in rows} == {"yes"}


def test_a_failure_is_a_row_and_the_rest_goes_on(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = import_module("gpu_correct")

    def fails() -> None:
        raise ValueError("no such kernel\nand a second line")

    checks = [("first", fails), ("second", lambda: (True, "0")), ("third", lambda: (False, "1"))]
    monkeypatch.setattr(module, "checks", lambda place: iter(checks))
    with pytest.raises(SystemExit) as end:
        script("gpu_correct")
    assert end.value.code == 1
    rows = json.loads((tmp_path / "found.json").read_text())["found"]
    assert [row["holds"] for row in rows] == ["no", "yes", "no"]
    assert rows[0]["measured"] == "ValueError: no such kernel"


def test_what_there_was_no_time_for_is_said(script: Script, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        script("gpu_correct", "--minutes", "0", "--only", "killed")
    assert end.value.code == 1
    (row,) = json.loads((tmp_path / "found.json").read_text())["found"]
    assert row["holds"] == "not run"


@pytest.mark.slow
def test_the_record_trains_and_scores_once(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    found = script("time_to_90", "--known", "0.001:12")["found"]
    assert 0 <= found["knn"] <= 100
    assert found["epochs"] >= 3
    assert found["schedules"][0] == [0.001, 12.0]
    assert "kNN (k 10)" in capsys.readouterr().out


def test_minutes_to_the_goal_are_those_of_a_power_law(script: Script) -> None:
    record = import_module("time_to_90")
    # An error of 40 / sqrt(minutes) is 10 after 16 minutes.
    known = [(minutes, 100 - 40 / minutes**0.5) for minutes in (1.0, 4.0, 9.0)]
    assert record.minutes_to_goal(known) == pytest.approx(16)
    assert record.minutes_to_goal(known[:1]) is None
    assert record.minutes_to_goal([(1.0, 80.0), (2.0, 79.0)]) is None


def test_without_a_gpu_one_line_says_so(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["time_to_90.py"])
    with pytest.raises(SystemExit, match="error: there is no CUDA device here; --cpu"):
        import_module("time_to_90").main()
