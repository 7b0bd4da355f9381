"""Export of weights in the formats of other libraries, with the lines that load them.

The weights belong to whoever trained them.
"""

import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sparring.errors import ConfigError, unknown_name
from sparring.files import write_atomically
from sparring.formats.settings_shown import scaling
from sparring.formats.timm_networks import small_stem_lines, timm_lines
from sparring.models.encoder import Encoder
from sparring.training.checkpoint import save_backbone
from sparring.training.settings import RunConfig

TORCHVISION = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
"""Networks whose weights have the same names and shapes in timm and torchvision."""


def export_weights(encoder: Encoder, config: RunConfig, *, form: str, out: Path) -> str:
    """Write the backbone's weights and return the Python lines that load them.

    Args:
        encoder: trained encoder.
        config: configuration of its run; names the network.
        form: `timm` (state dict), `torchvision` (state dict) or `safetensors` (timm's names).
        out: file to write.

    Raises:
        ConfigError: for an unknown form, or a network that the other library lacks.
        StorageError: if the file cannot be written.
    """
    writers: dict[str, Callable[[Encoder, RunConfig, Path], str]] = {
        "timm": _timm,
        "torchvision": _torchvision,
        "safetensors": _safetensors,
    }
    if form not in writers:
        raise ConfigError(unknown_name("export format", form, writers))
    code = writers[form](encoder, config, out)
    mean, std = config.encoder.normalisation(config.data.channels)
    given = config.data.given_range
    scaled = "" if given is None else f" ({scaling(given)})"
    return f"{code}\n# expects images in [0, 1]{scaled} minus {mean}, divided by {std}, per channel"


def _timm(encoder: Encoder, config: RunConfig, out: Path) -> str:
    _write_state(encoder.backbone.network.state_dict(), out)
    return (
        timm_lines(encoder, config)
        + f"model.load_state_dict(torch.load({str(out)!r}, weights_only=True))"
    )


def _safetensors(encoder: Encoder, config: RunConfig, out: Path) -> str:
    save_backbone(
        out,
        encoder.backbone.network,
        metadata={"backbone": config.encoder.backbone, "method": config.method},
    )
    load = (
        f"from safetensors.torch import load_file\nmodel.load_state_dict(load_file({str(out)!r}))"
    )
    return timm_lines(encoder, config) + load


def _torchvision(encoder: Encoder, config: RunConfig, out: Path) -> str:
    name = config.encoder.backbone
    if config.data.channels != 3:
        raise ConfigError(
            f"torchvision's networks take three channels, and this run has data.channels="
            f"{config.data.channels}; use --format timm or safetensors"
        )
    if name not in TORCHVISION or config.encoder.width != 1.0:
        what = f"{name} at width {config.encoder.width:g}"
        raise ConfigError(
            f"torchvision has no {what}; use --format timm or safetensors, or one of "
            f"{', '.join(TORCHVISION)} at width 1"
        )
    _write_state(encoder.backbone.network.state_dict(), out)
    return (
        f"import torch, torchvision\nmodel = torchvision.models.{name}()\nmodel.fc = "
        "torch.nn.Identity()\n"
        + small_stem_lines(encoder.backbone.network)
        + f"model.load_state_dict(torch.load({str(out)!r}, weights_only=True))"
    )


def _write_state(state: dict[str, Tensor], out: Path) -> None:
    content = io.BytesIO()
    torch.save({name: tensor.detach().cpu() for name, tensor in state.items()}, content)
    write_atomically(out, content.getvalue())
