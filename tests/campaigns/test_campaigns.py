"""The short form of the campaign, with fixed seeds: 20 kills, 300 malformed files, 2,000 steps."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]


def campaign(folder: Path, *arguments: str) -> dict[str, Any]:
    """The only row of a campaign, in a process of its own, since it forks."""
    paths = [str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]
    single = {"OMP_NUM_THREADS": "1"}  # children are forked from a single thread
    found = subprocess.run(
        [sys.executable, "-m", "campaigns", *arguments, "--json", str(folder / "rows.json")],
        env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr[-4000:]
    (row,) = json.loads((folder / "rows.json").read_text())["parts"]
    return dict(row)


@pytest.mark.slow
def test_runs_that_are_killed_end_as_undisturbed_ones(tmp_path: Path) -> None:
    row = campaign(tmp_path, "--kills", "20", "--games", "2")
    assert row["count"] >= 20
    assert any("change" in kind for kind in row["kinds"])


@pytest.mark.slow
def test_malformed_files_are_used_or_told(tmp_path: Path) -> None:
    row = campaign(tmp_path, "--inputs", "300")
    assert sum(sum(ends.values()) for ends in row["kinds"].values()) == 300


@pytest.mark.slow
def test_a_long_run_keeps_its_size(tmp_path: Path) -> None:
    campaign(tmp_path, "--steps", "2000")
