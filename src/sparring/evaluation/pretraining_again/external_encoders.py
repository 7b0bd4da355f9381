"""Pretrained encoders to compare with: another run, timm's weights, or a file of weights."""

from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sparring.errors import ConfigError, DataError, unknown_name
from sparring.models.backbones import Backbone, nearest_backbones
from sparring.models.encoder import Encoder
from sparring.regular_files import require_regular
from sparring.training.encoders import load_encoder
from sparring.training.run_folder import RunFolder


def external_encoder(text: str, *, image_size: int, device: torch.device) -> Encoder:
    """The encoder of another run, of timm or of a file of weights, in evaluation mode, its
    gradients off.

    Args:
        text: a run folder; `NAME` of a timm model, whose weights timm downloads; or `NAME:FILE`,
            its weights in a file with timm's names.
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


def _from_timm(name: str) -> nn.Module:
    """A timm network with the weights that timm downloads."""
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # whatever the network, the hub or timm may raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"timm's weights of {name} cannot be had ({reason}); download them and give {name}:FILE"
        ) from None
    return network


def _from_file(name: str, file: Path) -> nn.Module:
    """A timm network with the weights of a file."""
    network: nn.Module = timm.create_model(name, num_classes=0)
    try:
        require_regular(file)
        state: dict[str, Tensor] = (
            load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
        missing, unexpected = network.load_state_dict(state, strict=False)
    except Exception as error:  # not a file of tensors, or tensors of other shapes
        raise DataError(
            f"{file} holds no weights of {name}: {(str(error).splitlines() or [''])[0]}"
        ) from None
    if missing:
        raise DataError(
            f"{file} lacks {len(missing)} of the weights of {name}, such as {missing[0]}; "
            "give a state dict with timm's names"
        )
    if [key for key in unexpected if not key.startswith(("fc.", "head.", "classifier."))]:
        raise DataError(
            f"{file} holds weights that {name} has not, such as {unexpected[0]}; give a state "
            "dict with timm's names"
        )
    return network
