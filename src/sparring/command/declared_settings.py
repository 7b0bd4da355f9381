"""Full names of settings with their docstrings, read from source files without importing torch.

Completion needs them within a keystroke. Settings of installed packages are left out: finding
theirs would run code of these packages.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sparring.methods import registry
from sparring.methods.about import section
from sparring.methods.setting_docs import DeclaredField, source_file

SOURCE = Path(__file__).parents[1]
RUN = ("sparring.training.settings", "RunConfig")
"""Class whose sections every run has."""
OWN_FIELDS = ("method_settings", "opponent_settings")
"""Fields of that class which stand at the top level in files."""
OWN = "settings_class"
"""Attribute of a method's class that names the class of its settings, `settings_class = NAME`."""


@cache
def run_settings() -> dict[str, str]:
    """Settings of every run, whatever its method: full names and docstrings."""
    return {
        key: doc
        for key, doc in _settings(*RUN)
        if not key.startswith(OWN_FIELDS) and key not in ("method", "opponent")
    }


def method_settings(name: str) -> dict[str, str]:
    """Settings of a shipped method, variant or pairing; none of another one."""
    if name in registry.variants():
        name = registry.variants()[name][0]
    if name in registry.pairings():
        method, opponent = registry.pairings()[name]
        return {**method_settings(method), **opponent_settings(opponent)}
    return _own_settings("method", name)


def opponent_settings(name: str) -> dict[str, str]:
    """Settings of a shipped opponent, with the name of its section; none of another one."""
    return {f"{section(name)}.{key}": doc for key, doc in _own_settings("opponent", name).items()}


@cache
def _own_settings(kind: registry.Kind, name: str) -> dict[str, str]:
    if name not in registry.shipped(kind):
        return {}
    module, _, owner = registry.shipped(kind)[name][1].partition(":")
    named = source_file(_path(module)).classes[owner].assigned.get(OWN, "")
    place = _found(module, named)
    return {} if place is None else dict(_settings(*place))


def _settings(module: str, name: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Full name and docstring of every setting of a class, its sections' included."""
    for key, (field, where) in _fields(module, name).items():
        inner = next(filter(None, (_found(where, each) for each in field.types)), None)
        if inner is None:
            yield prefix + key, field.doc
        else:
            yield from _settings(*inner, prefix=f"{prefix}{key}.")


def _fields(module: str, name: str) -> dict[str, tuple[DeclaredField, str]]:
    """A class's own and inherited settings, each with the module that declares it."""
    found: dict[str, tuple[DeclaredField, str]] = {}
    declared = source_file(_path(module)).classes[name]
    for base in filter(None, (_found(module, each) for each in declared.bases)):
        found |= _fields(*base)
    return found | {key: (field, module) for key, field in declared.fields.items()}


def _found(module: str, name: str) -> tuple[str, str] | None:
    """Module and name of a class of this library that a module names; None for anything else."""
    while module.startswith("sparring."):
        file = source_file(_path(module))
        if name in file.classes:
            return module, name
        if name not in file.imports:
            return None
        module = file.imports[name]
    return None


def _path(module: str) -> Path:
    """File of a module of this library."""
    place = SOURCE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
