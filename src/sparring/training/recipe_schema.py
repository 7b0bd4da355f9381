"""JSON schema of recipes, by which editors complete, explain and check them.

It is made from the settings' own models. Which keys a recipe may have depends on its method, so
each shipped method has a branch; a method of your own may have any.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sparring.errors import ConfigError, unknown_name
from sparring.methods import registry
from sparring.methods.setting_docs import setting_docs
from sparring.training.settings import RunConfig

Schema: TypeAlias = dict[str, Any]
"""A part of a JSON schema."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OWN = ("method_settings", "opponent_settings")
"""Fields of the configuration that stand at the top level in recipes."""
GENERAL = ("data", "encoder", "training")
"""Sections of every run, whose defaults no method changes."""
ELSEWHERE = ".:."
"""Pattern of a method or an opponent that is not shipped: FILE.py:CLASS or package.module:CLASS."""


def recipe_schema(method: str | None = None) -> Schema:
    """Schema of recipes: JSON Schema, draft 2020-12.

    Args:
        method: shipped method, variant or pairing, whose recipes alone are meant; None: all.

    Raises:
        ConfigError: for an unknown method, with the nearest one.
    """
    known = [*registry.shipped("method"), *registry.further_names()]
    if method is not None and method not in known:
        raise ConfigError(unknown_name("method", method, known))
    names = known if method is None else [method]
    models = {name: registry.method_class(_owner(name)).settings_class for name in names}
    around = {
        registry.section_of(name): registry.opponent_class(name).settings_class
        for name in registry.shipped("opponent")
    }
    defined = _definitions([RunConfig, *models.values(), *around.values()])
    own = {name: defined[model.__name__]["properties"] for name, model in models.items()}
    shared = dict(defined.pop(RunConfig.__name__)["properties"])
    for name in OWN:
        del shared[name]
    shared |= {key: {"$ref": f"#/$defs/{model.__name__}"} for key, model in around.items()}
    shared["method"] |= _one_of(names)
    opponents = _one_of(registry.shipped("opponent"))
    shared["opponent"] |= {"type": ["string", "array"], "items": opponents, "uniqueItems": True}
    shared["opponent"]["anyOf"] = [{"type": "array"}, *opponents["anyOf"]]
    root: Schema = {
        "$schema": DIALECT,
        "title": f"Recipe of sparring{' for ' + method if method else ''}",
        "type": "object",
    }
    if method is not None:
        root |= {"properties": {**own[method], **shared}, "additionalProperties": False}
    else:
        root["properties"] = {**_united(own.values()), **shared}
        root["allOf"] = list(_branches(own, [*shared]))
    return {**root, "$defs": defined}


def _owner(name: str) -> str:
    """The method whose settings a method, a variant or a pairing has."""
    if name in registry.variants():
        return registry.variants()[name][0]
    return registry.pairings()[name][0] if name in registry.pairings() else name


def _one_of(names: Iterable[str]) -> Schema:
    """A shipped name, or a class elsewhere."""
    return {"anyOf": [{"enum": list(names)}, {"type": "string", "pattern": ELSEWHERE}]}


def _united(own: Iterable[Mapping[str, Schema]]) -> dict[str, Schema]:
    """Every key that some method has, for completion; the branches say which values it takes."""
    found: dict[str, list[Schema]] = {}
    for properties in own:
        for key, part in properties.items():
            forms = found.setdefault(key, [])
            forms += [part] if part not in forms else []
    return {key: {"anyOf": [*forms, True]} for key, forms in found.items()}


def _branches(own: Mapping[str, Mapping[str, Schema]], shared: list[str]) -> Iterator[Schema]:
    """What holds for the recipes of each method, and for those that leave the method open."""
    every = dict.fromkeys([*shared, *(key for properties in own.values() for key in properties)])
    for name, properties in own.items():
        # The key itself is refused, so that an editor marks it and not the whole file.
        others = {key: False for key in every if key not in properties and key not in shared}
        yield {
            "if": {"properties": {"method": {"const": name}}, "required": ["method"]},
            "then": {"properties": {**properties, **others}},
        }
    yield {
        "if": {"properties": {"method": {"pattern": ELSEWHERE}}, "required": ["method"]},
        "else": {"properties": dict.fromkeys(every, True), "additionalProperties": False},
    }


def _definitions(models: list[type[BaseModel]]) -> Schema:
    """Definition of each model and of its sections, by the name of its class.

    A default is told where it holds for all: a section's own is not, since methods set it to
    others, and tell those.
    """
    _, whole = models_json_schema([(model, "validation") for model in dict.fromkeys(models)])
    kinds = {kind.__name__: kind for model in models for kind in _kinds(model)}
    general = [kind for name in GENERAL for kind in _kinds(_section(name))]
    told = {kind.__name__ for kind in (*models, *general)}
    for name, part in whole["$defs"].items():
        docs = setting_docs(kinds[name]) if name in kinds else {}
        part["properties"] = {
            key: _explained(value, docs.get(key), with_default=name in told)
            for key, value in part.get("properties", {}).items()
        }
        part.pop("title", None)
    defined: Schema = whole["$defs"]
    return defined


def _section(name: str) -> type[BaseModel]:
    """Settings model of a section of every run."""
    kind = RunConfig.model_fields[name].annotation
    assert isinstance(kind, type)
    assert issubclass(kind, BaseModel)
    return kind


def _kinds(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A settings model and those of its sections."""
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _kinds(kind)


def _explained(part: Schema, doc: str | None, *, with_default: bool) -> Schema:
    """Schema of a setting with its explanation, and without what a TOML file cannot hold."""
    left_out = {"title"} if with_default else {"title", "default"}
    found = {key: value for key, value in part.items() if key not in left_out}
    forms = [form for form in found.pop("anyOf", ()) if form != {"type": "null"}]
    found |= forms[0] if len(forms) == 1 else {"anyOf": forms} if forms else {}
    if "default" in found:
        found["default"] = _without_none(found["default"])
        if found["default"] is None:
            del found["default"]
    return found | ({"description": doc} if doc else {})


def _without_none(value: Any) -> Any:
    """A default without the settings that are None in it."""
    if not isinstance(value, dict):
        return value
    return {key: _without_none(part) for key, part in value.items() if part is not None}
