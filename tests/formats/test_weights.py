"""Exported weights: the printed lines load them into the other library, with the same features."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sparring.errors import ConfigError
from sparring.formats.weights import export_weights
from sparring.models.backbones import CUSTOM, Backbone, EncoderSettings, make_backbone
from sparring.models.encoder import Encoder
from sparring.training.settings import RunConfig

TOLERANCE = 1e-5
"""Two implementations of one network add in different orders; features are of order one."""


def random_encoder(
    *, backbone: str, image_size: int, width: float = 1.0, **shape: Any
) -> tuple[Encoder, RunConfig]:
    """Encoder with random weights and statistics in evaluation mode, and the configuration that
    names it."""
    settings = EncoderSettings(backbone=backbone, width=width, **shape)
    training = {"image_size": image_size}
    config = RunConfig.from_tree(
        {"method": "simclr", "data": {}, "encoder": settings.model_dump(), "training": training}
    )
    torch.manual_seed(0)
    encoder = Encoder(
        make_backbone(settings, image_size=image_size),
        nn.Identity(),
        mean=settings.mean,
        std=settings.std,
    )
    for name, tensor in encoder.backbone.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            tensor.normal_(std=0.1)
    return encoder.eval(), config


def features_of_loaded(code: str, encoder: Encoder, images: torch.Tensor) -> torch.Tensor:
    """Features of the model that the printed lines make, executed as they are."""
    names: dict[str, object] = {}
    exec(code, names)
    model = names["model"]
    assert isinstance(model, nn.Module)
    with torch.no_grad():
        features = model.eval()((images - encoder.mean) / encoder.std)
    assert isinstance(features, torch.Tensor)
    return features


@pytest.mark.parametrize("form", ["timm", "torchvision", "safetensors"])
@pytest.mark.parametrize("image_size", [32, 96])
def test_printed_lines_load_the_same_features(tmp_path: Path, form: str, image_size: int) -> None:
    encoder, config = random_encoder(backbone="resnet18", image_size=image_size)
    images = torch.rand(2, 3, image_size, image_size)
    code = export_weights(encoder, config, form=form, out=tmp_path / f'it\'s "a" file.{form}')
    torch.testing.assert_close(
        features_of_loaded(code, encoder, images),
        encoder.features(images),
        atol=TOLERANCE,
        rtol=TOLERANCE,
    )


@pytest.mark.parametrize(
    ("backbone", "width"),
    [
        ("resnet18", 0.0625),
        ("resnet10t", 1.0),
        ("vit_tiny_patch16_224", 1.0),
        ("mobilenetv4_conv_small", 1.0),
    ],
)
def test_every_kind_of_network_survives_the_way_to_timm(
    tmp_path: Path, backbone: str, width: float
) -> None:
    encoder, config = random_encoder(backbone=backbone, image_size=96, width=width)
    images = torch.rand(2, 3, 96, 96)
    code = export_weights(encoder, config, form="safetensors", out=tmp_path / "weights.safetensors")
    torch.testing.assert_close(
        features_of_loaded(code, encoder, images),
        encoder.features(images),
        atol=TOLERANCE,
        rtol=TOLERANCE,
    )


@pytest.mark.parametrize("form", ["timm", "safetensors"])
@pytest.mark.parametrize(
    ("image_size", "shape", "arguments"),
    [
        (32, {"width": 0.5, "depth": 2}, "img_size=32, patch_size=4, embed_dim=96, depth=2"),
        (32, {"heads": 6, "fixed_positions": True}, "img_size=32, patch_size=4, num_heads=6"),
        (32, {"patch_size": 0, "depth": 1}, "img_size=32, depth=1"),
        (96, {"patch_size": 32, "frozen_patch_projection": True}, "img_size=96, patch_size=32"),
    ],
)
def test_a_transformer_of_any_shape_survives_the_way_to_timm(
    tmp_path: Path, form: str, image_size: int, shape: dict[str, Any], arguments: str
) -> None:
    encoder, config = random_encoder(
        backbone="vit_tiny_patch16_224", image_size=image_size, **shape
    )
    images = torch.rand(2, 3, image_size, image_size)
    code = export_weights(encoder, config, form=form, out=tmp_path / f"weights.{form}")
    assert f"timm.create_model('vit_tiny_patch16_224', num_classes=0, {arguments})" in code
    torch.testing.assert_close(
        features_of_loaded(code, encoder, images),
        encoder.features(images),
        atol=TOLERANCE,
        rtol=TOLERANCE,
    )


def test_weights_matter_to_the_comparison(tmp_path: Path) -> None:
    encoder, config = random_encoder(backbone="mobilenetv4_conv_small", image_size=32)
    images = torch.rand(2, 3, 32, 32)
    code = export_weights(encoder, config, form="timm", out=tmp_path / "w.pt")
    unloaded = "\n".join(line for line in code.splitlines() if "load_state_dict" not in line)
    assert not torch.allclose(
        features_of_loaded(unloaded, encoder, images),
        encoder.features(images),
        atol=100 * TOLERANCE,
    )


def test_printed_lines_say_how_images_are_normalised(tmp_path: Path) -> None:
    encoder, config = random_encoder(backbone="mobilenetv4_conv_small", image_size=32)
    code = export_weights(encoder, config, form="timm", out=tmp_path / "w.pt")
    assert (
        code.splitlines()[-1] == "# expects images in [0, 1] minus (0.485, 0.456, 0.406), "
        "divided by (0.229, 0.224, 0.225), per channel"
    )


@pytest.mark.parametrize(("backbone", "width"), [("resnet18", 0.25), ("resnet10t", 1.0)])
def test_network_that_torchvision_lacks_is_refused(
    tmp_path: Path, backbone: str, width: float
) -> None:
    encoder, config = random_encoder(backbone=backbone, image_size=96, width=width)
    with pytest.raises(
        ConfigError,
        match=(
            rf"^torchvision has no {backbone} at width {width:g}; "
            "use --format timm or safetensors"
        ),
    ):
        export_weights(encoder, config, form="torchvision", out=tmp_path / "w.pt")
    assert not (tmp_path / "w.pt").exists()


def test_network_of_your_own_is_left_to_you_to_build(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    encoder = Encoder(
        Backbone(network, image_size=8), nn.Identity(), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    config = RunConfig.from_tree(
        {
            "method": "simclr",
            "data": {},
            "encoder": {"backbone": CUSTOM + "Net"},
            "training": {"image_size": 8},
        }
    )
    code = export_weights(encoder, config, form="timm", out=tmp_path / "w.pt")
    twin = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    exec(code.replace("model = ...", "model = twin"), {"twin": twin})
    assert torch.equal(twin[2].weight, network[2].weight)
