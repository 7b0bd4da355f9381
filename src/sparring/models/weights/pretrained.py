"""Pretrained weights that timm knows, or that lie on the Hugging Face Hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
from torch import nn

from sparring.errors import DataError
from sparring.models.backbones import takes_image_size
from sparring.models.weights.reading import States

TIMM = "timm"
"""Value of `encoder.weights` for timm's own pretrained weights of the backbone."""
HUB = "hf:"
"""Prefix of `encoder.weights` for a model of the Hub that timm can load."""


@dataclass(frozen=True)
class Pretrained:
    """A network with its weights, and the normalisation that they were trained with."""

    states: States
    normalisation: dict[str, tuple[float, ...]]


def timm_weights(name: str, *, image_size: int | None = None) -> Pretrained:
    """timm's pretrained weights of a network, which timm downloads or finds in its cache.

    Args:
        name: name of the network.
        image_size: side for which transformers that need it resample their weights; None: theirs.

    Raises:
        DataError: if timm has none, or they cannot be had.
    """
    network = timm_network(
        name,
        image_size=image_size,
        advice="download them elsewhere, and give their file as encoder.weights",
    )
    return Pretrained({"": dict(network.state_dict())}, timm_normalisation(name))


def hub_weights(name: str) -> Pretrained:
    """Weights of a model on the Hugging Face Hub, downloaded or from its cache.

    Args:
        name: `OWNER/MODEL`, perhaps with `@REVISION`, of a model with timm's `config.json`.

    Raises:
        DataError: if it cannot be had, or is no model of timm's.
    """
    try:
        stated, _, _ = timm.models.load_model_config_from_hf(name)
        state = timm.models.load_state_dict_from_hf(name, weights_only=True)
    except Exception as error:  # whatever the hub or timm may raise
        reason = "no model of timm's" if isinstance(error, KeyError) else _reason(error)
        raise DataError(
            f"the weights {HUB}{name} cannot be had ({reason}); download model.safetensors from "
            f"huggingface.co/{name}, and give that file as encoder.weights"
        ) from None
    return Pretrained({"": state}, _normalisation(stated))


def timm_normalisation(name: str) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation that timm states for its pretrained weights of a network."""
    config = timm.models.get_pretrained_cfg(name)
    return {} if config is None else {"mean": tuple(config.mean), "std": tuple(config.std)}


def timm_network(name: str, *, advice: str, image_size: int | None = None) -> nn.Module:
    """A timm network with its pretrained weights, without classifier.

    Args:
        name: name of the network.
        advice: what to do if they cannot be had.
        image_size: side for which transformers that need it resample their weights; None: theirs.

    Raises:
        DataError: if there are none, or they cannot be had.
    """
    try:
        if image_size is not None and takes_image_size(name, image_size):
            return timm.create_model(name, pretrained=True, num_classes=0, img_size=image_size)
        return timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # whatever the network, the hub or timm may raise
        raise DataError(
            f"timm's weights of {name} cannot be had ({_reason(error)}); {advice}"
        ) from None


def _normalisation(stated: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(stated[name]) for name in ("mean", "std") if stated.get(name)}


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
