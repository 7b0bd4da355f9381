"""Two processes under torchrun (gloo) against one process on the joint batch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from arena import images
from PIL import Image
from two_processes import GAMES, outcome, pretrained

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    """What each of two processes ended with, by game."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    subprocess.run(
        [*command, str(HERE / "two_processes.py"), str(folder)],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", sorted(GAMES))
def test_two_processes_play_as_one(name: str, ranks: list[dict[str, dict[str, Any]]]) -> None:
    alone, first = outcome(name), ranks[0][name]
    # Sums over two halves and over the whole differ by float32 rounding, which six steps at a high
    # rate amplify; an attack takes signs of gradients, of which those within rounding of zero may
    # turn, and generated pixels are rounded to whole values, as are real ones.
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-3 if "+" in name else 1e-4)
    close = {"rtol": 1e-3, "atol": 2e-4 if "generator-pair" in name else 1e-5}
    for key in alone.keys() - {"losses"}:
        torch.testing.assert_close(
            first[key], alone[key], **close, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize("name", sorted(GAMES))
def test_both_processes_end_with_the_same_bits(
    name: str, ranks: list[dict[str, dict[str, Any]]]
) -> None:
    first, second = (rank[name] for rank in ranks)
    assert first.keys() == second.keys()
    assert not [
        key for key in first if key != "losses" and not torch.equal(first[key], second[key])
    ]


def test_both_processes_learn_the_same_generator(ranks: list[dict[str, dict[str, Any]]]) -> None:
    first, second, alone = (*(rank["pretraining"] for rank in ranks), pretrained())
    assert not [name for name in first if not torch.equal(first[name], second[name])]
    # Batch norm sees half a batch in each process: no more than near what one would learn, but from
    # the same draws.
    distance = (first["average.start.weight"] - alone["average.start.weight"]).abs().mean()
    assert distance < 0.02 * alone["average.start.weight"].abs().mean()


def test_the_command_line_trains_under_torchrun_and_scores_once(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for number, image in enumerate(images(64)):
        (folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(number % 2) / f"{number}.png")
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "sparring",
        "train",
    ]
    sizes = ["--image-size", "16", "--batch-size", "16", "--epochs", "1"]
    small = ["--method", "adco", *sizes, "--set", "encoder.width=0.0625", "--set", "bank.size=16"]
    done = subprocess.run(
        [*launch, *small, "--data", str(folder), "--out", str(tmp_path / "run")],
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next: sparring report") == 1
    assert "UserWarning" not in done.stderr
    assert (tmp_path / "run" / "scores.json").exists()
