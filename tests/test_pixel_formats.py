"""From the command and from Python: images of any channels and any values, trained, scored and
embedded alike."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sparring
from sparring.errors import ConfigError, DataError
from sparring.training.run_folder import RunFolder
from tiny import PIXELS, Command, train_arguments

SETTINGS = {
    "encoder": {"width": 0.0625},
    "training": {
        "image_size": PIXELS,
        "batch_size": 8,
        "epochs": 1,
        "max_steps": 1,
        "monitor_images": 8,
        "device": "cpu",
    },
}
DRAW = np.random.default_rng(0)


def settings(**data: object) -> dict[str, object]:
    return {**SETTINGS, "data": data}


def measured(folder: Path, top: float, *, count: int = 8) -> Path:
    """Two classes of grey TIFF files with values from 0 to below `top`."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            values = (DRAW.random((PIXELS, PIXELS)) * top).astype(np.uint16)
            Image.fromarray(values).save(folder / name / f"{number}.tif")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_other_channels_are_trained_scored_and_embedded(channels: int, tmp_path: Path) -> None:
    images = DRAW.integers(0, 256, (24, channels, PIXELS, PIXELS)).astype(np.uint8)
    labels = np.arange(24) % 2
    run = sparring.train(
        images,
        out=tmp_path / "run",
        method="simclr",
        settings=settings(channels=channels),
        progress=False,
    )
    assert run.encoder.mean.shape[1] == channels
    scores = sparring.evaluate(
        run, train_data=(images, labels), protocols=("knn", "linear"), progress=False
    )
    assert scores["trained"]["knn"]["train_images"] > 0
    assert len(sparring.embed(run, images, progress=False).features) == 24
    wrong = DRAW.integers(0, 256, (4, channels + 1, PIXELS, PIXELS)).astype(np.uint8)
    with pytest.raises(DataError, match=rf"set data.channels={channels + 1}"):
        sparring.embed(run, wrong, progress=False)
    with pytest.raises(ConfigError, match=f"this run has data.channels={channels}"):
        sparring.evaluate(run, train_data=(images, labels), protocols="robustness", progress=False)


@pytest.mark.slow
def test_opponents_play_in_other_channels_or_are_refused(tmp_path: Path) -> None:
    images = DRAW.integers(0, 256, (16, 2, PIXELS, PIXELS)).astype(np.uint8)

    def trained(opponent: str) -> sparring.Run:
        return sparring.train(
            images,
            out=tmp_path / opponent,
            method="simclr",
            opponent=opponent,
            settings=settings(channels=2),
            progress=False,
        )

    trained("perturbation")
    with pytest.raises(ConfigError, match=r"generator-pair makes colour images, and data.channels"):
        trained("generator-pair")


@pytest.mark.slow
def test_the_range_is_kept_with_the_run_and_used_for_other_images(
    tmp_path: Path, command: Command
) -> None:
    bright, dark = measured(tmp_path / "bright", 4000), measured(tmp_path / "dark", 900)
    out = tmp_path / "run"
    done = command(
        *("train", "--data", bright, "--out", out, "--method", "simclr"),
        *("--batch-size", "8", "--epochs", "1", "--image-size", str(PIXELS)),
        *("--set", "encoder.width=0.0625", "--set", "training.monitor_images=8"),
    )
    assert done.code == 0, done.err
    assert done.err.count("values from 0 to 4095 become black to white in all images") == 1
    assert RunFolder(out).read_config().data.value_range == (0, 4095)
    same = tmp_path / "same"
    same.mkdir()
    for number in range(8):
        values = np.asarray(Image.open(dark / "a" / f"{number}.tif"))
        shown = np.rint(values / 4095 * 255).astype(np.uint8)
        Image.fromarray(shown).save(same / f"{number}.png")
    first = sparring.embed(out, dark / "a", progress=False).features
    second = sparring.embed(out, same, progress=False).features
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_unreadable_images_are_counted_in_the_scores_and_told(
    tmp_path: Path, command: Command, run: Path
) -> None:
    folder = measured(tmp_path / "x", 200, count=20)
    for number in range(4):
        (folder / "b" / f"{number}.tif").write_bytes(b"II*\0")
    done = command("evaluate", run, "--train-data", folder, "--protocol", "knn")
    assert done.code == 0, done.err
    assert "4 of 40 images cannot be read and are left out, such as b/0.tif" in done.err
    scores = RunFolder(run).read_scores()
    for encoder in ("trained", "untrained"):
        knn = scores[encoder]["knn"]
        assert knn["unreadable_images"] == 4
        assert knn["train_images"] + knn["test_images"] == 36
    found = sparring.embed(run, folder, progress=False)
    assert len(found.keys) == len(found.features) == 36


def test_settings_of_pixels_are_checked(command: Command, tmp_path: Path) -> None:
    for setting in ("data.channels=0", "data.channels=17", "data.value_range=[3, 1]"):
        arguments = train_arguments(tmp_path, tmp_path / "run")
        assert command(*arguments, "--set", setting).code == 2
