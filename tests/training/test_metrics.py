"""The file of metrics: appended, cut back on resuming, readable after a crash."""

import json
import math
import os
from pathlib import Path

import pytest
import torch

import games
from sparring.training.metrics import METRICS, MetricsFile, plain, read_metrics


def written(path: Path, steps: range, *, keep_before: int = 0) -> None:
    file = MetricsFile(path, keep_before=keep_before)
    for step in steps:
        file.write({"step": step, "loss": step / 3})
    file.close()


def steps(path: Path) -> list[float]:
    return [record["step"] for record in read_metrics(path)]


def test_records_come_back_in_order(tmp_path: Path) -> None:
    written(tmp_path / "metrics.jsonl", range(3))
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": step, "loss": step / 3} for step in range(3)
    ]


def test_a_run_without_records_has_none(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, range(3))
    text = path.read_text()
    for cut in range(1, len(text.splitlines()[-1]) + 1):
        path.write_text(text[:-cut])
        assert steps(path) == (
            [0, 1, 2] if cut == 1 else [0, 1]
        )  # only the end of the line is missing


def test_resuming_drops_what_will_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, range(6))
    written(path, range(4, 8), keep_before=4)
    assert steps(path) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_resuming_after_a_crash_drops_the_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, range(3))
    path.write_text(path.read_text() + '{"step": 3, "lo')
    written(path, range(3, 5), keep_before=3)
    assert steps(path) == [0, 1, 2, 3, 4]


def test_every_record_is_on_the_disk_at_once(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl", keep_before=0)
    file.write({"step": 0})
    assert steps(tmp_path / "metrics.jsonl") == [0]
    file.close()


def test_records_are_synchronised_before_the_checkpoint_that_follows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = games.training("simclr", tmp_path, training={"checkpoint_minutes": 0, "max_steps": 3})
    order, fsync = [], os.fsync

    def noted(number: int) -> None:
        name = Path(f"/proc/self/fd/{number}").readlink().name
        if "last.pt" in name or name == "metrics.jsonl":
            order.append((name == "metrics.jsonl", os.fstat(number).st_size))
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    run.run()
    assert [is_metrics for is_metrics, _ in order] == [True, False] * 3
    sizes = [size for is_metrics, size in order if is_metrics]
    assert 0 < sizes[0] < sizes[1] < sizes[2] == (tmp_path / "metrics.jsonl").stat().st_size


def test_a_link_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    path, target = tmp_path / "metrics.jsonl", tmp_path / "notes.txt"
    target.write_text('{"step": 0}\n{"step": 1}\n')
    path.symlink_to(target)
    file = MetricsFile(path, keep_before=1)
    file.write({"step": 1})
    file.close()
    assert (steps(path), steps(target)) == ([0, 1], [0, 1])
    assert not path.is_symlink()


def test_values_that_are_not_finite_become_null_which_every_reader_of_json_knows(
    tmp_path: Path,
) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl", keep_before=0)
    file.write({"step": 0, "loss": math.nan, "alignment": math.inf})
    file.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=lambda name: 1 / 0) == {
        "step": 0,
        "loss": None,
        "alignment": None,
    }


def test_metrics_become_numbers_of_seven_digits() -> None:
    assert plain({"loss": torch.tensor(1.23456789, dtype=torch.float64), "learning_rate": 0.1}) == {
        "loss": 1.234568,
        "learning_rate": 0.1,
    }


def test_every_metric_says_what_it_means() -> None:
    assert all(len(metric.meaning) > 10 for metric in METRICS.values())


@pytest.mark.parametrize(
    "line",
    [
        *("[]", "1", '{"step": "x"}', '{"loss": 1.0}', '{"step": 1, "loss": "y"}', "[" * 100_000),
        *('{"step": 1, "loss": Infinity}', '{"step": 1, "loss": NaN}', '{"step": 1, "loss": {}}'),
    ],
)
def test_records_end_at_the_first_damaged_line(line: str, tmp_path: Path) -> None:
    good = '{"step": 0, "loss": 1.5, "knn_accuracy": null}\n'
    (tmp_path / "metrics.jsonl").write_text(good + line + "\n" + good)
    found = read_metrics(tmp_path / "metrics.jsonl")
    assert found == [{"step": 0, "loss": 1.5, "knn_accuracy": None}]
