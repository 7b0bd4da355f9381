"""One switch turns every fast path off: none is entered, and the first losses stay the same up to
rounding."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sparring
from sparring import acceleration
from sparring.acceleration import bank_softmax, largest, view_kernel, working_memory
from sparring.acceleration.narrow_batch_norm import NarrowBatchNorm2d
from sparring.measures import knn
from sparring.negatives import mining
from sparring.objectives import bank_games
from sparring.training import build

SIZE = 16
METHODS: dict[str, dict[str, Any]] = {
    "simclr": {},
    "adco": {"bank": {"size": 40}, "queue_epochs": 0.0},
    "caco": {"bank": {"size": 40}, "queue_epochs": 0.0},
    "acssl": {"predictor": {"hidden": 32}},
}
"""Methods that reach every fast path between them, with settings that make them small."""
FAST: tuple[tuple[object, str], ...] = (
    (view_kernel, "make_view"),
    (bank_games, "fused_adversarial_game"),
    (bank_games, "fused_shared_game"),
    (bank_softmax, "read"),
    (bank_softmax, "tangents"),
    (build, "with_narrow_batch_norms"),
    (build, "keep_freed_memory"),
    (NarrowBatchNorm2d, "forward"),
    (largest, "_folded_search"),
)
"""Where each fast path is entered."""


@pytest.fixture(autouse=True)
def switch_is_put_back() -> Iterator[None]:
    """A configuration that forbids fast paths speaks for its process, so for later tests too."""
    yield
    acceleration.allow(True)


def train(folder: Path, method: str, *, allowed: bool = True) -> list[float]:
    """Losses of the first six steps on noise; at a gentle rate, see below."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (64, SIZE, SIZE, 3)).astype(np.uint8)
    sparring.train(
        (images, np.arange(64) % 2),
        out=folder / "run",
        method=method,
        settings={
            "encoder": {"backbone": "resnet18", "width": 0.0625},
            "projector": {"dim": 16, "hidden": 32},
            "players": {"encoder": {"learning_rate": 3e-4}},
            "training": {
                "image_size": SIZE,
                "batch_size": 16,
                "epochs": 3,
                "max_steps": 6,
                "device": "cpu",
                "log_steps": 1,
                "monitor_images": 32,
                "acceleration": allowed,
            },
            "data": {"cache": str(folder / "cache")},
            **METHODS[method],
        },
    )
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines if "loss" in json.loads(line)]


def forbid_fast_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever enters one fails."""

    def fail(*given: object, **options: object) -> None:
        pytest.fail("a fast path was entered")

    for owner, name in FAST:
        monkeypatch.setattr(owner, name, fail)


@pytest.mark.parametrize("method", METHODS)
def test_without_fast_paths_none_is_entered_and_the_losses_stay(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = train(tmp_path / "fast", method)
    monkeypatch.setenv("SPARRING_ACCELERATION", "off")
    forbid_fast_paths(monkeypatch)
    working_memory._kept.stretches.clear()
    slow = train(tmp_path / "slow", method)
    assert not working_memory._kept.stretches
    assert len(fast) == len(slow) == 6
    # Rounding of float32 (6e-8) in views, batch norms and softmaxes, amplified by some 20 layers;
    # 1e-6 was seen. ACSSL may mine another negative where two are nearly equal; 2e-3 was seen.
    assert slow[:1] == pytest.approx(fast[:1], rel=1e-4)
    assert slow == pytest.approx(fast, rel=1e-2 if method == "acssl" else 1e-4)


@pytest.mark.parametrize("method", ["simclr", "adco"])
def test_a_configuration_turns_them_off_too(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_fast_paths(monkeypatch)
    assert len(train(tmp_path, method, allowed=False)) == 6


def test_the_forbidden_paths_are_those_that_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = set()

    def noting(name: str, through: Any) -> Any:
        def noted(*given: Any, **options: Any) -> Any:
            entered.add(name)
            return through(*given, **options)

        return noted

    for owner, name in FAST:
        monkeypatch.setattr(owner, name, noting(name, getattr(owner, name)))
    for method in ("adco", "caco"):
        train(tmp_path / method, method)
    missing = {name for _, name in FAST} - entered
    assert missing <= ({"make_view"} if view_kernel.library() is None else set())


def test_the_environment_turns_them_off_before_torch_is_imported() -> None:
    code = (
        "import os, sys\n"
        "from sparring.acceleration.thread_waiting import settle_waiting\n"
        "settle_waiting()\n"
        "assert 'torch' not in sys.modules\n"
        "print(os.environ.get('GOMP_SPINCOUNT', 'as it was'))"
    )
    given = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**given, "SPARRING_ACCELERATION": "off"},
    )
    assert done.stdout.strip() == "as it was"


def test_neighbours_and_mined_negatives_are_the_same_without_fast_paths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = torch.Generator().manual_seed(0)
    features, queries = torch.randn(900, 8, generator=draw), torch.randn(30, 8, generator=draw)
    keys = torch.nn.functional.normalize(features, dim=1)
    pool = mining.Pool(keys=keys, images=torch.arange(900), anchors=torch.arange(30))
    found = {}
    for switch in ("on", "off"):
        monkeypatch.setenv("SPARRING_ACCELERATION", switch)
        found[switch] = (
            knn.nearest(features, queries, 20)[1],
            mining.hardest(keys[:30], pool, count=9, skip=1),
            mining.at_random(pool, count=9, generator=torch.Generator().manual_seed(1)),
        )
    assert all(torch.equal(a, b) for a, b in zip(found["on"], found["off"], strict=True))
