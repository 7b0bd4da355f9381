"""A profile of a run's steps: table and trace, and a run that does not notice."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sparring import api
from sparring.errors import ConfigError
from sparring.training.profiling import WARM_UP
from tiny import tiny_images
from told import Told

STEPS = 3


def trained(out: Path, listener: Told, **more: Any) -> api.Run:
    """A run of 16 steps, in epochs of 4."""
    images = torch.from_numpy(tiny_images(32)[0]).permute(0, 3, 1, 2).contiguous()
    settings = {"encoder": {"width": 0.0625}, "projector": {"dim": 16}}
    return api.train(
        images,
        out=out,
        method="simclr",
        settings=settings,
        listener=listener,
        **{"epochs": 4, "batch_size": 16, "image_size": 16, "monitor_images": 16} | more,
    )


def test_profiled_run_shows_its_steps_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    plain, shown = Told(), Told()
    without = trained(tmp_path / "without", plain)
    run = trained(tmp_path / "with", shown, profile=STEPS)
    for name in ("backbone.safetensors",):
        assert (run.path / name).read_bytes() == (without.path / name).read_bytes()
    trace = json.loads(gzip.decompress((run.path / "trace.json.gz").read_bytes()))
    names = {event["name"] for event in trace["traceEvents"]}
    assert {f"ProfilerStep#{WARM_UP + step}" for step in range(STEPS)} <= names
    table = shown.lines[len(plain.lines) :]
    assert f"mean of {STEPS} steps" in table[0]
    rows = {line[:44].strip(): float(line[44:53]) for line in table[2:-2]}
    assert {"views", "forward", "backward", "optimiser"} < set(rows)
    assert all(rows[name] > 0 for name in ("views", "forward", "backward", "optimiser"))
    total = rows.pop("step")
    assert sum(rows.values()) == pytest.approx(total, rel=0.02, abs=0.05)
    assert "trace.json.gz" in table[-1]
    assert not (without.path / "trace.json.gz").exists()


@pytest.mark.slow
def test_a_run_that_ends_with_the_profiled_steps_shows_them(tmp_path: Path) -> None:
    shown = Told()
    trained(tmp_path / "run", shown, profile=STEPS, max_steps=WARM_UP + STEPS)
    assert any(f"mean of {STEPS} steps" in line for line in shown.lines)


@pytest.mark.parametrize(
    ("steps", "message"),
    [(0, "profile must be from 1"), (7, "profile=7 needs 17 steps.*this run makes 16")],
)
def test_a_profile_that_does_not_fit_is_refused_before_training(
    steps: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        trained(tmp_path / "run", Told(), profile=steps)
    assert not (tmp_path / "run").exists()
