"""Pretrained encoders to compare with: another run, timm's weights, or a file of weights."""

from pathlib import Path

import timm
import torch
from torch import nn

from sparring.errors import ConfigError, unknown_name
from sparring.models.backbones import Backbone, nearest_backbones
from sparring.models.encoder import Encoder
from sparring.models.weights.matching import match, require_fit
from sparring.models.weights.pretrained import timm_network
from sparring.models.weights.reading import read_states
from sparring.training.encoders import load_encoder
from sparring.training.run_folder import RunFolder


def external_encoder(text: str, *, image_size: int, device: torch.device) -> Encoder:
    """The encoder of another run, of timm or of a file of weights, in evaluation mode, its
    gradients off.

    Args:
        text: a run folder; `NAME` of a timm model, whose weights timm downloads; or `NAME:FILE`,
            its weights in a file, with names as docs/weights.md lists them.
        image_size: side of the images in pixels.
        device: where to put it.

    Raises:
        ConfigError: for an unknown name.
        DataError: for weights that cannot be had or do not fit.
    """
    if (Path(text) / "config.toml").is_file():
        return load_encoder(RunFolder(text), device=str(device))
    name, _, file = text.partition(":")
    if name not in timm.list_models():
        raise ConfigError(
            f"{unknown_name('backbone', name, nearest_backbones(name))}; or give a run folder"
        )
    network = _from_file(name, Path(file)) if file else _from_timm(name)
    shown = getattr(network, "pretrained_cfg", {})
    mean, std = (
        tuple(shown.get(key, default))
        for key, default in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225)))
    )
    try:
        backbone = Backbone(network, image_size=image_size)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{name} cannot look at {image_size} px images: {error}") from None
    return (
        Encoder(backbone, nn.Identity(), mean=mean, std=std).to(device).eval().requires_grad_(False)
    )


def _from_file(name: str, file: Path) -> nn.Module:
    """A timm network with the weights of a file."""
    network: nn.Module = timm.create_model(name, num_classes=0)
    states, where = read_states(file), str(file)
    found = match(states, network, where=where, backbone=name)
    require_fit(found, where=where, backbone=name, is_partial=None, states=states)
    network.load_state_dict(found.state, strict=False)
    return network


def _from_timm(name: str) -> nn.Module:
    """A timm network with the weights that timm downloads."""
    return timm_network(name, advice=f"download them and give {name}:FILE")
