"""The argument `strength` of a run: which setting it stands for, whatever has the dial."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from sparring.config import Tree
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.methods.about import assignments
from sparring.strength.settings import has_dial
from sparring.training.settings import RunConfig

StrengthValue: TypeAlias = float | str | Mapping[str, Any]
"""`released`, nats per query, or a table of nats and schedule (`sparring.strength.settings`)."""

STRENGTH = "strength"


def strength_settings(configs: Sequence[RunConfig], strength: StrengthValue) -> list[Tree]:
    """Settings that hold the opponent of each run at a strength; empty for a run without a dial.

    Args:
        configs: configurations of the runs.
        strength: see `StrengthValue`.

    Raises:
        ConfigError: if no run has a dial, or one of them has two.
    """
    shown = f"{STRENGTH}={json.dumps(strength)}"
    found = []
    for config in configs:
        places = _places(config)
        if len(places) > 1:
            named = [text for place in places for text in assignments(_tree(place, strength))]
            raise ConfigError(
                f"{shown}: two opponents of this run have a dial; name which: "
                + " or ".join(f"--set {text}" for text in named)
            )
        found.append(_tree(places[0], strength) if places else {})
    if not any(found):
        have = ", ".join(dict.fromkeys(config.method for config in configs))
        raise ConfigError(
            f"{shown}: nothing here has a dial, got {have}; leave it out, or choose what has one: "
            f"the methods {_with_dial('method')}, or the opponents {_with_dial('opponent')}"
        )
    return found


def _places(config: RunConfig) -> list[str]:
    """Sections of a run that have the setting; an empty name for the method's own."""
    own = [""] if has_dial(type(config.method_settings)) else []
    around = config.opponent_settings.items()
    return own + [registry.section_of(name) for name, kind in around if has_dial(type(kind))]


def _tree(place: str, strength: StrengthValue) -> Tree:
    return {place: {STRENGTH: strength}} if place else {STRENGTH: strength}


def _with_dial(kind: Literal["method", "opponent"]) -> str:
    """Names of what is shipped of a kind and has a dial."""
    found = registry.method_class if kind == "method" else registry.opponent_class
    names = [name for name in registry.shipped(kind) if has_dial(found(name).settings_class)]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
