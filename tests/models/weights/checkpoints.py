"""Checkpoints as other libraries write them, around the weights of a network."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

State = Mapping[str, Tensor]
RESNET = "resnet18"
NUM_TENSORS = 100
"""Tensors of ResNet-18 without its classifier and the counts of its batch norms."""


def timm_network(name: str = RESNET, *, seed: int = 0, **arguments: object) -> nn.Module:
    """A timm network without classifier and with statistics that a training might leave."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: nn.Module = timm.create_model(name, num_classes=0, **arguments)
        return with_statistics(network)


def small_network(name: str = RESNET, *, seed: int = 0) -> nn.Module:
    """A ResNet with few channels behind its stem, under the same names."""
    return timm_network(name, seed=seed, channels=(64, 8, 8, 16))


def torchvision_network(name: str, *, seed: int = 0) -> nn.Module:
    """A torchvision network with its classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: nn.Module = torchvision.models.get_model(name)
        return with_statistics(network)


def with_statistics(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, its batch norms' statistics drawn."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.randn(layer.num_features) / 10
            layer.running_var = torch.rand(layer.num_features) + 0.5
    return network.eval()


def prefixed(state: State, prefix: str) -> dict[str, Tensor]:
    """The state under names that begin with a prefix."""
    return {prefix + name: tensor for name, tensor in state.items()}


def others(state: State) -> dict[str, Tensor]:
    """The same names with other values, like a teacher's."""
    return {name: tensor + 1 for name, tensor in state.items()}


def sequential(state: State) -> dict[str, Tensor]:
    """Names of the children of an `nn.Sequential` of a torchvision ResNet."""
    places = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    found = {}
    for name, tensor in state.items():
        first, _, rest = name.partition(".")
        found[f"{places.index(first)}.{rest}"] = tensor
    return found


HEAD = {"fc.weight": torch.ones(10, 512), "fc.bias": torch.ones(10)}
MLP = {"0.weight": torch.ones(8, 512), "2.weight": torch.ones(4, 8)}

LAYOUTS: dict[str, Callable[[State], Any]] = {
    "plain": dict,
    "torchvision": lambda state: {**state, **HEAD},
    "several processes": lambda state: prefixed({**state, **HEAD}, "module."),
    "compiled": lambda state: prefixed({**state, **HEAD}, "_orig_mod."),
    "MoCo": lambda state: {
        "epoch": 200,
        "arch": "resnet18",
        "state_dict": {
            **prefixed(others(state), "module.encoder_k."),
            **prefixed({**state, **HEAD}, "module.encoder_q."),
            "module.queue": torch.ones(4, 8),
            "module.queue_ptr": torch.zeros(1, dtype=torch.long),
        },
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{}]},
    },
    "MoCo v3": lambda state: {
        "state_dict": {
            **prefixed(others(state), "module.momentum_encoder."),
            **prefixed(state, "module.base_encoder."),
            **prefixed(MLP, "module.base_encoder.fc."),
            **prefixed(MLP, "module.predictor."),
        }
    },
    "SimSiam": lambda state: {
        "state_dict": {
            **prefixed({**state, **HEAD}, "module.encoder."),
            **prefixed(MLP, "module.predictor."),
        }
    },
    "lightly": lambda state: {
        "state_dict": {
            **prefixed(sequential(state), "backbone."),
            **prefixed(sequential(others(state)), "backbone_momentum."),
            **prefixed(MLP, "projection_head.layers."),
        },
        "pytorch-lightning_version": "2.1.0",
        "hyper_parameters": {"lr": 0.1},
    },
    "solo-learn": lambda state: {
        "state_dict": {
            **prefixed(state, "backbone."),
            **prefixed(others(state), "momentum_backbone."),
            **prefixed(MLP, "projector."),
        }
    },
    "solo-learn's old name": lambda state: {"state_dict": prefixed(state, "encoder.")},
    "DINO": lambda state: {
        "student": {
            **prefixed(others(state), "module.backbone."),
            **prefixed(MLP, "module.head.mlp."),
        },
        "teacher": {**prefixed(state, "backbone."), **prefixed(MLP, "head.mlp.")},
        "epoch": 100,
    },
    "VICReg": lambda state: {"epoch": 3, "model": prefixed(state, "module.backbone.")},
    "timm's averaged weights": lambda state: {
        "state_dict": others(state),
        "state_dict_ema": dict(state),
    },
    "a checkpoint of sparring": lambda state: {
        "format": 1,
        "method": {
            **prefixed(state, "encoder.backbone.network."),
            **prefixed(others(state), "teacher.encoder.backbone.network."),
        },
    },
    "shortcuts": lambda state: {
        "net": {name.replace("downsample", "shortcut"): one for name, one in state.items()}
    },
    "an unknown prefix": lambda state: prefixed(state, "ssl.trunk."),
    "half precision": lambda state: {
        name: one.half() if one.is_floating_point() else one for name, one in state.items()
    },
    "without counts": lambda state: {
        name: one for name, one in state.items() if not name.endswith("num_batches_tracked")
    },
}
"""What each library writes for the state of a ResNet-18."""


def saved(content: object, path: Path) -> Path:
    """A file of `torch.save`."""
    torch.save(content, path)
    return path
