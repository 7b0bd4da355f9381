"""Introductions of methods and opponents. Importing this file does not import torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Twin:
    """A disarmed twin: the same method, its opponent without its aim and nothing else changed.

    Attributes:
        name: value of the setting `disarmed` that selects the twin.
        disarms: short phrase for the opponent's behaviour in the twin.
        primary: whether a comparison takes this twin first.
        settings: settings that select the twin, if the setting `disarmed` does not.
    """

    name: str
    disarms: str
    primary: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """Settings of the twin, as a nested dictionary below the method's or opponent's own."""
        return dict(self.settings) or {"disarmed": self.name}


@dataclass(frozen=True)
class Variant:
    """A published method that is another one with some settings fixed, under a name of its own.

    Attributes:
        name: name on the command line, such as `dcl`.
        title: name in reports, such as `DCL`.
        summary: one line for `sparring methods`.
        source: authors, year and arXiv id.
        settings: what is fixed, as a nested dictionary below the method's own settings.
    """

    name: str
    title: str = ""
    summary: str = ""
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


class Pairing(NamedTuple):
    """A published game that is a method with an opponent around it."""

    name: str
    method: str
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class About:
    """Introduction of a method or an opponent; its arguments are literals in the source file.

    Attributes:
        name: name on the command line, such as `adco`.
        title: name in reports, such as `AdCo`.
        summary: one line for `sparring methods`.
        source: authors, year and arXiv id.
        opponent: short description of the opponent of the encoder.
        cost: CPU time of a step relative to SimCLR's on one thread (benchmarks/method_steps.py;
            ResNet-18 at width 0.125, 32 px); None: not measured.
        good_for: when to use it.
        order: place in the list of methods, the smallest first; ties are sorted by name.
        control: method without this opponent to compare with, beside the twins: its small recipe
            equals this one's in all that both have. An opponent's is its pairing's method.
        twins: disarmed twins; the primary one first.
        variants: published methods that are this one with some settings fixed.
        pairing: published game that an opponent makes with a method.
    """

    name: str
    title: str = ""
    summary: str = ""
    source: str = ""
    opponent: str = "none"
    cost: float | None = None
    good_for: str = ""
    order: int = 100
    control: str | None = None
    twins: tuple[Twin, ...] = ()
    variants: tuple[Variant, ...] = ()
    pairing: Pairing | None = None


@dataclass(frozen=True, kw_only=True)
class Toy:
    """Settings under which the contract's checks can play a method or an opponent.

    Attributes:
        small: settings under which its opponents take part within a few steps of 16 images, such as
            small banks and no warm-up.
        learning: settings under which it learns what views share from 256 small images in about a
            minute; the encoder's optimiser is AdamW.
        processes: further settings of the comparison of two processes with one, under which every
            player takes steps large enough to compare.
        off: settings under which an opponent in image space does nothing; None: it cannot be
            switched off.
        held: settings under which the strength of the opponent is held within a few steps; None:
            it has no dial.
        undialled: settings of the disarmed twin that `strength` 0 equals to the bit; None: the
            primary twin's.
    """

    small: Mapping[str, Any] = field(default_factory=dict)
    learning: Mapping[str, Any] = field(default_factory=dict)
    processes: Mapping[str, Any] = field(default_factory=dict)
    off: Mapping[str, Any] | None = None
    held: Mapping[str, Any] | None = None
    undialled: Mapping[str, Any] | None = None


def assignments(settings: Mapping[str, Any]) -> list[str]:
    """Settings as `--set` takes them, one text each.

    Args:
        settings: a nested dictionary.

    Example:
        >>> assignments({"beta": 0.0, "bank": {"size": 40}})
        ['beta=0.0', 'bank.size=40']
    """
    found = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found += [f"{key}.{part}" for part in assignments(value)]
        else:
            found.append(f"{key}={json.dumps(value)}")
    return found


def section(opponent: str) -> str:
    """Name of an opponent's section in a configuration.

    Example:
        >>> section("generator-pair")
        'generator_pair'
    """
    return opponent.replace("-", "_")
