"""Names under which other libraries store a backbone, and how they map to timm's.

A layout is a prefix, such as MoCo's `module.encoder_q.`, before names of one kind, such as
torchvision's. Prefixes come from the file; kinds of names are the functions below.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

Rename = Callable[[Iterable[str], Iterable[str]], dict[str, str]]
"""Function from names in a file, without prefix, and the network's names, to the network's name of
each; names that it does not know are left out."""

PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        "": "",
        "module.encoder_q.": "MoCo",
        "encoder_q.": "MoCo",
        "module.base_encoder.": "MoCo v3",
        "base_encoder.": "MoCo v3",
        "module.backbone.": "DINO",
        "backbone.": "solo-learn, lightly or DINO",
        "module.encoder.": "SimSiam",
        "encoder.": "an encoder",
        "module.": "several processes",
        "model.backbone.": "a model's backbone",
        "model.": "a model",
        "online_network.": "BYOL",
        "backbone.network.": "a run of sparring",
        "module.momentum_encoder.": "MoCo v3's teacher",
        "momentum_encoder.": "MoCo v3's teacher",
        "teacher.backbone.": "a teacher",
        "momentum_backbone.": "solo-learn's teacher",
        "backbone_momentum.": "lightly's teacher",
        "module.encoder_k.": "MoCo's teacher",
        "encoder_k.": "MoCo's teacher",
    }
)
"""Known prefixes and who writes them, the preferred ones first: where a file holds the same network
several times, the first of them is taken."""

PARTS = (
    "teacher",
    "student",
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "backbone",
    "encoder",
    "module",
    "",
)
"""Parts of files that hold weights, the preferred ones first: DINO evaluates its teacher, and timm
its averaged weights."""

_WRAPPERS = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def unwrapped(name: str) -> str:
    """Name without what `torch.compile`, FSDP and activation checkpointing put into it."""
    return _WRAPPERS.sub(r"\1", name)


def _plain(names: Iterable[str], _: Iterable[str]) -> dict[str, str]:
    """timm's names; torchvision's ResNets have the same."""
    return {name: name for name in names}


def _sequential(names: Iterable[str], _: Iterable[str]) -> dict[str, str]:
    """Children of a torchvision ResNet in an `nn.Sequential`, as in lightly's examples."""
    found = {}
    for name in names:
        first, _dot, rest = name.partition(".")
        if first in _SEQUENTIAL:
            found[name] = f"{_SEQUENTIAL[first]}.{rest}"
    return found


def _shortcut(names: Iterable[str], _: Iterable[str]) -> dict[str, str]:
    """ResNets for CIFAR whose blocks have a `shortcut`."""
    return {name: name.replace(".shortcut.", ".downsample.") for name in names}


_TORCHVISION_VIT = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(3|linear_2)\.", ".mlp.fc2."),
)


def _torchvision_vit(names: Iterable[str], _: Iterable[str]) -> dict[str, str]:
    """torchvision's vision transformers."""
    found = {}
    for name in names:
        renamed = name
        for pattern, replacement in _TORCHVISION_VIT:
            renamed = re.sub(pattern, replacement, renamed)
        found[name] = renamed
    return found


_STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {**_EXPANDING, "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _efficientnet(names: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """EfficientNets of `efficientnet_pytorch`, which counts blocks through all stages."""
    wanted = set(wanted)
    places = {place[0] for name in wanted if (place := re.match(r"blocks\.\d+\.\d+", name))}
    blocks = sorted(places, key=lambda place: [int(part) for part in place.split(".")[1:]])
    found = {}
    for name in names:
        first, _, rest = name.partition(".")
        if first in _STEM_AND_HEAD:
            found[name] = f"{_STEM_AND_HEAD[first]}.{rest}"
        number, _, inner = rest.partition(".")
        layer, _, value = inner.partition(".")
        if first == "_blocks" and number.isdecimal():
            at = blocks[int(number)] if int(number) < len(blocks) else f"blocks.{number}"
            kinds = _EXPANDING if f"{at}.conv_pwl.weight" in wanted else _SEPARABLE
            if layer not in kinds:
                continue
            found[name] = f"{at}.{kinds[layer]}.{value}"
    return found


EFFICIENTNET = "efficientnet_pytorch's names"
"""Names of networks that pad as TensorFlow does, which timm's `tf_` networks do too."""

KINDS: Mapping[str, Rename] = MappingProxyType(
    {
        "timm's names": _plain,
        "an nn.Sequential of a ResNet": _sequential,
        "names of a ResNet with shortcuts": _shortcut,
        "torchvision's names of a ViT": _torchvision_vit,
        EFFICIENTNET: _efficientnet,
    }
)
"""Kinds of names. The first that gives as many of the network's names as any other is taken."""


def prefixes(names: Iterable[str]) -> list[str]:
    """All beginnings of names, up to three parts, that may stand before a network's own names."""
    found = {""}
    for name in names:
        parts = name.split(".")
        found |= {".".join(parts[:depth]) + "." for depth in range(1, min(4, len(parts)))}
    return sorted(found)
