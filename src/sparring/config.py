"""Base of settings models, and their construction from TOML and `--set key=value`.

Each part of the library declares its settings next to its code as a frozen model that forbids
unknown keys. This file holds their base class, the merging of nested dictionaries, and the
translation of a validation error into one sentence with the nearest key.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Self, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from sparring.errors import ConfigError, unknown_setting
from sparring.regular_files import read_text

Tree: TypeAlias = dict[str, Any]
"""Nested dictionary of settings, such as the content of a TOML file."""


class Settings(BaseModel):
    """Base class of all settings: immutable, keyword-only, unknown keys forbidden."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @classmethod
    def build(cls, values: Mapping[str, Any], *, where: str = "") -> Self:
        """Settings from plain values.

        Args:
            values: nested dictionary, such as the content of a TOML file.
            where: dotted prefix of these settings in the complete configuration, for messages.

        Raises:
            ConfigError: if a key or value is wrong; the message names the key, its value and what
                is accepted.
        """
        _refuse_nul(values, where)
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_sentence(cls, error, where)) from None


def _refuse_nul(values: Mapping[str, Any], where: str) -> None:
    """No path and no name can hold a NUL, and the system's calls fail late and unexplained."""
    for key, value in leaves(values, f"{where}." if where else ""):
        texts = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(text, str) and "\0" in text for text in texts):
            raise ConfigError(f"{key}: a NUL character cannot be part of a value, got {value!r}")


def _sentence(model: type[BaseModel], error: ValidationError, where: str) -> str:
    found = error.errors(include_url=False)
    first, path = found[0], [str(part) for part in found[0]["loc"]]
    place = _branch_place(model, path)
    if place is not None:  # the value of a setting that accepts several kinds
        same = [one for one in found if list(map(str, one["loc"][:place])) == path[:place]]
        near = [one for one in same if not _is_other_kind(one, place)]
        if not near:
            return _of_no_kind(model, same, path[:place], where)
        # A misspelt key says more than the one that is missing instead.
        first = min(near, key=lambda one: one["type"] != "extra_forbidden")
        path = [str(part) for part in (*first["loc"][:place], *first["loc"][place + 1 :])]
    key = ".".join([*filter(None, [where]), *path])
    if first["type"] == "extra_forbidden":
        return unknown_setting(key, _siblings(model, path, where), setting_names(model, where))
    value = first["input"]
    if first["type"] == "literal_error":
        return f"{key}: {_of_literal(first)}"
    if first["type"] == "model_type":
        return (
            f"{key} is a section, got {value!r}; set one of "
            f"{', '.join(_siblings(model, [*path, ''], where))}"
        )
    text = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    shown = "" if isinstance(value, dict | BaseModel) or repr(value) in text else f", got {value!r}"
    return f"{key or 'configuration'}: {text}{shown}"


_KINDS = {
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "literal_error": "",
}
"""What a branch of a union accepts, by the type of the error for a value of another kind."""


def _branch_place(model: type[BaseModel], path: Sequence[str]) -> int | None:
    """Place in an error's path of the name of a union's branch, which is no key; None without a
    union."""
    for place, part in enumerate(path[:-1]):
        field = model.model_fields.get(part)
        kinds = _kinds(field.annotation) if field else []
        if len(kinds) > 1:
            return place + 1
        if not kinds or not _is_model(kinds[0]):
            return None
        model = kinds[0]
    return None


def _kinds(annotation: Any) -> list[Any]:
    """The types that a union unites, without None; a single type of all else."""
    if get_origin(annotation) not in (Union, UnionType):
        return [annotation]
    return [kind for kind in get_args(annotation) if kind is not NoneType]


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_other_kind(error: ErrorDetails, place: int) -> bool:
    """Whether an error of a branch says that the value is of another kind, not that a value of
    this kind is wrong."""
    return error["type"] in _KINDS and len(error["loc"]) == place + 1


def _of_no_kind(
    model: type[BaseModel], errors: Sequence[ErrorDetails], path: Sequence[str], where: str
) -> str:
    """Sentence for a value that no branch of a union accepts."""
    value, words, accepted = errors[0]["input"], [], ""
    for one in errors:
        kind = _KINDS[one["type"]]
        if one["type"] == "literal_error":
            kind = one["ctx"]["expected"]
            accepted += kind
        if one["type"] == "model_type":
            keys = _siblings(model, [*path, ""], "")
            kind = f"a table of {', '.join(name.rpartition('.')[2] for name in keys)}"
        words.append(kind)
    *others, last = dict.fromkeys(words)
    listed = f"{', '.join(others)} or {last}" if others else last
    key = ".".join([*filter(None, [where]), *path])
    return f"{key}: should be {listed}, got {value!r}{_nearest(value, accepted)}"


def _of_literal(error: ErrorDetails) -> str:
    """Sentence for a value that is none of some words, with the nearest of these."""
    expected, value = error["ctx"]["expected"], error["input"]
    return f"should be {expected}, got {value!r}{_nearest(value, expected)}"


def _nearest(value: object, expected: str) -> str:
    """Question after the nearest of the words that a text quotes; empty if none is near."""
    quoted = re.findall(r"'([^']*)'", expected)
    near = get_close_matches(value, quoted, n=1, cutoff=0.5) if isinstance(value, str) else []
    return f"; did you mean '{near[0]}'?" if near else ""


def _siblings(model: type[BaseModel], path: Sequence[str], where: str) -> list[str]:
    prefix = [where] if where else []
    for part in path[:-1]:
        field = model.model_fields.get(part)
        inner = (
            [t for t in (get_args(field.annotation) or (field.annotation,)) if isinstance(t, type)]
            if field
            else []
        )
        models = [t for t in inner if issubclass(t, BaseModel)]
        if not models:
            break
        model = models[0]
        prefix.append(part)
    return [".".join([*prefix, name]) for name in model.model_fields]


def setting_names(model: type[BaseModel], where: str = "") -> list[str]:
    """Full names of all settings of a model, in their order, those of its sections included.

    Args:
        model: settings model.
        where: dotted prefix of these settings in the complete configuration.
    """
    found = []
    for name, field in model.model_fields.items():
        key = f"{where}.{name}" if where else name
        kinds = _kinds(field.annotation)
        inner = [kind for kind in kinds if _is_model(kind)]
        found += [key] if len(inner) < len(kinds) else []
        found += setting_names(inner[0], key) if inner else []
    return found


def merged(base: Mapping[str, Any], *updates: Mapping[str, Any]) -> Tree:
    """Merged tree, in which later leaves replace earlier ones, section by section."""
    result: Tree = dict(base)
    for update in updates:
        for key, value in update.items():
            old = result.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted key and value of every leaf of a configuration."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def parse_override(text: str, *, option: str = "--set", example: str = "bank.size=4096") -> Tree:
    """Tree with one leaf from `key.path=value`; the value is read as TOML, otherwise as a plain
    string.

    Args:
        text: of the option.
        option: which is named if it is wrong.
        example: of what it takes.

    Raises:
        ConfigError: if there is no `=`, or a key is empty.

    Example:
        >>> parse_override("bank.size=4096")
        {'bank': {'size': 4096}}
    """
    key, equals, raw = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"{option} {text}: expected key=value, for example {option} {example}")
    return nested(".".join(parts), _parsed_value(raw))


def nested(key: str, value: object) -> Tree:
    """Tree with one leaf, from its dotted key.

    Example:
        >>> nested("bank.size", 4096)
        {'bank': {'size': 4096}}
    """
    *sections, name = key.split(".")
    tree: Tree = {name: value}
    for part in reversed(sections):
        tree = {part: tree}
    return tree


def _parsed_value(raw: str) -> object:
    try:
        found = tomllib.loads(f"value = {raw}")
    except (ValueError, RecursionError):  # also for numbers of thousands of digits
        return raw
    # A line break in the value would begin another key.
    return found["value"] if len(found) == 1 else raw


def read_toml(path: Path) -> Tree:
    """Content of a TOML file as a tree.

    Raises:
        ConfigError: if the file is missing or is not TOML.
    """
    try:
        # Paths in a run's configuration may hold bytes that are not UTF-8.
        return tomllib.loads(read_text(path, errors="surrogateescape"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # also for numbers of thousands of digits
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigError(f"{path} is not valid TOML: {why}") from None


def toml_text(tree: Mapping[str, Any]) -> str:
    """Nested dictionary as a TOML document; keys with value None are left out (TOML has no
    null)."""
    return "\n".join(_toml_lines(tree, ())).strip() + "\n"


def _toml_lines(tree: Mapping[str, Any], path: tuple[str, ...], header: str = "") -> list[str]:
    """Lines of a table: its values, then its tables and arrays of tables, below a header."""
    inner = {k: v for k, v in tree.items() if isinstance(v, Mapping) or _is_tables(v)}
    values = {k: v for k, v in tree.items() if k not in inner and v is not None}
    lines = ["", header] if header and (values or header.startswith("[[")) else []
    lines += [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in values.items()]
    for key, value in inner.items():
        place = (*path, _toml_key(key))
        name = ".".join(place)
        if isinstance(value, Mapping):
            lines += _toml_lines(value, place, f"[{name}]")
        else:
            for one in value:
                lines += _toml_lines(one, place, f"[[{name}]]")
    return lines


def _is_tables(value: object) -> bool:
    """Whether a value is a list of dictionaries, which reads best as an array of tables."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(one, Mapping) for one in value)
    )


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else str(_toml_value(key))


def _toml_value(value: object) -> str:
    match value:
        case bool() | int() | float():
            return json.dumps(value)
        case str():
            # TOML requires an escaped DEL, JSON does not.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            return (
                "{ "
                + ", ".join(
                    f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items() if v is not None
                )
                + " }"
            )
        case Sequence():
            return "[" + ", ".join(_toml_value(item) for item in value) + "]"
        case _:
            return _toml_value(str(value))
