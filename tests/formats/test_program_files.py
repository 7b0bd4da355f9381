"""Programs that hold an encoder, run by ONNX Runtime and by PyTorch without this library."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_runs import exported_run, random_images
from torch import nn

from sparring.errors import ConfigError, SparringError
from sparring.formats import program_files
from sparring.formats.feature_network import FeatureNetwork, largest_difference, traced
from sparring.formats.options import ExportOptions
from sparring.formats.program_files import write_onnx, write_program

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TOLERANCE = 1e-4
"""The difference that the exports promise."""
NARROW: dict[str, Any] = {"width": 0.125}
TRANSFORMER: dict[str, Any] = {"backbone": "vit_tiny_patch16_224", "depth": 2}


def no_images(limit: int) -> torch.Tensor:
    """Images of an export that needs none."""
    raise AssertionError("float32 looks at no images")


def runtime(path: Path, images: torch.Tensor) -> torch.Tensor:
    """Features by ONNX Runtime, loaded from the file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "shape"), [(3, NARROW), (1, NARROW), (4, TRANSFORMER)], ids=str
)
def test_onnx_runtime_computes_the_features_of_any_number_of_images(
    tmp_path: Path, channels: int, shape: dict[str, Any]
) -> None:
    run, path = exported_run(channels=channels, **shape), tmp_path / "model.onnx"
    code = write_onnx(run, path, ExportOptions(form="onnx"), no_images)
    assert "largest difference to the encoder" in code
    onnx.checker.check_model(path, full_check=True)
    for count in (1, 3, 16):
        images = random_images(run, count)
        assert largest_difference(runtime(path, images), run.encoder.features(images)) < TOLERANCE
    exec(code, {})


@pytest.mark.slow
def test_an_onnx_model_says_what_it_is_and_nothing_of_this_machine(tmp_path: Path) -> None:
    run, path = exported_run(width=0.0625), tmp_path / "model.onnx"
    write_onnx(run, path, ExportOptions(form="onnx", dynamic_size=True), no_images)
    model = onnx.load(path)
    facts = {one.key: one.value for one in model.metadata_props}
    assert facts["method"] == "simclr"
    assert (facts["channels"], facts["image_size"]) == ("3", "32")
    assert facts["value_range"] == "0 to 1"
    assert facts["normalisation"].startswith("in the graph")
    assert [one.version for one in model.opset_import if not one.domain] == [18]
    sides = [one.dim_param or one.dim_value for one in _dims(model.graph.input[0])]
    assert sides == ["batch", 3, "height", "width"]
    content = path.read_bytes()
    assert b"site-packages" not in content
    assert b"/src/sparring" not in content
    images = torch.rand(2, 3, 50, 37, generator=torch.Generator().manual_seed(2))
    assert largest_difference(runtime(path, images), run.encoder.features(images)) < TOLERANCE


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("shape", [NARROW, TRANSFORMER], ids=["resnet", "transformer"])
def test_a_smaller_model_is_smaller_and_says_what_was_lost(
    tmp_path: Path, precision: str, shape: dict[str, Any]
) -> None:
    run, path, whole = exported_run(**shape), tmp_path / "small.onnx", tmp_path / "whole.onnx"
    images = random_images(run, 32)
    options = ExportOptions(form="onnx", precision=precision)
    code = write_onnx(run, path, options, lambda limit: images)
    write_onnx(run, whole, ExportOptions(form="onnx"), no_images)
    assert path.stat().st_size < 0.7 * whole.stat().st_size
    found = runtime(path, images)
    assert found.dtype == torch.float32
    assert "cosine similarity" in code
    like = nn.functional.cosine_similarity(found, run.encoder.features(images))
    assert float(like.min()) > 0.9
    difference = largest_difference(found, run.encoder.features(images))
    assert difference > 1e-6, "the model is not in a smaller precision"
    inputs = onnx.load(path).graph.input[0].type.tensor_type
    assert inputs.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.slow
def test_the_images_of_a_calibration_are_of_every_part_of_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = exported_run(width=0.0625), []
    whole = program_files.quantised

    def remembered(content: bytes, images: torch.Tensor) -> tuple[bytes, str]:
        seen.append(images)
        return whole(content, images)

    monkeypatch.setattr(program_files, "quantised", remembered)
    images = random_images(run, 32)
    images[16:] *= 0.1  # the second class of a set that is sorted by class
    options = ExportOptions(form="onnx", precision="int8")
    write_onnx(run, tmp_path / "x.onnx", options, lambda limit: images)
    assert sum(float(one.max()) < 0.2 for one in seen[0]) == 8


def test_a_difference_is_relative_to_features_that_are_all_small() -> None:
    small = torch.full((2, 3), 1e-4)
    assert largest_difference(2 * small, small) == pytest.approx(1)
    assert largest_difference(torch.tensor([[200.0, 0.1]]), torch.tensor([[100.0, 0.1]])) == 1
    assert largest_difference(torch.zeros(1, 2), torch.zeros(1, 2)) == 0


def test_too_few_images_are_refused_before_a_file_is_written(tmp_path: Path) -> None:
    run, options = exported_run(width=0.0625), ExportOptions(form="onnx", precision="int8")
    with pytest.raises(ConfigError, match="on 8 images at least, and there are 3; give more"):
        write_onnx(run, tmp_path / "x.onnx", options, lambda limit: random_images(run, 3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_that_differs_from_pytorch_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = exported_run(width=0.0625)
    other = exported_run(width=0.0625, mean=(0.1, 0.1, 0.1))
    whole = program_files.onnx_model
    monkeypatch.setattr(program_files, "onnx_model", lambda network, **named: whole(wrong, **named))
    wrong = FeatureNetwork(other.encoder)
    with pytest.raises(SparringError, match="features differ from PyTorch's by"):
        write_onnx(run, tmp_path / "x.onnx", ExportOptions(form="onnx"), no_images)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ConfigError, match=r"needs the package onnxruntime; pip install 'sparring\["
    ):
        write_onnx(
            exported_run(width=0.0625), tmp_path / "x.onnx", ExportOptions(form="onnx"), no_images
        )


@pytest.mark.slow
def test_a_program_runs_in_a_process_that_cannot_import_this_library(tmp_path: Path) -> None:
    run, path = exported_run(**NARROW), tmp_path / "model.pt2"
    code = write_program(run, path, ExportOptions(form="torch-export"))
    images = random_images(run, 7)
    torch.save(images, tmp_path / "images.pt")
    script = f"""
import sys
class Forbids:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sparring":
            raise ImportError("sparring is not there")
sys.meta_path.insert(0, Forbids())
{code}
torch.save(model(torch.load({str(tmp_path / "images.pt")!r})), {str(tmp_path / "found.pt")!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "found.pt")
    assert largest_difference(found, run.encoder.features(images)) < TOLERANCE


@pytest.mark.slow
def test_a_program_with_open_sizes_takes_multiples_of_32_and_says_what_it_is(
    tmp_path: Path,
) -> None:
    run, path = exported_run(width=0.0625), tmp_path / "model.pt2"
    options = ExportOptions(form="torch-export", dynamic_size=True)
    write_program(run, path, options)
    facts = {"sparring.json": ""}
    loaded = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=facts).module()
    images = torch.rand(3, 3, 64, 32, generator=torch.Generator().manual_seed(2))
    assert largest_difference(loaded(images), run.encoder.features(images)) < TOLERANCE
    assert json.loads(facts["sparring.json"])["method"] == "simclr"


def test_a_transformer_has_no_open_sizes() -> None:
    network = FeatureNetwork(exported_run(**TRANSFORMER).encoder)
    with pytest.raises(ConfigError, match="has position embeddings for 32 px: leave it out"):
        traced(network, image_size=32, has_dynamic_size=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"form": "onxx"}, r"unknown export format 'onxx'; did you mean 'onnx'\? Accepted: hub"),
        (
            {"form": "onnx", "precision": "fp16"},
            r"unknown precision 'fp16'; did you mean 'float16'\?",
        ),
        ({"precision": "int8"}, "--precision is for --format onnx, not timm; leave it out"),
        ({"form": "hub", "dynamic_size": True}, "--dynamic-size is for --format onnx or torch-ex"),
        ({"form": "onnx", "licence": "mit"}, "--licence is for --format hub, not onnx"),
        ({"form": "onnx", "has_data": True}, "--data names the images for --precision float16"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        ExportOptions(**given)
