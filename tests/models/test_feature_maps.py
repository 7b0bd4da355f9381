"""Maps of a ResNet, and dilation: the finer map is the coarser one with what lies between its
pixels."""

from copy import deepcopy

import pytest
import timm
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError
from sparring.models.backbones import EncoderSettings, make_backbone
from sparring.models.feature_maps import STAGES, FeatureMaps, dilate


def resnet(name: str = "resnet18", *, small: bool = False, width: float = 0.125) -> nn.Module:
    """Narrow network whose batch norms do something."""
    torch.manual_seed(0)
    network = make_backbone(
        EncoderSettings(backbone=name, width=width, small_images=small), image_size=64
    ).network
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(layer.bias, std=0.1)
    return network.eval()


def maps_of(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(FeatureMaps(network)(images))


@pytest.mark.parametrize("size", [(64, 64), (65, 81), (50, 39)])
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(
    ("name", "output_stride"),
    [*(("resnet18", stride) for stride in (1, 2, 4, 8, 16, 32)), ("resnet50", 2), ("resnet50", 8)],
)
def test_the_dilated_map_subsampled_is_the_strided_one(
    name: str, output_stride: int, small: bool, size: tuple[int, int]
) -> None:
    network = resnet(name, small=small, width=0.0625)
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    strided, finer = maps_of(network, images), deepcopy(network)
    strides = FeatureMaps(network).strides
    dilate(finer, output_stride=output_stride)
    dilated, new_strides = maps_of(finer, images), FeatureMaps(finer).strides
    for stage in STAGES:
        assert new_strides[stage] == min(strides[stage], max(output_stride, strides["layer1"]))
        step, scale = strides[stage] // new_strides[stage], strided[stage].abs().max()
        # The same sums in another order.
        torch.testing.assert_close(
            dilated[stage][:, :, ::step, ::step] / scale, strided[stage] / scale, atol=1e-4, rtol=0
        )


def test_dilation_is_no_mere_change_of_stride() -> None:
    network = resnet()
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    strided, naive = maps_of(network, images)["layer4"], deepcopy(network)
    for layer in naive.get_submodule("layer4").modules():
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
    assert (maps_of(naive, images)["layer4"][:, :, ::2, ::2] - strided).abs().max() > 0.01


def test_a_stride_that_all_stages_keep_changes_nothing() -> None:
    network = resnet()
    before = str(network)
    dilate(network, output_stride=32)
    assert str(network) == before


def test_dilation_changes_no_weight() -> None:
    network = resnet()
    before = deepcopy(network.state_dict())
    dilate(network, output_stride=8)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(("small", "strides"), [(False, [4, 8, 16, 32]), (True, [1, 2, 4, 8])])
def test_channels_and_strides_are_those_of_the_maps(small: bool, strides: list[int]) -> None:
    maps = FeatureMaps(resnet(small=small))
    assert maps.strides == dict(zip(STAGES, strides, strict=True))
    found = maps(torch.zeros(2, 3, 64, 64))
    assert (
        {stage: map_.shape[1] for stage, map_ in found.items()}
        == maps.channels
        == dict(zip(STAGES, (8, 16, 32, 64), strict=True))
    )
    assert [64 // map_.shape[2] for map_ in found.values()] == strides


def test_only_the_stages_asked_for_come_out_and_later_layers_are_left_out() -> None:
    network = resnet()
    maps = FeatureMaps(network, stages=("layer1", "layer3"))
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = maps(images)
    assert list(found) == ["layer1", "layer3"]
    assert all(torch.equal(map_, maps_of(network, images)[stage]) for stage, map_ in found.items())
    assert "layer4" not in maps.layers


def test_the_last_map_averaged_is_the_output_of_the_network() -> None:
    network = resnet()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        maps_of(network, images)["layer4"].mean(dim=(2, 3)), network(images), atol=1e-5, rtol=1e-5
    )


def test_measuring_changes_neither_modes_nor_statistics() -> None:
    network = resnet().train()
    network.get_submodule("layer2").eval()
    before = deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    FeatureMaps(network)
    dilate(network, output_stride=8)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", ["test_resnet", "resnet26d"])
def test_a_resnet_that_pools_between_its_stages_is_refused(name: str) -> None:
    with pytest.raises(
        ConfigError,
        match="pools between its stages and cannot be dilated; take a plain one such as resnet50",
    ):
        dilate(timm.create_model(name, num_classes=0), output_stride=8)


@pytest.mark.parametrize(
    "network", [nn.Sequential(nn.Conv2d(3, 4, 3)), timm.create_model("test_vit", num_classes=0)]
)
def test_a_network_without_stages_is_refused(network: nn.Module) -> None:
    with pytest.raises(
        ConfigError,
        match=(
            "need a ResNet with the stages layer1, layer2, layer3, layer4; this backbone has none"
        ),
    ):
        FeatureMaps(network)
