"""Descriptions of methods, opponents and protocols: lists, and each one in full.

The lists do not import torch.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from sparring.config import toml_text
from sparring.evaluation.catalogue import PROTOCOLS
from sparring.methods.registry import METHODS, OPPONENTS, PAIRINGS, find, find_opponent, section


def list_methods() -> str:
    """List of methods, image-space opponents, and names for combinations of both.

    Two lines each.
    """
    width = max(len(key) for key in (*METHODS, *OPPONENTS, *PAIRINGS))
    lines = [
        f"{key:{width}}  {entry.summary}\n{'':{width}}  opponent: {entry.opponent}; {entry.source}"
        for key, entry in METHODS.items()
    ]
    lines.append(
        "\naround any of these, with --opponent NAME (repeatable; the first is the innermost):"
    )
    lines += [
        f"{key:{width}}  {entry.summary}\n{'':{width}}  {entry.opponent}; {entry.source}"
        for key, entry in OPPONENTS.items()
    ]
    lines.append("\nnames for a method with opponents:")
    lines += [
        f"{key:{width}}  {' + '.join((pairing.method, *pairing.opponents))}"
        for key, pairing in PAIRINGS.items()
    ]
    return "\n".join(lines)


def list_protocols() -> str:
    """List of protocols with question, required labels and variants; two lines each."""
    width, lines = max(map(len, PROTOCOLS)), []
    for key, entry in PROTOCOLS.items():
        variants = (
            f"; also {', '.join(f'{key}:{variant}' for variant in entry.variants)}"
            if entry.variants
            else ""
        )
        lines.append(
            f"{key:{width}}  {entry.question}\n{'':{width}}  labels: {entry.labels}{variants}"
        )
    return "\n".join(lines)


def describe(name: str) -> str:
    """Full description of a method, an opponent, or a name for a combination."""
    if name in PAIRINGS:
        return describe_pairing(name)
    return describe_opponent(name) if name in OPPONENTS else describe_method(name)


def describe_pairing(name: str) -> str:
    """Description of a name such as clae: the method and opponents it stands for."""
    pairing = PAIRINGS[name]
    options = " ".join(f"--opponent {opponent}" for opponent in pairing.opponents)
    return "\n\n".join(
        [
            f"--method {name} is --method {pairing.method} {options}",
            *map(describe_opponent, pairing.opponents),
        ]
    )


def describe_method(name: str) -> str:
    """Description of a method.

    Idea, players, opponent, disarmed twins, cost, use, source, and settings with defaults.
    """
    from sparring.methods.registry import method_class, settings_class

    entry, settings = find(name), settings_class(name).model_validate({})
    facts = {
        "Players": "; ".join(
            f"{player} ({_update_summary(section)})" for player, section in settings.players
        ),
        "Opponent": entry.opponent,
        "Disarmed": _controls(name, ""),
        "Cost": f"{entry.cost:.2f} times a step of SimCLR"
        if name != "simclr"
        else "1, by definition",
        "Good for": entry.good_for,
        "Source": entry.source,
    }
    return _description(method_class(name), facts, toml_text(settings.model_dump(mode="json")))


def describe_opponent(name: str) -> str:
    """Description of an image-space opponent.

    Idea, disarmed twins, cost, use, source, and settings with defaults.
    """
    from sparring.methods.registry import wrapper_class, wrapper_settings_class

    entry, settings = find_opponent(name), wrapper_settings_class(name).model_validate({})
    facts = {
        "Opponent": entry.opponent,
        "Disarmed": _controls(name, f"{section(name)}."),
        "Cost": f"{entry.cost:.2f} times a step of the method it wraps",
        "Good for": entry.good_for,
        "Source": entry.source,
    }
    return _description(
        wrapper_class(name), facts, toml_text({section(name): settings.model_dump(mode="json")})
    )


def describe_protocol(name: str) -> str:
    """Description of an evaluation protocol.

    Question, labels, source, variants, and settings with defaults.
    """
    from sparring.evaluation.choice import function_of, settings_class

    entry = PROTOCOLS[name]
    facts = {
        "Question": entry.question,
        "Labels": entry.labels,
        "Encoder": "frozen" if entry.is_frozen else "learns",
        "Number": entry.measure,
        "Source": entry.source,
        "Variants": ", ".join(f"{name}:{variant}" for variant in entry.variants),
    }
    settings = toml_text({name: settings_class(entry)().model_dump(mode="json")})
    return _description(function_of(entry), facts, settings)


def _controls(name: str, prefix: str) -> str:
    from sparring.methods.registry import twins

    return f"--set {prefix}disarmed={'|'.join(controls)}" if (controls := twins(name)) else ""


def _description(kind: Any, facts: Mapping[str, str], settings: str) -> str:
    """Docstring of the module that defines something, then facts, then its settings as TOML."""
    module = inspect.getmodule(kind)
    lines = "\n".join(f"{key + ':':10} {value}" for key, value in facts.items() if value)
    return (
        f"{inspect.cleandoc(module.__doc__ or '') if module else ''}\n\n{lines}\n\n"
        f"Settings (change one with --set KEY=VALUE):\n\n{settings}"
    )


def _update_summary(section: Any) -> str:
    return f"{section.optimizer}, rate {section.learning_rate:g}, {section.schedule}"
