"""Reading a run folder into a summary."""

import json
from pathlib import Path

import pytest

from sparring.config import leaves
from sparring.errors import RunError
from sparring.reporting.summary import method_title, read_run


def test_a_run_folder_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('method = "mocov2"\nseed = 3\n[data]\npath = "x"\n')
    records = [
        {"step": 0, "epoch": 0.0, "loss": 2.0},
        {"step": 9, "epoch": 0.5, "loss": None},
        {"step": 19, "loss": 1.0, "knn_accuracy": 0.4},
    ]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in records) + '{"step": 29, "lo'
    )
    (tmp_path / "scores.json").write_text(
        json.dumps({"trained": {"knn": {"accuracy": 0.4}}, "untrained": {"knn": {"accuracy": 0.2}}})
    )
    (tmp_path / "environment.json").write_text(json.dumps({"command": "sparring train"}))
    (tmp_path / "quarantine.txt").write_text("a.jpg\tbroken\n\n")
    run = read_run(tmp_path)
    assert (run.label, run.seed, run.quarantine) == ("MoCo v2", 3, ("a.jpg\tbroken",))
    assert run.series("loss") == ([0.0, 19.0], [2.0, 1.0])
    assert run.last("loss") == 1.0
    assert run.last("missing") is None
    assert run.trained["knn"]["accuracy"] == 0.4
    assert run.start["knn"]["accuracy"] == 0.2
    assert run.environment["command"] == "sparring train"
    assert read_run(tmp_path, label="mine", note="control").label == "mine"


def test_a_run_that_has_just_begun_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('method = "adco"\n')
    run = read_run(tmp_path)
    assert (run.metrics, run.trained, run.environment, run.quarantine, run.seed) == (
        (),
        {},
        {},
        (),
        None,
    )


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        read_run(tmp_path)


def test_titles_and_leaves() -> None:
    assert [method_title(name) for name in ("adco", "mocov2", "unheard-of")] == [
        "AdCo",
        "MoCo v2",
        "unheard-of",
    ]
    assert list(leaves({"a": 1, "b": {"c": {"d": 2}, "e": 3}})) == [
        ("a", 1),
        ("b.c.d", 2),
        ("b.e", 3),
    ]
