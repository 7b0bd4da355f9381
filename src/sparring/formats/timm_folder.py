"""Weights and `config.json` as timm loads them from a folder or from the Hugging Face Hub, without
this library."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.files import write_atomically
from sparring.formats.feature_network import TOLERANCE, FeatureNetwork, largest_difference
from sparring.formats.timm_networks import is_widened, timm_model_arguments, widened
from sparring.models.encoder import Encoder
from sparring.training.settings import RunConfig

WEIGHTS, CONFIG, EXACT = "model.safetensors", "config.json", "backbone.safetensors"
"""Files of a folder: timm's weights, timm's configuration, and the weights of a narrow network
under its own shapes."""


def write_timm_files(encoder: Encoder, config: RunConfig, folder: Path, *, licence: str) -> float:
    """Write weights and configuration into a folder, and load them by `timm.create_model`.

    Of a narrow ResNet, the weights are widened to timm's stem, and those of the network itself are
    written beside them.

    Args:
        encoder: its network has no `obstacle`.
        config: configuration of its run.
        folder: existing folder.
        licence: of the weights, as the Hub names it.

    Returns:
        Largest difference between the features of timm's network and the encoder's; see
        `largest_difference`.

    Raises:
        SparringError: if it is larger than `TOLERANCE`.
    """
    network = _built(encoder, config)
    state = encoder.backbone.network.state_dict()
    if is_widened(encoder, config):
        write_weights(folder / EXACT, state)
        shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
        state = widened(state, shapes)
    write_weights(folder / WEIGHTS, state)
    tree = timm_configuration(encoder, config, network, licence=licence)
    write_atomically(folder / CONFIG, (json.dumps(tree, indent=2) + "\n").encode())
    difference = _difference(encoder, config, folder)
    if not difference <= TOLERANCE:
        raise SparringError(
            f"timm's {config.encoder.backbone} has other features than this run's encoder "
            f"(difference {difference:.1e}); use --format onnx or torch-export"
        )
    return difference


def write_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write a state dict as safetensors."""
    # Layers may share a weight, which safetensors refuses.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_atomically(path, safetensors.torch.save(tensors, metadata={"format": "pt"}))


def timm_configuration(
    encoder: Encoder, config: RunConfig, network: nn.Module, *, licence: str
) -> dict[str, Any]:
    """Content of timm's `config.json`.

    Args:
        encoder: of the run.
        config: configuration of the run.
        network: timm's network of the same arguments; says which layers are the first and the last.
        licence: of the weights.
    """
    size, channels = config.image_size, config.data.channels
    mean, std = config.encoder.normalisation(channels)
    arguments = timm_model_arguments(encoder, config)
    known: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    is_fixed = bool(known.get("fixed_input_size")) and "dynamic_img_size" not in arguments
    return {
        "architecture": config.encoder.backbone,
        "num_classes": 0,
        "num_features": encoder.backbone.num_features,
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": "sparring",
            "custom_load": False,
            "input_size": [channels, size, size],
            "fixed_input_size": is_fixed,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(mean),
            "std": list(std),
            "num_classes": 0,
            "pool_size": None,
            "first_conv": known.get("first_conv"),
            "classifier": known.get("classifier"),
            "license": licence,
        },
    }


def _built(encoder: Encoder, config: RunConfig) -> nn.Module:
    """timm's network of the arguments, with random weights."""
    arguments = timm_model_arguments(encoder, config)
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = timm.create_model(
            config.encoder.backbone, num_classes=0, in_chans=config.data.channels, **arguments
        )
    return network


def _difference(encoder: Encoder, config: RunConfig, folder: Path) -> float:
    """Largest difference of what timm loads from the folder to the encoder."""
    with torch.random.fork_rng(devices=[]):
        loaded: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    draws, size = torch.Generator().manual_seed(0), config.image_size
    images = torch.rand(4, config.data.channels, size, size, generator=draws)
    own = FeatureNetwork(encoder)
    with torch.no_grad():
        found: Tensor = loaded.eval()((images - own.mean) / own.std)
        return largest_difference(found, own(images))
