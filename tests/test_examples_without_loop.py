"""The examples that use objectives and opponents without this library's loop, run as they are."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sparring
from tiny import write_photos

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = ["--epochs", "1", "--batch-size", "8", "--size", "16"]

pytestmark = pytest.mark.slow


def output_of(script: str, photos: Path, *more: str, where: Path) -> str:
    """Standard output of an example, which must succeed."""
    source = str(Path(sparring.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / script), "--data", str(photos), *SMALL, *more]
    done = subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("more", [[], ["--attack"]], ids=["bank", "attack"])
def test_objectives_in_a_plain_loop(more: list[str], tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", per_class=8)
    said = output_of("plain_pytorch.py", photos, "--bank-size", "32", *more, where=tmp_path)
    start, end = said.splitlines()
    assert start == "16 images, 2 steps per epoch"  # said before minutes of silence
    assert re.fullmatch(r"epoch 1: loss \d+\.\d+, hardest negative -?\d\.\d+", end)


def test_an_example_with_too_few_images_says_so_in_a_line(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", per_class=2)
    with pytest.raises(AssertionError, match="4 images make no batch") as failed:
        output_of("plain_pytorch.py", photos, where=tmp_path)
    assert "Traceback" not in str(failed.value)


def test_a_game_in_a_loop_of_ones_own(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", per_class=8)
    opponent = ["--method", "simclr", "--opponent", "perturbation", "--width", "0.0625"]
    said = output_of("own_loop.py", photos, *opponent, where=tmp_path)
    assert "\nepoch 1: loss " in said
    assert "perturbation/loss" in said
    state = torch.load(tmp_path / "backbone.pt", weights_only=True)
    assert {"conv1.weight", "layer4.1.bn2.weight"} <= state.keys()


# Lightning 2.6 uses a name that PyTorch 2.14 deprecates, and warns of what a test of few steps on
# a CPU is.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*")
def test_two_players_in_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightning = pytest.importorskip("lightning")
    monkeypatch.syspath_prepend(EXAMPLES)
    module = importlib.import_module("lightning_module")
    views = importlib.import_module("two_views")
    images = views.TwoViews(write_photos(tmp_path / "photos", per_class=8), size=32)
    torch.manual_seed(0)
    game = module.LearnedBank(bank_size=32, dim=16)
    encoder, bank, teacher = (
        next(game.encoder.parameters()).detach().clone(),
        game.bank.detach().clone(),
        next(game.teacher.parameters()).detach().clone(),
    )
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(game, torch.utils.data.DataLoader(images, 8, drop_last=True))
    assert trainer.global_step == 4  # two batches, two optimisers
    assert not torch.equal(encoder, next(game.encoder.parameters()))
    assert not torch.equal(bank, game.bank)
    assert not torch.equal(teacher, next(game.teacher.parameters()))
    assert torch.isfinite(trainer.callback_metrics["loss"])
    (saved,) = tmp_path.rglob("*.ckpt")
    again = module.LearnedBank.load_from_checkpoint(saved, map_location="cpu")
    assert torch.equal(again.bank, game.bank)
