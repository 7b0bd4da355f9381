"""Statistics load quickly: they need numpy and scipy's special functions, nothing heavier."""

import subprocess
import sys
from pathlib import Path

import sparring.studies.statistics

MODULES = sorted(
    path.stem for path in Path(sparring.studies.statistics.__path__[0]).glob("[a-z]*.py")
)


def test_there_are_modules_to_look_at() -> None:
    assert {"paired", "resampling", "variance"} <= set(MODULES)


def test_no_module_of_statistics_imports_torch_or_scipy_stats() -> None:
    lines = [f"import sparring.studies.statistics.{name}" for name in MODULES]
    code = "; ".join(
        [*lines, "import sys", "sys.exit(str({'torch', 'scipy.stats'} & set(sys.modules) or ''))"]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
