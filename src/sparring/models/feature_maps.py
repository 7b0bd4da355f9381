"""Feature maps of a ResNet's stages for detection and segmentation, and dilation of its last
stages."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparring.errors import ConfigError

STAGES = ("layer1", "layer2", "layer3", "layer4")
"""Names of a ResNet's stages in timm and torchvision."""


class FeatureMaps(nn.Module):
    """Network from normalised images to the feature maps of chosen stages.

    Args:
        network: timm's ResNet, used without copying: pass a deep copy if it will be trained.
        stages: some of `STAGES`, in their order; layers after the last are left out.

    Attributes:
        channels: number of channels of each map, by stage.
        strides: pixels of the image per pixel of each map, by stage.

    Raises:
        ConfigError: if the network is no ResNet.
    """

    def __init__(self, network: nn.Module, *, stages: tuple[str, ...] = STAGES) -> None:
        super().__init__()
        children = dict(network.named_children())
        if not set(STAGES) <= children.keys():
            raise ConfigError(
                "maps for detection and segmentation need a ResNet with the stages "
                f"{', '.join(STAGES)}; this backbone has none"
            )
        names = list(children)
        kept = names[: names.index(stages[-1]) + 1]
        self.layers = nn.ModuleDict({name: children[name] for name in kept})
        self.stages = stages
        shapes = self._measured_shapes()
        self.channels = {name: int(shape[1]) for name, shape in shapes.items()}
        self.strides = {name: 128 // int(shape[2]) for name, shape in shapes.items()}

    def _measured_shapes(self) -> dict[str, torch.Size]:
        """Shapes of the maps of a 128 x 128 image; each layer's training mode is kept."""
        modes = [(module, module.training) for module in self.modules()]
        device = next(self.parameters()).device
        with torch.no_grad():
            shapes = {
                name: map_.shape
                for name, map_ in self.eval()(torch.zeros(1, 3, 128, 128, device=device)).items()
            }
        for module, mode in modes:
            module.training = mode
        return shapes

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """Compute the maps, by stage."""
        maps = {}
        for name, layer in self.layers.items():
            images = layer(images)
            if name in self.stages:
                maps[name] = images
        return maps


def dilate(network: nn.Module, *, output_stride: int) -> None:
    """Keep the maps of a ResNet's last stages at `output_stride`, in place: strides become dilation
    of the following convolutions.

    The receptive fields stay the same: every `stride`-th pixel of the new map is a pixel of the old
    one.

    Args:
        network: timm's ResNet.
        output_stride: pixels of the image per pixel of the last map, at least the stem's stride;
            stages that are already finer do not change.

    Raises:
        ConfigError: for a ResNet that pools between its stages.

    Source: Chen et al. 2017 (DeepLab), arXiv:1606.00915, section 3.1.
    """
    strides, dilation = FeatureMaps(network).strides, 1
    before = strides[STAGES[0]]  # the stem keeps its stride
    for stage in STAGES:
        growth, before = strides[stage] // before, strides[stage]
        exceeds = strides[stage] > output_stride and growth > 1
        following = dilation * (growth if exceeds else 1)
        _dilate_stage(
            network.get_submodule(stage), first=dilation, following=following, drop_stride=exceeds
        )
        dilation = following


def _dilate_stage(stage: nn.Module, *, first: int, following: int, drop_stride: bool) -> None:
    """Set the dilation of a stage: `first` up to the convolution that had the stride, `following`
    after it."""
    if drop_stride and any(
        isinstance(layer, nn.AvgPool2d | nn.MaxPool2d) for layer in stage.modules()
    ):
        raise ConfigError(
            "this ResNet pools between its stages and cannot be dilated; take a plain one "
            "such as resnet50"
        )
    has_passed = not drop_stride
    for name, layer in stage.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        is_strided, is_shortcut = layer.stride != (1, 1), "downsample" in name
        if drop_stride and is_strided:
            layer.stride = (1, 1)
        if layer.kernel_size != (1, 1):
            size = following if has_passed else first
            reach = layer.kernel_size[0] // 2
            layer.dilation, layer.padding = (size, size), (size * reach, size * reach)
        has_passed = has_passed or (is_strided and not is_shortcut)
