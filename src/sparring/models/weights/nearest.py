"""The backbone that weights fit, guessed from their names and shapes for messages."""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import timm
import torch

from sparring.models.weights.layouts import KINDS, prefixes, unwrapped
from sparring.models.weights.reading import States

COMMON: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        r"(layer1|\b4)\.0\.conv1\.": (
            "resnet18",
            "resnet34",
            "resnet50",
            "resnet101",
            "resnet152",
            "wide_resnet50_2",
            "resnext50_32x4d",
        ),
        r"(blocks\.0\.attn|encoder_layer_0)\.": (
            "vit_tiny_patch16_224",
            "vit_small_patch16_224",
            "vit_small_patch8_224",
            "vit_base_patch16_224",
            "vit_base_patch8_224",
            "vit_large_patch16_224",
        ),
        r"(blocks\.0\.0\.conv_|_blocks\.0\._)": (
            "tf_efficientnet_lite0",
            "tf_efficientnet_lite1",
            "tf_efficientnet_b0",
            "tf_efficientnet_b1",
            "mobilenetv3_large_100",
        ),
        r"stages\.0\.blocks\.0\.conv_dw\.": ("convnext_tiny", "convnext_small"),
    }
)
"""Networks that are tried, by what stands in the names of their family."""


def fitting_backbone(states: States, *, other_than: str) -> str:
    """End of a sentence that names a common network which has all its weights here; empty if
    none has, or the one that is asked for."""
    names = [key for tensors in states.values() for key in tensors]
    tried = [
        name
        for family, members in COMMON.items()
        if any(re.search(family, key) for key in names)
        for name in members
    ]
    fits = {name: number for name in tried if (number := _fits(states, name))}
    # The largest: a smaller network's names may all be in a deeper one.
    best = max(fits, key=lambda name: fits[name], default=other_than)
    return "" if best == other_than else f"; encoder.backbone={best} fits"


def _fits(states: States, name: str) -> int:
    """Number of tensors of a network if all of them are here in their shapes, else 0."""
    ours = _shapes(name)
    for tensors in states.values():
        plain = {unwrapped(key): key for key in tensors}
        for prefix in prefixes(plain):
            inner = [one[len(prefix) :] for one in plain if one.startswith(prefix)]
            if len(inner) < len(ours):
                continue
            for rename in KINDS.values():
                found = {
                    new: tensors[plain[prefix + old]].shape
                    for old, new in rename(inner, ours).items()
                }
                if all(
                    found.get(key) == shape or (key == "pos_embed" and key in found)
                    for key, shape in ours.items()
                    if not key.startswith("conv1.")  # another stem is no other network
                ):
                    return len(ours)
    return 0


@cache
def _shapes(name: str) -> dict[str, torch.Size]:
    """Shapes of a network's tensors; nothing is drawn."""
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0)
    return {
        key: tensor.shape
        for key, tensor in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
