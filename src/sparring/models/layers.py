"""Layers of a network from its input to its output: their depths, and stages that stay frozen."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from timm.models import group_parameters
from torch import nn

from sparring.errors import ConfigError

_HEAD = "projector"
"""Name of a parameter behind the network, where timm's networks have a classifier."""


def depths_from_output(network: nn.Module) -> dict[str, int]:
    """Depth of every parameter, by its name: 1 for the last layer, one more for each layer before
    it, and 0 for what timm counts to the classifier, such as a last norm.

    Layers are those of timm's `group_matcher`: the blocks, the stem first. A network without one
    has its children for layers, in their order; children that hold only vectors, such as norms,
    belong to the layer before them. A network with a single child is that child.

    Args:
        network: any network.
    """
    layers = _layers(network, is_coarse=False)
    return {name: len(layers) - 1 - number for number, layer in enumerate(layers) for name in layer}


def freeze_stages(network: nn.Module, count: int, *, name: str) -> None:
    """Turn off the gradients of the stem and of the first stages.

    Stages are those of timm's coarse `group_matcher`: the four of a ResNet or a ConvNeXt, the seven
    of an EfficientNet, each block of a vision transformer. For other networks see
    `depths_from_output`: the first layer is the stem.

    Args:
        network: any network.
        count: number of stages behind the stem; 0 freezes nothing, the stem neither.
        name: name of the network, for messages.

    Raises:
        ConfigError: if there are no more stages than these; one at least must learn.
    """
    if not count:
        return
    stem, *stages = _layers(network, is_coarse=True)[:-1] or [[]]
    if count >= len(stages):
        most = len(stages) - 1
        accepted = f"accepted are 0 to {most}" if most > 0 else "leave it out"
        raise ConfigError(
            f"encoder.frozen_stages={count}: {name} has {len(stages)} "
            f"stage{'s' * (len(stages) != 1)} after its stem, and one at least must learn; "
            f"{accepted}"
        )
    frozen = {*stem, *(parameter for stage in stages[:count] for parameter in stage)}
    for parameter_name, parameter in network.named_parameters():
        if parameter_name in frozen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(
            f"encoder.frozen_stages={count}: the other layers of {name} are frozen already, so "
            "nothing of it would learn; leave it out"
        )


def _layers(network: nn.Module, *, is_coarse: bool) -> list[list[str]]:
    """Names of the parameters of each layer from the input, and last those of the head, if any."""
    prefix, inner = _innermost(network)
    matcher = getattr(inner, "group_matcher", None)
    layers = _children(inner) if matcher is None else _matched(inner, matcher(coarse=is_coarse))
    return [[prefix + name for name in layer] for layer in layers]


def _innermost(network: nn.Module) -> tuple[str, nn.Module]:
    """The network without wrappers around a single child, and the prefix of its names."""
    prefix = ""
    while not hasattr(network, "group_matcher"):
        parts = list(_learning_children(network))
        if len(parts) != 1 or list(network.parameters(recurse=False)):
            break
        if not list(parts[0][1].children()):  # a single layer
            break
        prefix, network = f"{prefix}{parts[0][0]}.", parts[0][1]
    return prefix, network


def _learning_children(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in network.named_children():
        if next(child.parameters(), None) is not None:
            yield name, child


class _Headed(nn.Module):
    """Parameters of a network, and one more that no matcher knows, in the place of a classifier."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.named = [*network.named_parameters(), (_HEAD, nn.Parameter(torch.empty(0)))]

    def named_parameters(self, *_: Any, **__: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters."""
        return iter(self.named)


def _matched(network: nn.Module, matcher: Callable[[str], Any] | dict[str, Any]) -> list[list[str]]:
    """Layers by timm's rule for this network; the last holds what the rule does not know."""
    number_of = group_parameters(_Headed(network), matcher, reverse=True)
    last, layers = number_of.pop(_HEAD), defaultdict(list)
    for name, number in number_of.items():
        layers[number].append(name)
    return [layers[number] for number in range(last + 1)]


def _children(network: nn.Module) -> list[list[str]]:
    """Children as layers, an empty head last; parameters of the network itself are in the first."""
    layers: list[list[str]] = []
    for name, child in _learning_children(network):
        names = [f"{name}.{inner}" for inner, _ in child.named_parameters()]
        if layers and all(parameter.ndim <= 1 for parameter in child.parameters()):
            layers[-1] += names
        else:
            layers.append(names)
    layers = layers or [[]]
    layers[0] = [name for name, _ in network.named_parameters(recurse=False)] + layers[0]
    return [*layers, []]
