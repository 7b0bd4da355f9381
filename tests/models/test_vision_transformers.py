"""Vision transformers: patches, width and depth, several image sizes, and what is frozen."""

import pytest
import timm
import torch

from sparring.errors import ConfigError
from sparring.models.backbones import (
    Backbone,
    EncoderSettings,
    make_backbone,
    with_own_patches,
)
from sparring.models.vision_transformers import chosen_patch_size


def made(name: str = "test_vit", *, image_size: int = 32, **settings: object) -> Backbone:
    torch.manual_seed(0)
    return make_backbone(
        EncoderSettings.build({"backbone": name, **settings}), image_size=image_size
    )


def num_tokens(backbone: Backbone) -> int:
    return backbone.network.get_parameter("pos_embed").shape[1] - 1


@pytest.mark.parametrize(("size", "tokens"), [(32, 64), (48, 64), (64, 64), (96, 36), (224, 196)])
def test_small_images_have_smaller_patches_than_the_name_says(size: int, tokens: int) -> None:
    assert num_tokens(made(image_size=size)) == tokens


def test_images_that_no_patch_divides_well_keep_the_patches_of_the_name() -> None:
    assert [chosen_patch_size(size) for size in (28, 33, 37)] == [4, 3, 0]


def test_a_run_of_an_older_version_keeps_the_patches_of_the_name() -> None:
    stored = {"backbone": "vit_tiny_patch16_224"}
    assert with_own_patches(stored) == {**stored, "patch_size": 0}
    assert with_own_patches({**stored, "patch_size": 4}) == {**stored, "patch_size": 4}
    assert with_own_patches({"backbone": "resnet18"}) == {"backbone": "resnet18"}
    assert num_tokens(made(patch_size=0)) == 4


def test_a_new_run_says_the_size_of_its_patches() -> None:
    assert EncoderSettings(backbone="test_vit").resolved(32).patch_size == 4
    assert EncoderSettings(backbone="test_vit").resolved(224).patch_size == 0
    assert EncoderSettings(backbone="test_vit", patch_size=8).resolved(32).patch_size == 8
    assert EncoderSettings().resolved(32).patch_size is None


def test_width_depth_and_heads_change_the_shape() -> None:
    network = made("vit_tiny_patch16_224", width=0.5, depth=2, heads=6).network
    assert network.get_parameter("cls_token").shape == (1, 1, 96)
    assert len(list(network.get_submodule("blocks").children())) == 2
    assert network.get_submodule("blocks.0.attn").num_heads == 6


@pytest.mark.parametrize("image_size", [32, 224])
def test_the_network_is_timms_own_at_the_size_of_the_run(image_size: int) -> None:
    backbone = made(image_size=image_size, patch_size=16)
    torch.manual_seed(0)
    own = timm.create_model("test_vit", num_classes=0, img_size=image_size)
    assert list(own.state_dict()) == list(backbone.network.state_dict())
    images = torch.rand(2, 3, image_size, image_size)
    for network in (own, backbone):
        network(images).square().sum().backward()
    assert torch.equal(backbone.eval()(images), own.eval()(images))
    for (name, parameter), other in zip(own.named_parameters(), backbone.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad), name


def test_images_of_other_sizes_go_through_the_same_network() -> None:
    backbone = made().eval()
    for size in (12, 16, 48):
        assert backbone(torch.rand(2, 3, size, size)).shape == (2, backbone.num_features)
    backbone(torch.rand(2, 3, 12, 12)).sum().backward()
    assert backbone.network.get_parameter("pos_embed").grad is not None


def test_images_of_an_older_run_may_end_in_part_of_a_patch() -> None:
    backbone = made("vit_tiny_patch16_224", image_size=40, patch_size=0, depth=1)
    assert num_tokens(backbone) == 4


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"patch_size": 5},
            "encoder.patch_size=5: test_vit cannot divide images of 32 px into such patches; "
            "take one of 2, 4, 8, 16, or set training.image_size=30",
        ),
        (
            {"width": 0.51},
            "encoder.width=0.51 makes tokens of 33 numbers of test_vit's 64, which 2 heads cannot "
            "share equally; the nearest that can is encoder.width=0.5, or set encoder.heads",
        ),
        (
            {"small_images": True},
            "encoder.small_images is for ResNets; 'test_vit' is none, leave it out; "
            "encoder.patch_size says the size of its patches",
        ),
        (
            {"backbone": "resnet18", "patch_size": 4},
            "encoder.patch_size is for vision transformers (vit_* and deit* of timm); 'resnet18' "
            "is none, leave it out",
        ),
        (
            {"backbone": "convnext_atto", "width": 0.5},
            "encoder.width is for ResNets and vision transformers (vit_* and deit* of timm); "
            "'convnext_atto' is neither, leave it out",
        ),
    ],
)
def test_what_a_network_cannot_take_is_told_in_one_line(
    settings: dict[str, object], line: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        made(**{"name": settings.pop("backbone", "test_vit"), **settings})  # type: ignore[arg-type]
    assert str(refusal.value) == line


def test_a_frozen_patch_projection_is_drawn_uniformly_and_takes_no_gradient() -> None:
    backbone = made(frozen_patch_projection=True)
    weight = backbone.network.get_parameter("patch_embed.proj.weight")
    bound = (6 / (3 * 4 * 4 + 64)) ** 0.5
    assert 0.95 * bound < weight.abs().max() <= bound
    assert set(backbone.frozen) == {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    backbone(torch.rand(2, 3, 32, 32)).sum().backward()
    assert weight.grad is None
    assert backbone.network.get_parameter("pos_embed").grad is not None


def test_fixed_positions_are_sines_and_cosines_of_row_and_column() -> None:
    backbone = made(fixed_positions=True)
    positions = backbone.network.get_parameter("pos_embed")
    assert not positions.requires_grad
    assert torch.equal(positions[0, 0], torch.zeros(64))  # the class token
    grid = positions[0, 1:].view(8, 8, 64)
    frequencies = 1 / 10000 ** (torch.arange(16) / 16)
    for row, column in ((0, 0), (2, 5), (7, 7)):
        angles = [place * frequencies for place in (row, column)]
        expected = torch.cat([part(a) for a in angles for part in (torch.sin, torch.cos)])
        assert sorted(expected.tolist()) == pytest.approx(sorted(grid[row, column].tolist()))
