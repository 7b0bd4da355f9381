"""Runs that start from weights: settings that suit them, and what a user should know of layers that
learn slowly or not at all."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import timm
import torch
from timm.layers.hybrid_embed import HybridEmbed
from timm.layers.patch_embed import PatchEmbed
from torch import nn

from sparring.config import Tree, merged
from sparring.models.backbones import CUSTOM
from sparring.training.build import Game
from sparring.training.settings import RunConfig

RATE_SHARE = 0.3
"""Learning rate with which a run continues, as a share of the one from scratch: larger steps undo
what the weights hold, and with a tenth the random heads cost more than was learned within four
epochs (docs/log/rates-from-weights.md)."""
WARMUP_SHARE = 0.1
"""Share of the epochs in which the rate rises: the heads are random at first, and their gradients
would move good weights at random."""
TRANSFORMER_DECAY = 0.75
"""`layer_decay` of vision transformers, as MAE fine-tunes them (He et al. 2022, arXiv:2111.06377,
table 9). Networks of convolutions keep 1."""


def starts_from_weights(config: RunConfig) -> bool:
    """Whether a run starts from given weights, so that the encoder before its first step is not
    untrained. A network of one's own counts as untrained, since nothing says what it holds."""
    return config.encoder.weights is not None


def with_start_settings(
    given: Tree,
    *,
    recipe: Mapping[str, Any],
    backbone: nn.Module | None = None,
    report: Callable[[str], None] | None = None,
) -> Tree:
    """Tree of a new run whose encoder learns as suits the weights from which it starts; the same
    tree without weights.

    Nothing that a user or a recipe sets is changed.

    Args:
        given: what the recipe, the arguments and the user set.
        recipe: what the recipe sets.
        backbone: your own network, if any.
        report: receives a line about what was chosen, and about the rate of a recipe that trains
            from scratch.
    """
    config = RunConfig.from_tree(given)
    if not starts_from_weights(config):
        return given
    own = _encoder_settings(given)
    suited = _suited(config, backbone)
    chosen = {key: value for key, value in suited.items() if key not in own}
    if report is not None:
        if chosen:
            shown = ", ".join(f"players.encoder.{key}={value:g}" for key, value in chosen.items())
            report(f"{shown}, because of encoder.weights; set them yourself to have others")
        rate, is_for_weights = own.get("learning_rate"), "weights" in recipe.get("encoder", {})
        if rate == _encoder_settings(recipe).get("learning_rate", -1) and not is_for_weights:
            report(
                f"players.encoder.learning_rate={rate:g} is the recipe's, for training from "
                f"scratch; about {suited['learning_rate']:g} suits encoder.weights"
            )
    return merged(given, {"players": {"encoder": chosen}})


def _encoder_settings(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of the encoder's player that a tree has."""
    found: Mapping[str, Any] = tree.get("players", {}).get("encoder", {})
    return found


def _suited(config: RunConfig, backbone: nn.Module | None) -> Tree:
    """Settings of the encoder's player that differ from those of a run from scratch."""
    encoder = config.method_settings.players.encoder
    suited: Tree = {
        "learning_rate": round(encoder.learning_rate * RATE_SHARE, 9),
        "warmup_epochs": max(
            encoder.warmup_epochs, round(config.training.epochs * WARMUP_SHARE, 3)
        ),
    }
    if _is_transformer(config, backbone):
        suited["layer_decay"] = TRANSFORMER_DECAY
    return suited


def _is_transformer(config: RunConfig, backbone: nn.Module | None) -> bool:
    """Whether the backbone has tokens: image patches, or PyTorch's attention."""
    network, name = backbone, config.encoder.backbone
    if network is None and not name.startswith(CUSTOM) and timm.is_model(name):
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0)
    kinds = (PatchEmbed, HybridEmbed, nn.MultiheadAttention)
    return network is not None and any(isinstance(part, kinds) for part in network.modules())


def layer_lines(config: RunConfig, game: Game) -> Iterator[str]:
    """Lines on layers that learn more slowly than others, or stay as they are."""
    encoder = game.players["encoder"]
    decay, rate = encoder.settings.layer_decay, encoder.settings.learning_rate
    if decay < 1:
        yield (
            f"players.encoder.layer_decay={decay:g}: learning rates from "
            f"{rate * encoder.lowest_factor:.2g} in the first layer that learns to {rate:.2g} in "
            "the heads"
        )
    if count := config.encoder.frozen_stages:
        network = game.encoder.backbone
        size = sum(p.numel() for p in network.parameters() if not p.requires_grad)
        share = size / sum(p.numel() for p in network.parameters())
        random = not starts_from_weights(config) and not config.encoder.backbone.startswith(CUSTOM)
        yield (
            f"encoder.frozen_stages={count}: the stem and {count} stage{'s' * (count > 1)}, "
            f"{100 * share:.1f} % of the backbone's parameters, stay as they are"
            + (", which is random without encoder.weights" if random else "")
        )
