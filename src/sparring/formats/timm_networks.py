"""How timm alone rebuilds the network of a run: its arguments, a state that fits them, and lines of
code for networks that its arguments cannot express.

A ResNet of timm has a stem of 64 channels, whatever its width. A narrower one is expressed by
adding channels of zeros to the stem, and by an identity in the place of a shortcut layer that the
narrow network does not have. Its features are the same to rounding.
"""

from collections.abc import Mapping
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sparring.models.backbones import CUSTOM, takes_image_size
from sparring.models.encoder import Encoder
from sparring.models.resnets import is_resnet, stage_widths
from sparring.models.vision_transformers import timm_arguments
from sparring.training.settings import RunConfig

TIMM_STEM = 64
"""Channels of the stem of timm's ResNets."""


def timm_model_arguments(encoder: Encoder, config: RunConfig) -> dict[str, Any]:
    """Arguments of `timm.create_model` that build the network or come nearest to it, beside its
    name, `num_classes` and `in_chans`."""
    name, size = config.encoder.backbone, config.image_size
    network = encoder.backbone.network
    if isinstance(network, VisionTransformer):
        dynamic = {"dynamic_img_size": True} if network.dynamic_img_size else {}
        shape = timm_arguments(network, config.encoder.transformer_form())
        return {"img_size": size, **shape, **dynamic}
    if is_resnet(name):
        return {"channels": list(stage_widths(config.encoder.width))}
    return {"img_size": size} if takes_image_size(name, size) else {}


def obstacle(encoder: Encoder, config: RunConfig) -> str:
    """Why no arguments of timm express the network of a run; empty if some do."""
    name, network = config.encoder.backbone, encoder.backbone.network
    if name.startswith(CUSTOM):
        return f"{name.removeprefix(CUSTOM)} is a network of your own"
    if is_resnet(name) and has_small_stem(network):
        return (
            "timm has no argument for the 3x3 stem for small images (encoder.small_images=true) "
            f"of this {name}; one trained with encoder.small_images=false is loaded by name"
        )
    if is_resnet(name) and _stem_channels(network) > TIMM_STEM and config.encoder.width > 1:
        return (
            f"timm's ResNets have a stem of {TIMM_STEM} channels, and at width "
            f"{config.encoder.width:g} this {name} has {_stem_channels(network)}"
        )
    mean = encoder.mean
    with torch.no_grad():
        size = config.image_size
        output = network(torch.zeros(1, mean.shape[1], size, size, device=mean.device))
    return "" if output.ndim == 2 else f"timm's {name} does not average its output over the image"


def has_small_stem(network: nn.Module) -> bool:
    """Whether a ResNet has the 3x3 stem for small images."""
    stem = getattr(network, "conv1", None)
    return isinstance(stem, nn.Conv2d) and stem.kernel_size == (3, 3)


def is_widened(encoder: Encoder, config: RunConfig) -> bool:
    """Whether timm's network has a wider stem than this one, whose further channels are zeros."""
    return is_resnet(config.encoder.backbone) and config.encoder.width < 1


def widened(state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """State of a narrow ResNet with the names and shapes of timm's, which has a wider stem.

    Args:
        state: of the narrow network.
        shapes: of timm's network by name.
    """
    found = {}
    for name, shape in shapes.items():
        if name in state and state[name].shape == shape:
            found[name] = state[name].detach().cpu().clone()
        elif name in state:
            # Variances of 1: a channel of zeros stays one after the batch norm, whose weight is 0.
            filled = torch.full(shape, 1.0 if name.endswith("running_var") else 0.0)
            filled[tuple(slice(side) for side in state[name].shape)] = state[name].detach().cpu()
            found[name] = filled
        else:
            found[name] = _identity(name, shape)
    return found


def _identity(name: str, shape: torch.Size) -> Tensor:
    """A tensor of a shortcut, 1 x 1 convolution and batch norm, that hands its input on."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if len(shape) == 4:
        return torch.eye(shape[0], shape[1])[:, :, None, None].clone()
    if name.endswith("running_var"):
        return torch.ones(shape)
    # The batch norm divides by the root of 1 + epsilon.
    is_weight = name.endswith("weight")
    return torch.full(shape, (1 + nn.BatchNorm2d(1).eps) ** 0.5 if is_weight else 0.0)


def timm_lines(encoder: Encoder, config: RunConfig) -> str:
    """Python lines that build the network of a run exactly, as `model`, by timm and PyTorch."""
    name, num = config.encoder.backbone, config.data.channels
    if name.startswith(CUSTOM):
        return "import torch\nmodel = ...  # your own network, with which the run was trained\n"
    network, given = encoder.backbone.network, timm_model_arguments(encoder, config)
    if is_resnet(name) and config.encoder.width == 1.0:
        del given["channels"]
    given.pop("dynamic_img_size", None)  # changes nothing at the run's own size
    given |= {} if num == 3 else {"in_chans": num}
    text = "".join(f", {argument}={value!r}" for argument, value in given.items())
    lines = f"import timm, torch\nmodel = timm.create_model({name!r}, num_classes=0{text})\n"
    if is_resnet(name) and config.encoder.width != 1.0:
        lines += _narrow_lines(network)
    return lines + small_stem_lines(network)


def small_stem_lines(network: nn.Module) -> str:
    """Python lines that give `model` the stem for small images; empty for another stem."""
    stem = getattr(network, "conv1", None)
    if not isinstance(stem, nn.Conv2d) or not has_small_stem(network):
        return ""
    return (
        f"model.conv1 = torch.nn.Conv2d({stem.in_channels}, {stem.out_channels}, 3, padding=1, "
        "bias=False)  # small-image stem\n"
        "model.maxpool = torch.nn.Identity()\n"
    )


def _narrow_lines(network: nn.Module) -> str:
    """Lines that give `model` a stem of another width, and what depends on it."""
    stem, block = network.get_submodule("conv1"), network.get_submodule("layer1.0")
    first = block.get_submodule("conv1")
    assert isinstance(stem, nn.Conv2d)
    assert isinstance(first, nn.Conv2d)
    shortcut = getattr(block, "downsample", None)
    large_stem = (
        f"model.conv1 = torch.nn.Conv2d({stem.in_channels}, width, 7, stride=2, padding=3, "
        "bias=False)\n"
    )
    lines = (
        f"width = {stem.out_channels}  # channels of the stem\n"
        f"{'' if has_small_stem(network) else large_stem}"
        "model.bn1 = torch.nn.BatchNorm2d(width)\n"
        f"model.layer1[0].conv1 = torch.nn.Conv2d(width, {first.out_channels}, "
        f"{first.kernel_size[0]}, padding={first.kernel_size[0] // 2}, bias=False)\n"
    )
    if shortcut is None:
        return lines + "model.layer1[0].downsample = None\n"
    outputs = shortcut[0].out_channels
    return lines + (
        "model.layer1[0].downsample = torch.nn.Sequential(\n"
        f"    torch.nn.Conv2d(width, {outputs}, 1, bias=False), torch.nn.BatchNorm2d({outputs})\n"
        ")\n"
    )


def _stem_channels(network: nn.Module) -> int:
    return next((part.out_channels for part in network.modules() if isinstance(part, nn.Conv2d)), 0)
