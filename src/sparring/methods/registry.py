"""Registry of methods and opponents by name: shipped, installed as entry points, or given as a
class.

Shipped classes are found in their files without running them, so that listing them imports no
torch. Packages add theirs by entry points of the groups `sparring.methods` and
`sparring.opponents`. Your own class is given as `FILE.py:NAME`, as `package.module:NAME`, or as the
class itself. A run folder stores this text, but no code is ever imported because a run folder names
it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Collection
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from sparring.errors import ConfigError, unknown_name
from sparring.methods.about import About, Pairing, Twin, Variant, section
from sparring.methods.declarations import declarations
from sparring.methods.plugins import installed_points, is_reference, load_named

if TYPE_CHECKING:
    from sparring.methods.method import Method

Kind: TypeAlias = Literal["method", "opponent"]
KINDS: tuple[Kind, ...] = ("method", "opponent")

DEFAULT_METHOD = "adco"
"""Method of a run that names none."""

_FOLDERS: dict[Kind, str] = {"method": "methods", "opponent": "opponents"}
_BASES: dict[Kind, str] = {
    "method": "sparring.methods.method:Method",
    "opponent": "sparring.opponents.opponent:Opponent",
}
_MAKERS = {"About": About, "Twin": Twin, "Pairing": Pairing, "Variant": Variant}
_given: dict[Kind, dict[str, type]] = {"method": {}, "opponent": {}}


@cache
def shipped(kind: Kind) -> dict[str, tuple[About, str]]:
    """Introduction and place, `module:class`, of every class that the library ships, by name, in
    listing order."""
    folder = Path(__file__).parents[1] / _FOLDERS[kind]
    package = f"sparring.{_FOLDERS[kind]}"
    found = [
        (part.value, f"{part.module}:{part.owner}")
        for part in declarations(folder, package, _MAKERS, wanted="About")
        if part.owner is not None
    ]
    found.sort(key=lambda entry: (entry[0].order, entry[0].name))
    return {about.name: (about, place) for about, place in found}


def installed(kind: Kind) -> dict[str, EntryPoint]:
    """Entry points of installed packages, by name."""
    return installed_points(f"sparring.{_FOLDERS[kind]}")


def names(kind: Kind) -> list[str]:
    """All accepted names, shipped ones first."""
    return [*shipped(kind), *(name for name in installed(kind) if name not in shipped(kind))]


@cache
def pairings() -> dict[str, tuple[str, str]]:
    """Published games that are a method with an opponent: both names, by the game's name."""
    found = [about for about, _ in shipped("opponent").values() if about.pairing is not None]
    return {
        about.pairing.name: (about.pairing.method, about.name)
        for about in found
        if about.pairing is not None
    }


@cache
def variants() -> dict[str, tuple[str, Variant]]:
    """Method and fixed settings of each published method that is a variant of another, by its
    name."""
    found = [about for about, _ in shipped("method").values()]
    return {variant.name: (about.name, variant) for about in found for variant in about.variants}


def further_names() -> list[str]:
    """Names that `--method` accepts besides those of methods: variants and pairings."""
    return [*variants(), *pairings()]


def about(kind: Kind, name: str) -> About:
    """Introduction of a method or an opponent; a shipped one is not imported.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    if name in shipped(kind):
        return shipped(kind)[name][0]
    return about_class(_class(kind, name))


def about_class(given: type) -> About:
    """Introduction of a class; made from its name and its docstring if it has none."""
    own = getattr(given, "about", None)
    if isinstance(own, About):
        return own
    lines = (inspect.getdoc(given) or "").splitlines()
    name = given.__name__
    return About(name=name.lower(), title=name, summary=lines[0] if lines else "")


def method_class(name: str) -> type[Method]:
    """Class of a method by its name.

    Raises:
        ConfigError: for an unknown name, with the nearest one; for a class that is not given.
    """
    return cast("type[Method]", _class("method", name))


def opponent_class(name: str) -> type[Method]:
    """Class of an opponent in image space by its name.

    Raises:
        ConfigError: for an unknown name, with the nearest one; for a class that is not given.
    """
    return cast("type[Method]", _class("opponent", name))


def section_of(opponent: str) -> str:
    """Name of an opponent's section in a configuration."""
    return section(about("opponent", opponent).name)


def is_known(kind: Kind, name: str) -> bool:
    """Whether the class of this name is available: shipped, installed, or given in this process."""
    return name in _given[kind] or name in shipped(kind) or name in installed(kind)


def refuse_unknown(kind: Kind, name: str) -> None:
    """Raise for a name that cannot be meant, before anything is imported.

    Accepted are all names, those of variants and pairings, and references such as `FILE.py:NAME`.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    is_further = kind == "method" and name in further_names()
    if not (is_reference(name) or is_known(kind, name) or is_further):
        raise _unknown(kind, name)


def give(kind: Kind, wanted: str | type, *, name: str | None = None) -> str:
    """Register a method or an opponent, and return its name in a configuration.

    A class, or the class that a text refers to, is loaded and kept for this process.

    Args:
        kind: `method` or `opponent`.
        wanted: name, `FILE.py:NAME`, `package.module:NAME`, or the class.
        name: its name in a stored configuration; None: the one it is given by.

    Raises:
        ConfigError: if it does not exist, or is of another kind.
    """
    if isinstance(wanted, str):
        if not is_reference(wanted):
            return wanted
        found, place = load_named(wanted, what=kind), wanted
    else:
        found, place = wanted, f"{wanted.__module__}:{wanted.__qualname__}"
        for own, (_, module) in shipped(kind).items():
            if place == module:
                return own
    name = place if name is None else name
    _given[kind][name] = _checked(kind, name, found)
    return name


def source_hash(kind: Kind, name: str) -> str | None:
    """SHA-256 of the file in which a given class is defined; None for other classes."""
    if name not in _given[kind]:
        return None
    try:
        path = inspect.getsourcefile(_given[kind][name])
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None
    except (OSError, TypeError):  # defined on a command line
        return None


def reference(kind: Kind, name: str) -> str:
    """Text by which another process can load a given class, `FILE.py:NAME` where it has a file."""
    found = _given[kind][name]
    try:
        place = inspect.getsourcefile(found) or found.__module__
    except (OSError, TypeError):  # defined on a command line or in a notebook
        place = found.__module__
    return f"{place}:{found.__qualname__}"


def given(names: Collection[str] | None = None) -> tuple[tuple[Kind, str, str], ...]:
    """Classes of these names that were given in this process.

    Args:
        names: names in a configuration; None: all.

    Returns:
        Kind, name, and a text by which another process can load each.
    """
    return tuple(
        (kind, name, reference(kind, name))
        for kind in _given
        for name in _given[kind]
        if names is None or name in names
    )


def _class(kind: Kind, name: str) -> type:
    if name in _given[kind]:
        return _given[kind][name]
    if name in shipped(kind):
        return _at(shipped(kind)[name][1])
    if name in installed(kind):
        return _checked(kind, name, _loaded(kind, installed(kind)[name]))
    if is_reference(name):
        raise ConfigError(
            f"{kind} '{name}' is not part of this library and a run folder is never allowed to "
            f"import code; give it again, for example with --{kind} {name}"
        )
    raise _unknown(kind, name)


def _at(place: str) -> type:
    """Class at `module:class`. It is imported by name because opponents lie above this layer."""
    module, _, owner = place.partition(":")
    return cast("type", getattr(import_module(module), owner))


def _unknown(kind: Kind, name: str) -> ConfigError:
    if kind == "method" and name in names("opponent"):
        return ConfigError(
            f"'{name}' is no method but an opponent around one: use --opponent {name}, with a "
            "--method"
        )
    accepted = [*names(kind), *(further_names() if kind == "method" else ())]
    return ConfigError(unknown_name(kind, name, accepted) + "; or FILE.py:CLASS")


def _loaded(kind: Kind, point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "no message"
        raise ConfigError(
            f"{kind} '{point.name}' of an installed package cannot be loaded from {point.value} "
            f"({type(error).__name__}: {reason}); repair or uninstall that package"
        ) from None


def _checked(kind: Kind, name: str, found: object) -> type:
    base, opponent = _at(_BASES[kind]), _at(_BASES["opponent"])
    is_other = kind == "method" and isinstance(found, type) and issubclass(found, opponent)
    if not isinstance(found, type) or not issubclass(found, base) or is_other:
        raise ConfigError(
            f"{kind} '{name}' must be a subclass of sparring's {base.__name__}, got {found!r}"
        )
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ConfigError(f"{kind} '{name}' lacks {lacking}; see docs/adding_a_method.md")
    return found
