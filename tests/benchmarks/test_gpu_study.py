"""A visit to a GPU at toy size: runs are made, taken home, and count in the next visit."""

import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch

from sparring.studies.folder import StudyFolder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PLAN = """
data = "../pool.parquet"
seeds = [0, 1, 2]
epochs = 50
protocols = ["knn"]
equal = "images"

[[arms]]
name = "cold one"
method = "simclr"
role = "control"
settings = { temperature = 0.1 }

[[arms]]
name = "warm one"
method = "simclr"
role = "control"
settings = { temperature = 0.5 }

[[contrasts]]
first = "cold one"
second = "warm one"

[[tests]]
name = "held out"
data = "../held-out.parquet"
"""

Visit = Callable[..., dict[str, Any]]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("gpu_study")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "studies" / "temperature" / "plan.toml"
    path.parent.mkdir(parents=True)
    path.write_text(PLAN)
    return path


@pytest.fixture
def visit(module: ModuleType, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    """Make a visit at toy size; returns the row of the study."""

    def make(*more: str) -> dict[str, Any]:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        words = ["--plans", str(plan), "--out", str(out), "--workers", "1", "--cpu", *more]
        monkeypatch.setattr(sys, "argv", ["gpu_study", *words])
        monkeypatch.setattr(module, "START", module.time.monotonic())
        module.main()
        (row,) = json.loads((out / "visit.json").read_text())["found"]
        return dict(row)

    return make


@pytest.mark.slow
def test_runs_are_made_taken_home_and_count_in_the_next_visit(
    visit: Visit, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = visit("--encoders", "--minutes", "20")
    assert (row["planned"], row["kept"], row["new"]) == (4, 0, 4)
    assert "temperature: 4 of 4 runs, 4 of them new\n  cold one" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"visit.json", "records.tar.gz", "encoders-1.safetensors"}
    with tarfile.open(tmp_path / "out" / "records.tar.gz") as archive:
        archive.extractall(tmp_path / "studies", filter="data")
    records = StudyFolder(plan.parent).read_records()
    assert [str(one.name) for one in records] == [
        f"{arm} one, seed {seed}" for arm in ("cold", "warm") for seed in (0, 1)
    ]
    assert all(str(tmp_path) not in path.read_text() for path in plan.parent.glob("records/*"))
    encoders = safetensors.torch.load_file(tmp_path / "out" / "encoders-1.safetensors")
    assert {name.rpartition(" : ")[0] for name in encoders} == {
        f"temperature/{arm} one-seed-{seed}" for arm in ("cold", "warm") for seed in (0, 1)
    }
    (plan.parent / "records" / "warm one-seed-1.json").unlink()
    row = visit("--minutes", "20")
    assert (row["planned"], row["kept"], row["new"]) == (4, 3, 1)
    assert [arm["runs"] for arm in row["arms"]] == [2, 2]


def test_without_time_nothing_is_begun_and_nothing_fails(visit: Visit) -> None:
    row = visit("--minutes", "0.01")
    assert (row["new"], row["note"]) == (0, "no time")


def test_what_a_visit_needs_is_told(
    module: ModuleType,
    plan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "pool.parquet").write_bytes(bytes(2_500_000))
    words = ["--plans", str(plan), "--needs", "--data", str(tmp_path / "images")]
    monkeypatch.setattr(sys, "argv", ["gpu_study", *words])
    module.main()
    told = capsys.readouterr().out
    assert f"images:  {tmp_path / 'images' / 'pool.parquet'} (2.5 MB)" in told
    assert f"images:  {tmp_path / 'studies' / 'held-out.parquet'} (missing here)" in told
    assert "1 plans, 0 kept records" in told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("epochs = 50", 'epochs = 50\ndevice = "cpu"'), "is no study for a GPU"),
        (("", ""), "no file .*pool.parquet; see --needs"),
    ],
)
def test_a_plan_that_no_visit_can_make_is_refused(
    change: tuple[str, str],
    said: str,
    module: ModuleType,
    plan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan.write_text(PLAN.replace(*change))
    monkeypatch.setattr(sys, "argv", ["gpu_study", "--plans", str(plan), "--out", str(tmp_path)])
    options = module.parsed()
    with pytest.raises(SystemExit, match=said):
        module.read(plan, options)


def test_encoders_are_the_same_after_a_journey_in_halves(
    module: ModuleType, tmp_path: Path
) -> None:
    halves = import_module("half_encoders")
    draw = torch.Generator().manual_seed(0)
    encoders, weights = {}, {}
    for number in range(3):
        name = f"a study/run-{number}"
        weights[name] = {
            "conv.weight": torch.randn(8, 4, 3, 3, generator=draw).half().float(),
            "bn.running_var": torch.rand(8, generator=draw) * 1e-9,
            "bn.num_batches_tracked": torch.tensor(7),
        }
        encoders[name] = tmp_path / f"{number}.safetensors"
        metadata = {"sparring": f"number {number}"}
        safetensors.torch.save_file(weights[name], encoders[name], metadata=metadata)
    assert halves.write_halves(encoders, tmp_path, limit=700) == []
    files = sorted(tmp_path.glob("encoders-*.safetensors"))
    assert len(files) == 3
    written = halves.join(files, tmp_path / "joined")
    assert len(written) == 3
    for name, tensors in weights.items():
        path = tmp_path / "joined" / f"{name}.safetensors"
        found = safetensors.torch.load_file(path)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensor) for key, tensor in tensors.items())
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"sparring": "number 2"}
    # Four files of 150 bytes hold less than one kernel each.
    assert halves.write_halves(encoders, tmp_path, limit=150) == list(encoders)[2:]
