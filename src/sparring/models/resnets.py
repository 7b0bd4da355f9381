"""ResNets of timm with another width or the stem for small images."""

import timm
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError


def is_resnet(name: str) -> bool:
    """Whether a network is one of timm's ResNets, which take a width and the small-image stem."""
    return bool(timm.models.is_model_in_modules(name, ["resnet"]))


def stage_widths(width: float) -> tuple[int, int, int, int]:
    """Channels of a ResNet's four stages (timm's `channels`) at a factor on their number."""
    first, second, third, fourth = (max(1, round(c * width)) for c in (64, 128, 256, 512))
    return first, second, third, fourth


def resnet(name: str, *, width: float, small_images: bool, channels: int) -> nn.Module:
    """Untrained ResNet.

    Args:
        name: timm's name.
        width: factor on the number of channels.
        small_images: whether it has the stem for small images.
        channels: channels of the images.

    Raises:
        ConfigError: if its stem is not a single convolution, and a width or that stem is wanted.
    """
    # zero_init_last=False is torchvision's initialisation, with which the papers trained.
    widths = stage_widths(width)
    network = timm.create_model(
        name, num_classes=0, zero_init_last=False, channels=widths, in_chans=channels
    )
    if width != 1.0:
        _narrow_stem(network, widths[0], inputs=channels)
    if small_images:
        stem = network.conv1
        if not isinstance(stem, nn.Conv2d):
            raise ConfigError(
                f"encoder.small_images: the stem of '{name}' is not a single convolution; set "
                "it to false"
            )
        network.conv1 = _convolution(channels, stem.out_channels, kernel=3)
        network.maxpool = nn.Identity()
    _subsample_before_narrow_shortcuts(network)
    return network


class _SubsampledConvolution(nn.Conv2d):
    """Strided 1 x 1 convolution that removes the unused pixels first; the result is the same."""

    def forward(self, input: Tensor) -> Tensor:
        rows, columns = self.stride
        return nn.functional.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias)


def _subsample_before_narrow_shortcuts(network: nn.Module) -> None:
    # oneDNN's gradient of a strided 1 x 1 convolution in channels-last memory writes past its
    # buffer when the input has fewer channels than a vector register holds numbers (8 with AVX2, 16
    # with AVX-512): crashes or wrong numbers (oneDNN issue 6035).
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if (
                isinstance(layer, nn.Conv2d)
                and layer.kernel_size == (1, 1)
                and layer.stride != (1, 1)
                and layer.in_channels < 16
            ):
                with torch.device("meta"):  # no draws: the weights are taken over
                    same = _SubsampledConvolution(
                        layer.in_channels,
                        layer.out_channels,
                        1,
                        stride=(layer.stride[0], layer.stride[1]),
                        bias=False,
                    )
                same.weight = layer.weight
                setattr(parent, name, same)


def _narrow_stem(network: nn.Module, channels: int, *, inputs: int) -> None:
    # timm fixes the plain stem at 64 channels, so a narrow network gets its stem and the input of
    # its first block rebuilt.
    stem, stage = network.get_submodule("conv1"), network.get_submodule("layer1")
    if not isinstance(stem, nn.Conv2d):
        raise ConfigError(
            "encoder.width: this ResNet's stem is not a single convolution; use width 1"
        )
    network.conv1 = _convolution(inputs, channels, kernel=7, stride=2)
    network.bn1 = nn.BatchNorm2d(channels)
    block = stage.get_submodule("0")
    layers = [layer for name, layer in block.named_children() if name.startswith("conv")]
    first, last = layers[0], layers[-1]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    block.conv1 = _convolution(channels, first.out_channels, kernel=first.kernel_size[0])
    shortcut = nn.Sequential(
        _convolution(channels, last.out_channels, kernel=1), nn.BatchNorm2d(last.out_channels)
    )
    # A block whose input and output agree has no shortcut layer; timm stores None there.
    setattr(block, "downsample", None if last.out_channels == channels else shortcut)  # noqa: B010


def _convolution(inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
