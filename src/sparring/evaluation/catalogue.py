"""Catalogue of evaluation protocols: finding one by name, and choosing several with their settings.

Importing this file does not import torch, so that help and reports cost nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from sparring.config import merged
from sparring.errors import ConfigError, unknown_name
from sparring.evaluation.detection.detector_recipes import detector_variants
from sparring.evaluation.protocol import Chosen, Protocol
from sparring.methods.declarations import declarations
from sparring.methods.plugins import import_failure, installed_points, load_module, load_named
from sparring.training.encoder_names import START_WEIGHTS, UNTRAINED

SCORED_IMAGES = 20_000
"""Largest number of images for the score at the end of a run; `evaluate` takes all images."""

GROUP = "sparring.protocols"
"""Entry points of this group are protocols of installed packages."""

_ORDER = (
    "knn",
    "linear",
    "geometry",
    "semi-supervised",
    "finetune",
    "transfer",
    "verdict",
    "robustness",
    "domains",
    "data-efficiency",
    "detection",
    "instance-segmentation",
    "segmentation",
    "pixel-probe",
)
"""Order of the list; a protocol that is not named here comes after these."""

# FILE.py:NAME or package.module:NAME, perhaps with a variant.
_ELSEWHERE = re.compile(r"(?P<where>.+\.py|[\w.]+):(?P<name>\w+)(?::(?P<variant>[\w.-]+))?")


def _discovered() -> dict[str, Protocol]:
    """Protocols declared in the files of this folder, by name, in the order of the list."""
    makers: dict[str, Callable[..., Any]] = {
        "Protocol": Protocol,
        "detector_variants": detector_variants,
    }
    found = [
        replace(declaration.value, module=declaration.module)
        for declaration in declarations(
            Path(__file__).parent, "sparring.evaluation", makers, wanted="Protocol"
        )
    ]
    found.sort(key=lambda one: _ORDER.index(one.name) if one.name in _ORDER else len(_ORDER))
    return {protocol.name: protocol for protocol in found}


PROTOCOLS: dict[str, Protocol] = _discovered()
"""The library's own protocols by name."""


def installed() -> dict[str, EntryPoint]:
    """Protocols of installed packages by name, not imported; the library's own names go first."""
    return {name: point for name, point in installed_points(GROUP).items() if name not in PROTOCOLS}


def find(text: str) -> tuple[Protocol, str]:
    """The protocol that a text names, and the name of its variant, empty if none is asked for.

    Args:
        text: `knn`, `linear:adco`, the name of an installed package's protocol, `FILE.py:NAME` or
            `package.module:NAME`, each perhaps with `:VARIANT`.

    Raises:
        ConfigError: for an unknown name, with the nearest one; or if the code that it names is
            missing or fails.
    """
    base, _, variant = text.partition(":")
    if base in PROTOCOLS:
        return PROTOCOLS[base], variant
    packages = installed()
    if base in packages:
        return _from_package(packages[base]), variant
    parts = _ELSEWHERE.fullmatch(text)
    if parts is not None and _is_code(parts["where"]):
        return _from_code(parts["where"], parts["name"]), parts["variant"] or ""
    if base.endswith(".py"):
        raise ConfigError(f"protocol '{text}': write FILE.py:NAME, NAME being a Protocol in it")
    accepted = unknown_name("protocol", base, [*PROTOCOLS, *packages])
    raise ConfigError(f"{accepted}, FILE.py:NAME, package.module:NAME")


def choose(
    protocols: str | Protocol | Sequence[str | Protocol],
    overrides: Mapping[str, Any] | None = None,
) -> list[Chosen]:
    """The protocols asked for, each once, with their settings.

    Settings are the defaults, changed by the variant, changed by the overrides.

    Args:
        protocols: texts as `find` takes them, or declarations; a single text may name several,
            separated by commas.
        overrides: settings by protocol, for all its variants: {"linear": {"epochs": 10}}.

    Raises:
        ConfigError: for an unknown protocol, variant or setting, or an override of a protocol not
            asked for.
    """
    overrides = overrides or {}
    if isinstance(protocols, str):
        protocols = [name.strip() for name in protocols.split(",") if name.strip()]
    elif isinstance(protocols, Protocol):
        protocols = [protocols]
    chosen: dict[str, Chosen] = {}
    for one in (_chosen(asked, overrides) for asked in protocols):
        if chosen.setdefault(one.name, one).protocol != one.protocol:
            raise ConfigError(f"two protocols are called '{one.name}'; give one another name")
    if not chosen:
        raise ConfigError(f"no protocol given; choose from {', '.join(PROTOCOLS)}")
    _check_overrides(overrides, {one.protocol.name: one.protocol for one in chosen.values()})
    return list(chosen.values())


def protocol_of(name: str) -> Protocol | None:
    """The library's protocol behind a name of scores.json, which may have a variant; None for any
    other name."""
    return PROTOCOLS.get(name.partition(":")[0])


def title_of(name: str) -> str:
    """Title of a protocol, with its variant.

    Example:
        >>> title_of("knn"), title_of("mine")
        ('Nearest neighbours (kNN)', 'mine')
    """
    protocol, variant = protocol_of(name), name.partition(":")[2]
    if protocol is None:
        return name
    return f"{protocol.title}, {variant}" if variant else protocol.title


def short_title_of(name: str) -> str:
    """Title of a protocol within a sentence, with its variant.

    Example:
        >>> short_title_of("knn"), short_title_of("linear:adco"), short_title_of("finetune")
        ('kNN', 'linear probe (adco)', 'fine-tuning')
    """
    protocol, variant = protocol_of(name), name.partition(":")[2]
    if protocol is None:
        return name
    short = protocol.short or protocol.title[0].lower() + protocol.title[1:]
    return f"{short} ({variant})" if variant else short


def in_order(names: Iterable[str]) -> list[str]:
    """Names of scores.json in the order of the list, variants behind their protocol, unknown names
    last; each once."""
    known = list(PROTOCOLS)
    bases = {name: name.partition(":")[0] for name in dict.fromkeys(names)}
    return sorted(
        bases, key=lambda name: known.index(bases[name]) if bases[name] in known else len(known)
    )


def headline_of(name: str, result: Mapping[str, Any]) -> float | None:
    """The number of a result that tables quote, in [0, 1]; None if it has none.

    The result of a protocol from outside the library names the key itself.
    """
    protocol = protocol_of(name)
    key = result.get("headline", "accuracy") if protocol is None else protocol.headline
    value = result.get(key)
    return float(value) if isinstance(value, int | float) else None


def worse_than_start(
    trained: Mapping[str, Mapping[str, Any]],
    start: Mapping[str, Mapping[str, Any]],
    *,
    name: str = UNTRAINED,
) -> str | None:
    """Sentence about the scores that training made lower; None if there are none.

    Args:
        trained: results of the trained encoder by protocol, as scores.json holds them.
        start: results of the encoder from which it started.
        name: `untrained` or `start weights`.

    Example:
        >>> worse_than_start({"knn": {"accuracy": 0.25}}, {"knn": {"accuracy": 0.5}})
        'training made it worse: kNN 25.0 % against 50.0 % untrained. Too few steps?'
    """
    pairs = {
        protocol: (
            headline_of(protocol, trained[protocol]),
            headline_of(protocol, start.get(protocol, {})),
        )
        for protocol in in_order(trained)
    }
    is_given = name == START_WEIGHTS
    whose = "by the start weights" if is_given else UNTRAINED
    lower = [
        f"{short_title_of(protocol)} {100 * after:.1f} % against {100 * before:.1f} % {whose}"
        for protocol, (after, before) in pairs.items()
        if after is not None and before is not None and round(after, 3) < round(before, 3)
    ]
    cause = "Too high a learning rate, or too few steps?" if is_given else "Too few steps?"
    return f"training made it worse: {', '.join(lower)}. {cause}" if lower else None


def _is_code(where: str) -> bool:
    """Whether a text is meant as a file or a module, and not as the misspelt name of a protocol."""
    if where.endswith(".py") or "." in where:
        return True
    try:
        return find_spec(where) is not None
    except ValueError:  # a module without a specification, such as __main__
        return True


def _from_package(point: EntryPoint) -> Protocol:
    """The protocol of an entry point, under the entry point's name."""
    package = f" of the package {point.dist.name}" if point.dist is not None else ""
    what = f"protocol '{point.name}'{package}"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:  # whatever the code of a package raises
        raise ConfigError(import_failure(what, point.value, error)) from error
    return replace(_declaration(found, what, point.module), name=point.name)


def _from_code(where: str, name: str) -> Protocol:
    """The protocol of that name in a file or a module; its own name must not be one in use."""
    text = f"{where}:{name}"
    found = load_named(text, what="protocol")
    module = load_module(where, what="protocol")
    near = [key for key, value in vars(module).items() if isinstance(value, Protocol)]
    hint = f"; {where} declares {', '.join(near)}" if near else ""
    return _own_or_new(_declaration(found, f"protocol '{text}'", module.__name__, hint=hint))


def _declaration(found: object, what: str, module: str, *, hint: str = "") -> Protocol:
    """An object that is a Protocol, or the one that it carries under the name PROTOCOL."""
    carried = found if isinstance(found, Protocol) else getattr(found, "PROTOCOL", None)
    if not isinstance(carried, Protocol):
        raise ConfigError(
            f"{what} is of type {type(found).__name__}; accepted are a Protocol and what has one "
            f"called PROTOCOL{hint}"
        )
    if isinstance(found, ModuleType):
        module = found.__name__
    return replace(carried, module=carried.module or module)


def _own_or_new(protocol: Protocol) -> Protocol:
    """The protocol, if its name is free or it is the library's own of that name."""
    own = PROTOCOLS.get(protocol.name)
    if own is not None and replace(protocol, module=own.module) == own:
        return own
    if own is not None or protocol.name in installed():
        raise ConfigError(f"a protocol '{protocol.name}' exists; give yours another name")
    return protocol


def _chosen(asked: str | Protocol, overrides: Mapping[str, Any]) -> Chosen:
    """A protocol as asked for, with its settings."""
    protocol, variant = (_own_or_new(asked), "") if isinstance(asked, Protocol) else find(asked)
    base = protocol.name
    name = f"{base}:{variant}" if variant else base
    if variant and variant not in protocol.variants:
        if not protocol.variants:
            raise ConfigError(f"protocol '{base}' has no variants, got '{name}'; ask for '{base}'")
        raise ConfigError(unknown_name(f"variant of {base}", variant, protocol.variants))
    given = overrides.get(base, {})
    values = merged(protocol.variants.get(variant, {}), given if isinstance(given, Mapping) else {})
    settings = protocol.load_settings().build(values, where=base)
    return Chosen(name=name, protocol=protocol, settings=settings)


def _check_overrides(overrides: Mapping[str, Any], asked: Mapping[str, Protocol]) -> None:
    """Refuse settings of no protocol, or of one that was not asked for."""
    for key, value in overrides.items():
        if key in asked and isinstance(value, Mapping):
            continue
        if isinstance(value, Mapping) and (key in PROTOCOLS or key in installed()):
            raise ConfigError(
                f"setting '{key}.{next(iter(value), '')}': that protocol was not asked for; "
                "add it to --protocol"
            )
        settings = {name: one.load_settings().model_fields for name, one in asked.items()}
        accepted = [f"{name}.{part}" for name in sorted(settings) for part in settings[name]]
        raise ConfigError(unknown_name("setting", key, accepted))
