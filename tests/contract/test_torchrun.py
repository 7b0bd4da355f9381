"""The command line under torchrun: two processes on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sparring.contract.toy import images

LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sparring"]


@pytest.mark.slow
def test_the_command_line_trains_under_torchrun_and_scores_once(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for number, image in enumerate(images(64)):
        (folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(number % 2) / f"{number}.png")
    sizes = ["--image-size", "16", "--batch-size", "16", "--epochs", "1"]
    small = [*sizes, "--set", "encoder.width=0.0625", "--set", "bank.size=16"]
    place = ["--data", str(folder), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, *LAUNCH, "train", *small, *place],
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
