"""scripts/keep-study: the records of a study, small and without names of places."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from made_doses import dosed_results

from sparring.studies.doses import dose_curves
from sparring.studies.folder import StudyFolder
from sparring.studies.history import plan_text
from sparring.studies.results import Results

SCRIPT = Path(__file__).parents[2] / "scripts" / "keep-study"


@pytest.mark.slow
def test_kept_records_give_the_same_curves_and_name_no_place(tmp_path: Path) -> None:
    results = dosed_results()
    made, kept = StudyFolder(tmp_path / "made"), StudyFolder(tmp_path / "kept")
    for one in results.records:
        data = {**one.config["data"], "path": "/home/someone/photos", "cache": "/home/someone/c"}
        environment = {**one.environment, "command": "/home/someone/run", "torch": "2.0"}
        config = {**one.config, "data": data}
        made.write_record(replace(one, config=config, environment=environment, folder="runs/x"))
    kept.path.mkdir()
    (kept.path / "plan.toml").write_text(plan_text(results.study))
    done = subprocess.run([SCRIPT, made.path, kept.path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("24 of 24 runs\n")
    text = "".join(path.read_text() for path in kept.records.iterdir())
    assert "someone" not in text
    assert '"host"' not in text
    before = dose_curves(results)
    after = dose_curves(Results(study=results.study, records=kept.read_records()))
    assert [one.setting for one in after] == [one.setting for one in before]
    for first, other in zip(before, after, strict=True):
        amounts = [dose.amount for dose in first.doses]
        assert [dose.amount for dose in other.doses] == pytest.approx(amounts, rel=1e-3)
        assert [dose.score for dose in other.doses] == [dose.score for dose in first.doses]
