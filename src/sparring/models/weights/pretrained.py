"""Pretrained weights that timm knows, or that lie on the Hugging Face Hub."""

from dataclasses import dataclass

import timm
from torch import nn

from sparring.errors import DataError
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
    return _loaded(
        name,
        image_size=image_size,
        advice=f"download them elsewhere and give the file: encoder.weights=FILE ({name})",
    )


def hub_weights(name: str) -> Pretrained:
    """Weights of a model on the Hugging Face Hub, downloaded or from its cache.

    Args:
        name: `OWNER/MODEL`, perhaps with `@REVISION`, of a model with timm's `config.json`.

    Raises:
        DataError: if it cannot be had, or is no model of timm's.
    """
    return _loaded(
        f"hf-hub:{name}",
        image_size=None,
        advice=f"download its model.safetensors from huggingface.co/{name} and give that file",
    )


def timm_normalisation(name: str) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation that timm states for its pretrained weights of a network."""
    config = timm.models.get_pretrained_cfg(name)
    return {} if config is None else {"mean": tuple(config.mean), "std": tuple(config.std)}


def stated_normalisation(network: nn.Module) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation that timm states for a network's pretrained weights, under the
    names `mean` and `std`; empty for other networks."""
    stated = getattr(network, "pretrained_cfg", None) or {}
    return {name: tuple(stated[name]) for name in ("mean", "std") if stated.get(name)}


def _loaded(name: str, *, image_size: int | None, advice: str) -> Pretrained:
    network = None
    try:
        if image_size is not None:
            try:
                network = timm.create_model(
                    name, pretrained=True, num_classes=0, img_size=image_size
                )
            except TypeError:  # only transformers take img_size
                network = None
        if network is None:
            network = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # whatever the network, the hub or timm may raise
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(f"the weights of {name} cannot be had ({reason}); {advice}") from None
    return Pretrained({"": dict(network.state_dict())}, stated_normalisation(network))
