"""`sparring export` as a user calls it: what it prints, and what it refuses."""

from pathlib import Path

import pytest
import timm
import torch

import sparring
from tiny import Command


@pytest.mark.slow
def test_a_quantised_model_is_made_by_the_runs_own_images(
    trained: Path, tmp_path: Path, command: Command
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = tmp_path / "small.onnx"
    done = command("export", trained, "--format", "onnx", "--precision", "int8", "--out", out)
    assert done.code == 0, done.err
    assert "# int8 (static, calibrated on 32 images)" in done.out
    assert "on 32 real images: mean" in done.out
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(out)
    assert session.run(None, {"images": images.numpy()})[0].shape == (3, 32)


@pytest.mark.slow
def test_a_folder_for_the_hub_is_written_from_a_run_of_a_transformer(
    photos: Path, tmp_path: Path, command: Command
) -> None:
    run, out = tmp_path / "run", tmp_path / "my encoder"
    trained = sparring.train(
        photos,
        method="simclr",
        out=run,
        epochs=1,
        settings={
            "encoder": {"backbone": "vit_tiny_patch16_224", "depth": 1, "width": 0.25},
            "training": {"batch_size": 16, "image_size": 16, "max_steps": 1},
        },
        progress=False,
    )
    done = command("export", run, "--format", "hub", "--license", "mit", "--out", out)
    assert done.code == 0, done.err
    assert f"# hf upload USER/NAME '{out}'" in done.out
    model = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    encoder = sparring.load(trained)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        model((images - encoder.mean) / encoder.std), encoder.features(images), atol=1e-4, rtol=1e-4
    )
    again = command("export", run, "--format", "hub", "--out", out)
    assert again.code == 2
    assert again.error.endswith("is not an empty folder; remove it or choose another --out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "onxx"], "unknown export format 'onxx'; did you mean 'onnx'? Accepted: hub,"),
        (["--format", "hub", "--precision", "int8"], "--precision is for --format onnx, not hub"),
        (["--format", "onnx", "--precision", "int4"], "unknown precision 'int4'; did you mean"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(
    trained: Path, tmp_path: Path, command: Command, arguments: list[str], message: str
) -> None:
    done = command("export", trained, *arguments, "--out", tmp_path / "x")
    assert done.code == 2
    assert done.error.startswith(message)
    assert not (tmp_path / "x").exists()
