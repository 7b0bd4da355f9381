"""What a pinned value is, and sources that several tables cite."""

from collections.abc import Mapping
from typing import Any, NamedTuple

OURS = "ours: docs/log"
"""Chosen or tuned by this project; no paper stands behind the value."""


class Pins(NamedTuple):
    """Values of one source, and who has them."""

    owners: tuple[str, ...]
    """Recipes, or the methods and opponents whose defaults these are."""
    source: str
    """Paper or released code, with section, table or file; "not verified" where nobody could."""
    values: Mapping[str, Any]
    """By dotted key."""


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a nested dictionary by dotted key; tuples as lists, as TOML has them."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = list(value) if isinstance(value, tuple) else value
    return found


def pinned(table: list[Pins], owner: str) -> dict[str, tuple[Any, str]]:
    """Value and source by dotted key of one owner; a key may be pinned once only."""
    found: dict[str, tuple[Any, str]] = {}
    for pins in table:
        if owner in pins.owners:
            twice = found.keys() & pins.values.keys()
            assert not twice, f"{owner}: {sorted(twice)} are pinned twice"
            found |= {key: (value, pins.source) for key, value in pins.values.items()}
    return found


def differences(table: list[Pins], owner: str, found: Mapping[str, Any]) -> list[str]:
    """A sentence for each pinned value that is another one, with what the source says."""
    return [
        f"{owner}: {key} is {found.get(key, 'absent')!r}, but {value!r} by {source}"
        for key, (value, source) in pinned(table, owner).items()
        if key not in found or found[key] != value
    ]
