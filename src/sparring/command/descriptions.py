"""Descriptions of methods, opponents and protocols: lists, and each one in full.

The lists do not import torch.
"""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sparring.errors import ConfigError, unknown_name
from sparring.evaluation.catalogue import PROTOCOLS, installed
from sparring.evaluation.catalogue import find as find_protocol
from sparring.methods import registry
from sparring.methods.about import About, assignments, section
from sparring.methods.plugins import is_reference
from sparring.methods.setting_docs import explained_toml, setting_comments
from sparring.strength.settings import has_dial


def list_methods() -> str:
    """Every method and its variants, every opponent in image space, and the published pairings."""
    variants, pairings = registry.variants(), registry.pairings()
    every = [*registry.names("method"), *registry.names("opponent"), *variants, *pairings]
    width = max(map(len, every))

    def lines_of(kind: registry.Kind) -> list[str]:
        """Two lines for each name; one for a package that cannot be loaded."""
        lines = []
        for name in registry.names(kind):
            try:
                about = registry.about(kind, name)
            except ConfigError as error:
                lines.append(f"{name:{width}}  {error}")
                continue
            what = f"opponent: {about.opponent}" if kind == "method" else about.opponent
            lines.append(f"{name:{width}}  {about.summary}\n{'':{width}}  {what}; {about.source}")
        return lines

    return "\n".join(
        [
            *lines_of("method"),
            "\naround any of these, with --opponent NAME (repeatable; the first is the innermost):",
            *lines_of("opponent"),
            "\nnames for a method with settings:",
            *(f"{name:{width}}  {_spelt_out(name)}" for name in variants),
            "\nnames for a method with an opponent:",
            *(f"{name:{width}}  {' + '.join(pair)}" for name, pair in pairings.items()),
            "\nyour own: --method FILE.py:CLASS or package.module:CLASS (docs/adding_a_method.md)",
        ]
    )


def methods_as_json(name: str | None) -> dict[str, Any]:
    """Introductions of one or of all methods, opponents, variants and pairings, for programs.

    Args:
        name: one of them; None: all.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    found: dict[str, Any] = {}
    for kind in registry.KINDS:
        for own in registry.names(kind):
            if name in (None, own):
                found[own] = {"kind": kind, **asdict(registry.about(kind, own))}
    for own, (method, variant) in registry.variants().items():
        if name in (None, own):
            found[own] = {"kind": "variant", "method": method, **asdict(variant)}
    for own, (method, opponent) in registry.pairings().items():
        if name in (None, own):
            found[own] = {"kind": "pairing", "method": method, "opponents": [opponent]}
    if not found:
        raise _unknown(str(name))
    return found


def _unknown(name: str) -> ConfigError:
    known = [*registry.names("method"), *registry.names("opponent"), *registry.further_names()]
    return ConfigError(unknown_name("method or opponent", name, known))


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
    lines += [
        f"{key:{width}}  of the package {point.dist.name if point.dist else '?'}"
        for key, point in installed().items()
    ]
    return "\n".join(lines)


DIAL = (
    "--strength NATS holds the opponent where it adds so much to the loss above its twin "
    "(docs/strength.md)"
)
"""Line that describes the dial of a method or an opponent."""


def describe(name: str) -> str:
    """A method, an opponent, a variant or a published pairing, in full.

    Args:
        name: of any of these, or FILE.py:CLASS or package.module:CLASS.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    if name in registry.variants():
        return describe_variant(name)
    if name in registry.pairings():
        return describe_pairing(name)
    if is_reference(name):
        try:
            return _describe("method", registry.give("method", name))
        except ConfigError:
            return _describe("opponent", registry.give("opponent", name))
    for kind in registry.KINDS:
        if name in registry.names(kind):
            return _describe(kind, name)
    raise _unknown(name)


def _spelt_out(variant: str) -> str:
    """A variant as method and settings, what it is and its source, in one line."""
    method, found = registry.variants()[variant]
    return (
        f"{method} with {', '.join(assignments(found.settings))}: {found.summary}; {found.source}"
    )


def describe_variant(name: str) -> str:
    """What a name such as dcl stands for, and its method in full."""
    method, found = registry.variants()[name]
    settings = " ".join(f"--set {each}" for each in assignments(found.settings))
    return (
        f"--method {name} is --method {method} {settings}\n"
        f"{found.title}: {found.summary}; {found.source}\n\n"
        f"{_describe('method', method)}"
    )


def describe_pairing(name: str) -> str:
    """What a name such as clae stands for, and its opponent in full."""
    method, opponent = registry.pairings()[name]
    return (
        f"--method {name} is --method {method} --opponent {opponent}\n\n"
        f"{_describe('opponent', opponent)}"
    )


def _describe(kind: registry.Kind, name: str) -> str:
    """What a method or an opponent is, who plays, what it costs and is good for, its disarmed
    twins, source, and settings with their defaults."""
    about = registry.about(kind, name)
    own = registry.method_class(name) if kind == "method" else registry.opponent_class(name)
    settings = own.settings_class.model_validate({})
    tree = settings.model_dump(mode="json")
    base, prefix = "SimCLR", ""
    if kind == "opponent":
        base, prefix = "the method that it plays around", f"{section(about.name)}."
        tree = {section(about.name): tree}
    cost = "" if about.cost is None else f"{about.cost:.2f} times a step of {base}"
    facts = {
        "Players": "; ".join(
            f"{player} ({_update_summary(part)})"
            for player, part in getattr(settings, "players", ())
        ),
        "Opponent": about.opponent,
        "Control": f"--method {about.control}" if about.control else "",
        "Dial": DIAL if has_dial(own.settings_class) else "",
        "Disarmed": _twins(about, prefix),
        "Cost": cost,
        "Good for": about.good_for,
        "Source": about.source,
    }
    return _description(own, facts, explained_toml(tree, setting_comments(settings, prefix)))


def _twins(about: About, prefix: str) -> str:
    names = [twin.name for twin in about.twins if not twin.settings]
    found = [f"--set {prefix}disarmed={'|'.join(names)}"] if names else []
    for twin in about.twins:
        settings = " ".join(f"--set {prefix}{each}" for each in assignments(twin.settings))
        found += [f"{settings} ({twin.disarms})"] if settings else []
    return "; ".join(found)


def describe_protocol(name: str) -> str:
    """Introduction of an evaluation protocol: its question, what it needs, its source, variants and
    settings with defaults."""
    entry, _ = find_protocol(name)
    name = entry.name
    facts = {
        "Question": entry.question,
        "Labels": entry.labels,
        "Encoder": "frozen" if entry.is_frozen else "learns",
        "Number": entry.measure,
        "Source": entry.source,
        "Variants": ", ".join(f"{name}:{variant}" for variant in entry.variants),
    }
    settings = entry.load_settings()()
    tree = {name: settings.model_dump(mode="json")}
    shown = explained_toml(tree, setting_comments(settings, f"{name}."))
    return _description(entry.load_function(), facts, shown)


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
