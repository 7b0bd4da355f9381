"""Backbones: stems, widths, the user's own modules, and what is refused."""

import pytest
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError
from sparring.models.backbones import CUSTOM, Backbone, EncoderSettings, make_backbone


def made(name: str = "resnet18", *, image_size: int = 32, **settings: object) -> Backbone:
    return make_backbone(
        EncoderSettings.build({"backbone": name, **settings}), image_size=image_size
    )


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    """Weights of a bias-free convolution and its batch norm."""
    return inputs * outputs * kernel**2 + 2 * outputs


def basic_stages(width: list[int]) -> int:
    """Parameters of the four stages of ResNet-18."""
    total, inputs = 0, width[0]
    for stage, channels in enumerate(width):
        total += convolution(inputs, channels, 3) + 3 * convolution(channels, channels, 3)
        total += convolution(inputs, channels, 1) if stage > 0 else 0
        inputs = channels
    return total


def bottleneck_stages(width: list[int]) -> int:
    """Parameters of the four stages of ResNet-50."""
    total, inputs = 0, width[0]
    for blocks, channels in zip((3, 4, 6, 3), width, strict=True):
        for block in range(blocks):
            total += (
                convolution(inputs, channels, 1)
                + convolution(channels, channels, 3)
                + convolution(channels, 4 * channels, 1)
            )
            total += convolution(inputs, 4 * channels, 1) if block == 0 else 0
            inputs = 4 * channels
    return total


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("width", [1.0, 0.5, 0.25, 0.0625])
@pytest.mark.parametrize(
    ("name", "stages", "expansion"),
    [("resnet18", basic_stages, 1), ("resnet50", bottleneck_stages, 4)],
)
def test_a_resnet_of_any_width_is_the_papers_with_fewer_channels(
    name: str, stages: object, expansion: int, width: float, small: bool
) -> None:
    if name == "resnet50" and width == 1.0 and not small:
        pytest.skip("large, and the other seven cases cover it")
    network = made(name, width=width, small_images=small)
    channels = [int(width * c) for c in (64, 128, 256, 512)]
    assert callable(stages)
    assert num_parameters(network) == convolution(3, channels[0], 3 if small else 7) + stages(
        channels
    )
    assert network.num_features == expansion * channels[-1]
    assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, network.num_features)


def test_resnet18_has_as_many_parameters_as_torchvisions() -> None:
    assert num_parameters(made(image_size=224)) == 11_176_512  # without the classifier
    assert num_parameters(made(image_size=32)) == 11_168_832  # the CIFAR form


def stem_output(network: Backbone, size: int) -> tuple[int, int]:
    inner = network.network
    before_blocks = nn.Sequential(
        *(inner.get_submodule(name) for name in ("conv1", "bn1", "act1", "maxpool"))
    )
    height, width = before_blocks(torch.zeros(2, 3, size, size)).shape[-2:]
    return height, width


def test_the_small_stem_keeps_the_size_of_the_image() -> None:
    network = made(image_size=32, width=0.25)
    stem = network.network.get_submodule("conv1")
    assert isinstance(stem, nn.Conv2d)
    assert (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(network.network.get_submodule("maxpool"), nn.Identity)
    assert stem_output(network, 32) == (32, 32)


def test_the_large_stem_divides_the_image_by_four() -> None:
    assert stem_output(made(image_size=96, width=0.25), 96) == (24, 24)


def test_the_stem_follows_the_image_size_up_to_64_pixels_unless_told() -> None:
    assert stem_output(made(image_size=64, width=0.25), 64) == (64, 64)
    assert stem_output(made(image_size=65, width=0.25), 64) == (16, 16)
    assert stem_output(made(image_size=32, width=0.25, small_images=False), 32) == (8, 8)
    assert stem_output(made(image_size=96, width=0.25, small_images=True), 96) == (96, 96)


def test_residual_branches_start_at_full_strength_as_in_torchvision() -> None:
    # timm would start the last norm of every block at zero.
    for name in ("resnet18", "resnet50"):
        scales = [
            module.weight
            for module in made(name, width=0.25).modules()
            if isinstance(module, nn.BatchNorm2d)
        ]
        assert len(scales) >= 20
        assert all(torch.equal(scale, torch.ones_like(scale)) for scale in scales)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown backbone 'resnet81'; did you mean 'resnet18'"):
        made("resnet81")


def test_a_name_unlike_any_other_still_lists_what_is_accepted() -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone 'zzz'.*resnet18"):
        made("zzz")


def test_a_vision_transformer_is_built_for_the_image_size() -> None:
    for size, tokens in ((32, 4), (64, 16)):
        network = made("test_vit", image_size=size, patch_size=0)
        positions = network.network.get_parameter("pos_embed")
        assert positions.shape[1] - tokens in (0, 1)  # with or without a class token
        assert network.eval()(torch.zeros(2, 3, size, size)).shape == (2, network.num_features)


def test_other_networks_take_the_image_as_it_is() -> None:
    network = made("test_convnext", image_size=32)
    assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, network.num_features)


@pytest.mark.parametrize("size", [8, 40])
def test_a_side_that_the_patches_do_not_divide_is_refused_by_name(size: int) -> None:
    with pytest.raises(
        ConfigError, match=f"backbone=test_vit cannot be built for {size} px images"
    ):
        made("test_vit", image_size=size, patch_size=0)


@pytest.mark.parametrize("setting", [{"width": 0.5}, {"small_images": True}])
def test_width_and_stem_are_refused_for_other_networks(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"for ResNets.*; 'convnext_atto' is n"):
        made("convnext_atto", **setting)


def test_a_resnet_with_a_stem_of_several_convolutions_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"small_images.*set it to false"):
        made("resnet10t", image_size=32)
    with pytest.raises(ConfigError, match="use width 1"):
        made("resnet10t", width=0.5, small_images=False)


def test_a_run_with_a_network_of_ones_own_asks_for_it() -> None:
    with pytest.raises(ConfigError, match=r"network of your own \(MyNet\).*backbone=\.\.\."):
        made(f"{CUSTOM}MyNet")


class Gives(nn.Module):
    """Network with a given output."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> object:
        """The given output, whatever the images."""
        return self.output


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (torch.tensor([[1.0, 2.0]]), [1.0, 2.0]),
        (torch.arange(8.0).view(1, 2, 2, 2), [1.5, 5.5]),  # channels first: mean over the map
        (torch.arange(6.0).view(1, 3, 2), [2.0, 3.0]),  # channels last: mean over the tokens
    ],
)
def test_any_module_with_features_maps_or_tokens_is_a_backbone(
    output: Tensor, expected: list[float]
) -> None:
    network = Backbone(Gives(output), image_size=8)
    assert network.num_features == 2
    assert network(torch.zeros(1, 3, 8, 8)).tolist() == [expected]


@pytest.mark.parametrize(
    "output",
    [
        torch.zeros(3),
        torch.zeros(1, 2, 3, 4, 5),
        (torch.zeros(1, 2),),
        {"features": torch.zeros(1, 2)},
    ],
)
def test_any_other_output_is_refused(output: object) -> None:
    with pytest.raises(ConfigError, match="its output must be a tensor"):
        Backbone(Gives(output), image_size=8)


def test_measuring_a_network_changes_neither_its_statistics_nor_its_mode() -> None:
    for training in (True, False):
        norm = nn.BatchNorm2d(3).train(training)
        network = Backbone(norm, image_size=8)
        assert norm.num_batches_tracked == 0
        assert network.training
        assert norm.training


def test_shortcuts_of_narrow_networks_have_the_gradient_of_a_strided_convolution() -> None:
    # A strided 1 x 1 convolution of few channels is where oneDNN's own gradient writes past its
    # buffer.
    network = made("resnet18", width=0.0625, small_images=True).network
    shortcut, strided = (
        network.get_submodule("layer2.0.downsample.0"),
        nn.Conv2d(4, 8, 1, stride=2, bias=False).double(),
    )
    assert isinstance(shortcut, nn.Conv2d)
    shortcut.to(memory_format=torch.channels_last)
    strided.load_state_dict(shortcut.state_dict())
    images = torch.randn(8, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    given = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        shortcut(given).double(), strided(images.double()), rtol=1e-5, atol=1e-5
    )
    ours = torch.autograd.grad(shortcut(given).square().sum(), shortcut.weight)[0]
    exact = torch.autograd.grad(strided(images.double()).square().sum(), strided.weight)[0]
    torch.testing.assert_close(
        ours.double(), exact, rtol=1e-4, atol=1e-2
    )  # sums of 512 float32 products of size up to 10


def test_only_narrow_shortcuts_are_replaced_and_every_weight_keeps_its_name() -> None:
    narrow, wide = (
        made("resnet18", width=0.125, small_images=True).network,
        made("resnet18", small_images=True).network,
    )
    assert type(narrow.get_submodule("layer2.0.downsample.0")) is not nn.Conv2d
    assert type(narrow.get_submodule("layer3.0.downsample.0")) is nn.Conv2d
    assert all(type(layer) is nn.Conv2d for layer in wide.modules() if isinstance(layer, nn.Conv2d))
    assert narrow.state_dict().keys() == wide.state_dict().keys()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "convnext_atto", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("channels", [1, 4])
def test_the_stem_takes_the_channels_of_the_images(name: str, channels: int) -> None:
    backbone = make_backbone(EncoderSettings(backbone=name), image_size=32, channels=channels)
    assert backbone.eval()(torch.zeros(2, channels, 32, 32)).shape == (2, backbone.num_features)


@pytest.mark.parametrize("settings", [{"width": 0.25}, {"small_images": True}])
def test_every_stem_takes_other_channels(settings: dict[str, object]) -> None:
    given = EncoderSettings.build(settings)
    backbone = make_backbone(given, image_size=96, channels=6)
    assert backbone.eval()(torch.zeros(1, 6, 96, 96)).shape == (1, backbone.num_features)


def test_normalisation_has_one_value_per_channel() -> None:
    assert EncoderSettings().normalisation(3)[0] == (0.485, 0.456, 0.406)
    mean, std = EncoderSettings().normalisation(5)
    assert mean == pytest.approx((0.449,) * 5)
    assert std == pytest.approx((0.226,) * 5)
    given = EncoderSettings(mean=(0.1, 0.2), std=(0.3, 0.4))
    assert given.normalisation(2) == ((0.1, 0.2), (0.3, 0.4))
    with pytest.raises(ConfigError, match=r"encoder.mean has 2 values and data.channels is 4"):
        given.normalisation(4)
