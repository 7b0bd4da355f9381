"""Which protocols were asked for, and with which settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from sparring.config import merged
from sparring.errors import ConfigError, unknown_name
from sparring.evaluation.catalogue import PROTOCOLS, Entry

if TYPE_CHECKING:
    from sparring.config import Settings
    from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
    from sparring.evaluation.protocol import Result

    Function = Callable[[EvaluatedEncoder, EvaluationData, Any], Result]


@dataclass(frozen=True)
class Chosen:
    """A protocol as asked for: its name, perhaps with a variant, and its settings."""

    name: str
    entry: Entry
    settings: Settings

    def __call__(self, evaluated: EvaluatedEncoder, data: EvaluationData) -> Result:
        """Its result on a evaluated."""
        return function_of(self.entry)(evaluated, data, self.settings)


def choose(names: Sequence[str], overrides: Mapping[str, Any] | None = None) -> list[Chosen]:
    """The protocols asked for, each once, with their settings: defaults, then the variant's, then
    the overrides.

    Args:
        names: such as `knn` or `linear:adco`.
        overrides: settings by protocol, for all its variants: {"linear": {"epochs": 10}}.

    Raises:
        ConfigError: for an unknown protocol, variant or setting, or an override of a protocol not
            asked for.
    """
    overrides = overrides or {}
    chosen = {name: _chosen(name, overrides) for name in names}
    if not chosen:
        raise ConfigError(f"no protocol given; choose from {', '.join(PROTOCOLS)}")
    asked = {name.partition(":")[0] for name in chosen}
    for key, value in overrides.items():
        if key not in PROTOCOLS or not isinstance(value, Mapping):
            raise ConfigError(
                unknown_name(
                    "setting",
                    key,
                    [f"{name}.{part}" for name in sorted(asked) for part in _fields(name)],
                )
            )
        if key not in asked:
            raise ConfigError(
                f"setting '{key}.{next(iter(value), '')}': that protocol was not asked for; "
                "add it to --protocol"
            )
    return list(chosen.values())


def function_of(entry: Entry) -> Function:
    """The protocol itself; its file is loaded now."""
    return cast("Function", getattr(_module(entry), entry.function))


def settings_class(entry: Entry) -> type[Settings]:
    """Its settings; its file is loaded now."""
    return cast("type[Settings]", getattr(_module(entry), entry.settings))


def _module(entry: Entry) -> Any:
    return import_module(f"sparring.evaluation.{entry.module}")


def _fields(name: str) -> list[str]:
    return list(settings_class(PROTOCOLS[name]).model_fields)


def _chosen(name: str, overrides: Mapping[str, Any]) -> Chosen:
    base, colon, variant = name.partition(":")
    if base not in PROTOCOLS:
        raise ConfigError(unknown_name("protocol", base, PROTOCOLS))
    entry = PROTOCOLS[base]
    if colon and variant not in entry.variants:
        if not entry.variants:
            raise ConfigError(f"protocol '{base}' has no variants, got '{name}'; ask for '{base}'")
        raise ConfigError(unknown_name(f"variant of {base}", variant, entry.variants))
    given = overrides.get(base, {})
    values = merged(entry.variants.get(variant, {}), given if isinstance(given, Mapping) else {})
    return Chosen(name, entry, settings_class(entry).build(values, where=base))
