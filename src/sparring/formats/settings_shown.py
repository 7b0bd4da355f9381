"""Settings of a run as others may see them: without places on this machine, and those that differ
from the defaults."""

import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from sparring.config import Tree, leaves
from sparring.data.sources.addresses import COMMAND, HUB
from sparring.errors import ConfigError
from sparring.training.settings import RunConfig

_NOT_SHOWN = ("data.path", "data.cache", "data.limit_seed", "method", "opponent", "seed")
"""Settings that a table of differences leaves out: it stands beside them, or they are local."""


def without_places(value: Any) -> Any:
    """A setting, a list or a tree of settings, in which a path or an address is only its last part.

    Names on the Hub (`hf:OWNER/NAME`) stay whole. A command becomes empty.

    Example:
        >>> without_places({"path": "/home/me/photos", "name": "resnet18"})
        {'path': 'photos', 'name': 'resnet18'}
        >>> without_places("https://host/set.tar?key=1"), without_places("hf:me/set")
        ('set.tar', 'hf:me/set')
    """
    if isinstance(value, Mapping):
        return {key: without_places(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if value.startswith(COMMAND):
        return ""
    if value.startswith(HUB) and not value.removeprefix(HUB).startswith(("/", "~", ".")):
        return value
    plain = value.partition("?")[0] if "://" in value else value
    is_place = "/" in plain or "\\" in plain
    return PurePath(plain.replace("\\", "/").rstrip("/")).name if is_place else value


def scaling(deep: tuple[float, float]) -> str:
    """Which values of images become 0 to 1, in words.

    Args:
        deep: the range of the run's images of more than 8 bits.

    Example:
        >>> scaling((0.0, 4095.0))
        '8-bit values from 0 to 255, deeper ones from 0 to 4095'
    """
    return f"8-bit values from 0 to 255, deeper ones from {deep[0]:g} to {deep[1]:g}"


def shown_configuration(config: RunConfig) -> Tree:
    """The configuration of a run as others may see it."""
    tree = dict(without_places(config.tree()))
    if isinstance(tree.get("data"), dict):
        tree["data"] = {key: value for key, value in tree["data"].items() if key != "cache"}
    return tree


def recipe_of(environment: Mapping[str, Any]) -> str | None:
    """Name of the recipe with which a run was started, by its command; empty if there was none,
    None if the command does not tell, as that of a program of one's own."""
    try:
        words = shlex.split(str(environment.get("command", "")))
    except ValueError:
        return None
    for place, word in enumerate(words):
        name, has_value, value = word.partition("=")
        if name == "--recipe":
            given = value if has_value else next(iter(words[place + 1 :]), "")
            return str(without_places(given))
    return "" if words[1:2] == ["train"] else None


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """Settings of a run that differ from the defaults of its method, by dotted key, as others may
    see them. None are known of a method that is not installed."""
    try:
        default = RunConfig.from_tree({"method": config.method, "opponent": list(config.opponent)})
    except ConfigError:
        return {}
    usual = dict(leaves(default.tree()))
    return {
        key: value
        for key, value in leaves(shown_configuration(config))
        if key not in _NOT_SHOWN and value is not None and usual.get(key) != value
    }
