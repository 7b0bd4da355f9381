"""Answers to settings that a run does not have: the full names of those that were perhaps meant."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sparring.config import leaves, setting_names
from sparring.errors import ConfigError, full_names, unknown_name, unknown_setting
from sparring.methods import registry
from sparring.methods.about import section

MISSPELT = 0.75
"""Likeness from which a section is taken for a misspelt one, and not for a foreign name."""


def refuse_unknown(tree: Mapping[str, Any], every: Sequence[str], *, method: str) -> None:
    """Refuse keys that are no settings of a run.

    Args:
        tree: what a recipe, the arguments and the user set.
        every: full names of all settings of the run.
        method: name of its method.

    Raises:
        ConfigError: for the first of these keys, with the settings that it may mean.
    """
    for key, _ in leaves(tree):
        unknown = _unknown_part(key, every)
        if unknown is None:
            continue
        above, _, name = unknown.rpartition(".")
        siblings = _children(above, every)
        if above or full_names(unknown, every):
            raise ConfigError(unknown_setting(unknown, siblings, every))
        raise ConfigError(
            _of_others(name, method)
            or (
                not get_close_matches(name, siblings, n=1, cutoff=MISSPELT) and _of_leaf(key, every)
            )
            or unknown_name("setting", name, siblings)
        )


def _unknown_part(key: str, every: Sequence[str]) -> str | None:
    """The beginning of a key that leads nowhere; None for a setting, a section, or what is in a
    setting whose value is a table."""
    parts = key.split(".")
    for number in range(1, len(parts) + 1):
        beginning = ".".join(parts[:number])
        if beginning in every and not any(name.startswith(f"{beginning}.") for name in every):
            return None
        if not any(name == beginning or name.startswith(f"{beginning}.") for name in every):
            return beginning
    return None


def _children(above: str, every: Sequence[str]) -> list[str]:
    """Full names of the settings and sections of a section; of the top level if it is empty."""
    depth = len(above.split(".")) if above else 0
    inside = [name for name in every if not above or name.startswith(f"{above}.")]
    return list(dict.fromkeys(".".join(name.split(".")[: depth + 1]) for name in inside))


def _of_leaf(key: str, every: Sequence[str]) -> str:
    """Sentence about a setting in an unknown section; empty if none is called so."""
    return unknown_setting(key, (), every) if full_names(key, every) else ""


def _of_others(key: str, method: str) -> str:
    """Sentence about a setting that other methods or opponents have; empty if none has."""
    absent = {section(name): name for name in registry.shipped("opponent")}
    if key in absent:
        return f"setting '{key}': that opponent does not play; add --opponent {absent[key]}"
    methods = [name for name in registry.shipped("method") if key in _own("method", name)]
    around = [
        f"{section(name)}.{key} of --opponent {name}"
        for name in registry.shipped("opponent")
        if key in _own("opponent", name)
    ]
    if not methods and not around:
        return ""
    has = [f"a setting of {', '.join(methods)}"] if methods else []
    return f"unknown setting '{key}': {method} has none; it is {', and '.join(has + around)}"


def _own(kind: registry.Kind, name: str) -> set[str]:
    """First parts of the settings of a shipped method or an opponent."""
    found = registry.method_class if kind == "method" else registry.opponent_class
    return {key.partition(".")[0] for key in setting_names(found(name).settings_class)}
