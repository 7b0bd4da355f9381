"""The pretrained weights from which a run starts, and the settings that follow from them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from sparring import distributed
from sparring.config import Tree
from sparring.errors import ConfigError, DataError
from sparring.models.backbones import CUSTOM, EncoderSettings, make_backbone
from sparring.models.resnets import is_resnet
from sparring.models.vision_transformers import OWN_PATCH, is_vision_transformer
from sparring.models.weights.layouts import EFFICIENTNET
from sparring.models.weights.matching import Match, described, match, require_fit
from sparring.models.weights.pretrained import (
    HUB,
    TIMM,
    hub_weights,
    timm_normalisation,
    timm_weights,
)
from sparring.models.weights.reading import States, read_states
from sparring.training.build import StartWeights, copied
from sparring.training.checkpoint import encoder_state
from sparring.training.given_network import kept_start, lost_start
from sparring.training.keep_best import evaluated_checkpoint
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

STEM = "conv1.weight"
"""A ResNet's first convolution, 3 x 3 in the small-image stem and 7 x 7 in the usual one."""
PATCHES = "patch_embed.proj.weight"
"""A vision transformer's projection of its patches."""
_FOLLOWING = ("mean", "std", "small_images", "patch_size", "weights_sha256")


@dataclass(frozen=True)
class _Source:
    """Weights as they lie somewhere, and what is known of their training."""

    where: str
    states: States
    normalisation: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """`mean` and `std` of the images that they saw, where it is known."""


def with_start_weights(
    config: RunConfig,
    backbone: nn.Module | None = None,
    *,
    asked: Collection[str],
    folder: RunFolder | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[RunConfig, StartWeights | None]:
    """Configuration with the settings that follow from `encoder.weights`, and these weights.

    Args:
        config: configuration with a resolved image size.
        backbone: your own network, which then takes the weights.
        asked: names of the encoder's settings that were asked for, which nothing replaces.
        folder: run folder that may be continued: if it holds a checkpoint, the weights need not
            be there any more.
        report: receives a line if they are not there.

    Returns:
        The configuration as it is, and None, if no weights are asked for.

    Raises:
        DataError: if the weights cannot be read, or do not fit the network.
        ConfigError: if processes have read different weights.
    """
    settings = config.encoder
    if settings.weights is None:
        return config, None
    config = config.changed(encoder={"weights": _absolute(settings.weights)})
    source = _read(config) if folder is None else _read_or_stored(config, folder)
    if isinstance(source, EncoderSettings):
        if report is not None:
            report(
                f"the weights {config.encoder.weights} cannot be had any more, so whether they are "
                "the same was not checked"
            )
        kept = {name: getattr(source, name) for name in _FOLLOWING}
        return config.changed(encoder=kept), None
    config, found = _matched(config, backbone, source)
    name = _named(config, backbone)
    require_fit(
        found,
        where=source.where,
        backbone=name,
        is_partial=config.encoder.partial_weights,
        states=source.states,
    )
    content = found.content()
    _require_content(content, config.encoder.weights_sha256, source.where)
    lines = described(found, where=source.where, backbone=name)
    config = config.changed(encoder={"weights_sha256": content})
    config, line = _normalised(config, source, found, asked)
    return config, StartWeights(found.state, (*lines, line, *_kept_as_given(config, found)))


def start_of(folder: RunFolder | None, config: RunConfig) -> StartWeights | None:
    """The weights from which a run started, as its folder keeps them, so that a run with its
    configuration can start from them again; None if the seed gives them.

    Raises:
        CheckpointError: if the folder does not keep them any more.
    """
    if config.encoder.weights is None:
        return None
    kept = None if folder is None else kept_start(folder)
    if kept is None:
        raise lost_start("this run" if folder is None else folder.path)
    return StartWeights(kept)


def _absolute(text: str) -> str:
    """Path of a file or run folder as a configuration stores it; other values as they are."""
    if text == TIMM or text.startswith(HUB):
        return text
    return str(Path(text).expanduser().resolve())


def _read_or_stored(config: RunConfig, folder: RunFolder) -> _Source | EncoderSettings:
    """The weights that a configuration asks for, or the settings of a run that goes on if its
    weights cannot be had any more, in one of the processes or in all.

    Raises:
        DataError: if they cannot be had, and are needed.
    """
    source, error = None, None
    try:
        source = _read(config)
    except DataError as found:
        error = found
    is_everywhere = all(distributed.everyones(error is None))
    if source is not None and is_everywhere:
        return source
    if (stored := _stored(config, folder)) is not None:
        return stored
    raise error or DataError(
        f"encoder.weights: another process cannot read {config.encoder.weights}; put it where all "
        "of them can"
    )


def _stored(config: RunConfig, folder: RunFolder) -> EncoderSettings | None:
    """Settings of a run that goes on, if its weights cannot be had any more: a file that is not
    there, or those of timm or of the Hub without a connection."""
    text = config.encoder.weights
    assert text is not None
    if not (text == TIMM or text.startswith(HUB)) and Path(text).exists():
        return None
    if not (folder.config.exists() and folder.has_checkpoint()):
        return None
    stored = folder.read_config().encoder
    return stored if stored.weights == text else None


def _read(config: RunConfig) -> _Source:
    """The weights that a configuration asks for.

    Raises:
        DataError: if they cannot be had.
        ConfigError: if they are of a run with another network.
    """
    text, settings = config.encoder.weights, config.encoder
    assert text is not None
    if text == TIMM:
        if settings.backbone.startswith(CUSTOM):
            raise ConfigError("encoder.weights=timm: timm has none for a network of your own")
        found = timm_weights(settings.backbone, image_size=config.image_size)
        return _Source(f"timm for {settings.backbone}", found.states, found.normalisation)
    if text.startswith(HUB):
        found = hub_weights(text.removeprefix(HUB))
        return _Source(text, found.states, found.normalisation)
    path = Path(text)
    if (path / "config.toml").is_file():
        return _of_run(RunFolder(path), settings)
    if path.is_dir():
        raise DataError(
            f"encoder.weights: {path} is a folder and no run folder (no config.toml); give a file "
            "of weights"
        )
    return _Source(str(path), read_states(path))


def _of_run(folder: RunFolder, settings: EncoderSettings) -> _Source:
    """Weights of a run: of the checkpoint that it stands for, the best or the last one, or else
    those that its end has written.

    Raises:
        ConfigError: if it has another network.
    """
    theirs = folder.read_config().encoder
    if not any(one.backbone.startswith(CUSTOM) for one in (theirs, settings)):
        other = [
            f"encoder.{name}={getattr(theirs, name)}"
            for name in ("backbone", "width")
            if getattr(theirs, name) != getattr(settings, name)
        ]
        if other:
            raise ConfigError(
                f"encoder.weights: {folder.path} is a run of another network; {', '.join(other)} "
                "fits"
            )
    if not folder.has_checkpoint() and folder.backbone.is_file():
        where, states = str(folder.path), read_states(folder.backbone)
    else:
        checkpoint = evaluated_checkpoint(folder)
        state = encoder_state(checkpoint.content)
        states = {"": {name: one for name, one in state.items() if name not in ("mean", "std")}}
        chosen = f", {checkpoint.chosen_by}" if checkpoint.chosen_by else ""
        where = f"{folder.path} at step {int(checkpoint.content['step']):,}{chosen}"
    return _Source(where, states, {"mean": theirs.mean, "std": theirs.std})


def _matched(
    config: RunConfig, backbone: nn.Module | None, source: _Source
) -> tuple[RunConfig, Match]:
    """Match with the network, and the configuration with the stem that the weights have."""
    name = _named(config, backbone)
    if backbone is not None:
        return config, match(source.states, copied(backbone), where=source.where, backbone=name)
    if (stem := _open_stem(config)) is not None:
        first = config.changed(encoder=stem.usual)
        found = match(source.states, _network(first), where=source.where, backbone=name)
        if stem.tensor in found.state:
            return first, found
        shape, _ = found.misfits.get(stem.tensor, ((), ()))
        config = config.changed(encoder=stem.of(shape))
    return config, match(source.states, _network(config), where=source.where, backbone=name)


@dataclass(frozen=True)
class _Stem:
    """What of a network's stem the settings leave open.

    Attributes:
        tensor: name of its weight.
        usual: settings of the usual one.
        of: settings for a weight of another shape, or, with an empty one, for none.
    """

    tensor: str
    usual: Tree
    of: Callable[[tuple[int, ...]], Tree]


def _open_stem(config: RunConfig) -> _Stem | None:
    """The stem that follows the weights; None if the settings say which one it is."""
    settings = config.encoder
    if settings.small_images is None and is_resnet(settings.backbone):
        return _Stem(
            STEM,
            {"small_images": False},
            lambda shape: {"small_images": True} if shape[2:] == (3, 3) else {},
        )
    if settings.patch_size is None and is_vision_transformer(settings.backbone):
        return _Stem(
            PATCHES,
            {"patch_size": OWN_PATCH},
            lambda shape: {"patch_size": shape[-1] if len(shape) == 4 else OWN_PATCH},
        )
    return None


def _network(config: RunConfig) -> nn.Module:
    """Untrained network of a configuration; no draw is taken from PyTorch's generator."""
    with torch.random.fork_rng(devices=[]):
        return make_backbone(
            config.encoder, image_size=config.image_size, channels=config.data.channels
        ).network


def _normalised(
    config: RunConfig, source: _Source, found: Match, asked: Collection[str]
) -> tuple[RunConfig, str]:
    """Configuration with the normalisation that the weights were trained with, and a line about it.

    A file does not say it. Networks of efficientnet_pytorch's names were trained as timm states it
    for the same network; under timm's names there are others too, such as MoCo v3's.
    """
    stated: Mapping[str, tuple[float, ...]] = {}
    if not config.encoder.backbone.startswith(CUSTOM):
        stated = timm_normalisation(config.encoder.backbone)
    known = source.normalisation or (stated if found.kind == EFFICIENTNET else {})
    if len(known.get("mean", ())) == config.data.channels:
        config = config.changed(encoder={k: known[k] for k in known if k not in asked})
    mean, std = config.encoder.normalisation(config.data.channels)
    line = f"images are normalised by mean {_shown(mean)} and deviation {_shown(std)}"
    if known or not stated or (stated["mean"], stated["std"]) == (mean, std):
        return config, line
    return config, (
        f"{line}; timm's own weights of {config.encoder.backbone} expect {_shown(stated['mean'])} "
        f"and {_shown(stated['std'])}: set encoder.mean and encoder.std if these are they"
    )


def _kept_as_given(config: RunConfig, found: Match) -> list[str]:
    """Lines on parts that stay as they are, but not as a run without weights has them."""
    kept = {"frozen_patch_projection": PATCHES, "fixed_positions": "pos_embed"}
    return [
        f"encoder.{name}=true: {tensor} is that of the weights, and stays"
        for name, tensor in kept.items()
        if getattr(config.encoder, name) and tensor in found.state
    ]


def _named(config: RunConfig, backbone: nn.Module | None) -> str:
    return config.encoder.backbone if backbone is None else type(backbone).__name__


def _require_content(content: str, asked: str | None, where: str) -> None:
    if asked is not None and asked != content:
        raise DataError(
            f"{where} has other tensors (SHA-256 {content}) than encoder.weights_sha256={asked} "
            "asks for"
        )
    if len(set(distributed.everyones(content))) > 1:
        raise ConfigError(f"encoder.weights: the processes have read different weights of {where}")


def _shown(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
