"""Reference of settings: key, default, accepted values and explanation, read from the models."""

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from sparring.config import Settings
from sparring.data.views.view_settings import ViewsSettings
from sparring.evaluation.catalogue import PROTOCOLS
from sparring.methods import registry
from sparring.methods.method import MethodSettings
from sparring.methods.setting_docs import setting_docs
from sparring.models.heads import PredictorSettings, ProjectorSettings
from sparring.models.teacher import KeyNormSettings
from sparring.optim.player import PlayerSettings
from sparring.training.settings import RunConfig

SHARED: Mapping[type[Settings], str] = {
    ViewsSettings: "views",
    ProjectorSettings: "projector",
    PredictorSettings: "predictor",
    PlayerSettings: "a player",
    KeyNormSettings: "key norm",
}
"""Sections that many methods have: they are explained once, under this title."""

KINDS = {
    float: "number",
    int: "integer",
    bool: "true or false",
    str: "text",
}
BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


class Setting(NamedTuple):
    """One line of the reference."""

    key: str
    default: str
    accepted: str
    meaning: str


def settings() -> str:
    """Settings of a run, of the sections that methods share, and of each method and opponent."""
    parts = ["## Of every run"]
    general = ("seed", "method", "opponent", "data", "encoder", "training")
    own = {name: RunConfig.model_fields[name] for name in general}
    single = [name for name in general if _section(own[name]) is None]
    parts.append(_table([_setting(RunConfig, name, name, ...) for name in single]))
    for name in general:
        if (section := _section(own[name])) is not None:
            parts += [f"### `{name}`", _model(section, f"{name}.")]
    parts.append("## Sections that methods share")
    for model, title in SHARED.items():
        parts += [f"### {title.capitalize()}", _model(model, "")]
    for kind in registry.KINDS:
        parts.append(f"## Of each {kind}")
        parts += [_owner(kind, name) for name in registry.shipped(kind)]
    return "\n\n".join(parts)


def protocol_settings() -> str:
    """Settings of each evaluation protocol."""
    parts = []
    for name, protocol in PROTOCOLS.items():
        model = protocol.load_settings()
        if model.model_fields:
            parts += [f"### Protocol {name}", protocol.question, _model(model, f"{name}.")]
    return "\n\n".join(parts)


def _owner(kind: registry.Kind, name: str) -> str:
    """Settings that a method or an opponent has of its own."""
    about = registry.about(kind, name)
    own = registry.method_class(name) if kind == "method" else registry.opponent_class(name)
    prefix = f"{registry.section_of(name)}." if kind == "opponent" else ""
    page = f"../methods/{registry.section_of(name) if kind == 'opponent' else name}.md"
    head = f"{about.summary[:1].upper()}{about.summary[1:]}. [Its page]({page})."
    listed = _table(list(_settings(own.settings_class, prefix)))
    return "\n\n".join([f"### {kind.capitalize()} {name}", head, listed])


def _model(model: type[Settings], prefix: str) -> str:
    """What a section is, and its settings as a table."""
    text = inspect.cleandoc(model.__doc__ or "")
    return f"{text}\n\n{_table(list(_settings(model, prefix)))}"


def _settings(
    model: type[Settings], prefix: str, defaults: Settings | None = None
) -> Iterator[Setting]:
    """Lines of a model and of all sections within it."""
    for name, field in model.model_fields.items():
        default = getattr(defaults, name) if defaults is not None else _default(field)
        section = _section(field)
        if section is None:
            yield _setting(model, name, f"{prefix}{name}", default)
        elif section in SHARED and model not in SHARED:
            yield _shared(model, name, f"{prefix}{name}", default, section)
        else:
            given = default if isinstance(default, Settings) else None
            yield from _settings(section, f"{prefix}{name}.", given)


def _shared(
    model: type[Settings], name: str, key: str, default: Any, section: type[Settings]
) -> Setting:
    """Line of a section that is explained elsewhere: what differs from its own defaults."""
    title = SHARED[section]
    link = f"see [{title}](#{title.replace(' ', '-')})"
    changed = ""
    if isinstance(default, Settings):
        tree = default.model_dump(mode="json", exclude_unset=True)
        changed = "; ".join(f"`{part} = {_json(value)}`" for part, value in tree.items())
    return Setting(f"{key}.*", changed, link, setting_docs(model).get(name, ""))


def _setting(model: type[Settings], name: str, key: str, default: Any) -> Setting:
    """Line of one setting."""
    field = model.model_fields[name]
    if default is ... and not field.is_required():
        default = _default(field)
    if default is None:
        shown = "not set"
    else:
        shown = "" if default is ... or "Undefined" in repr(default) else f"`{_json(default)}`"
    return Setting(key, shown, _accepted(field), setting_docs(model).get(name, ""))


def _default(field: FieldInfo) -> Any:
    """Default of a field, made if it is made anew each time."""
    return field.get_default(call_default_factory=True, validated_data={})


def _json(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, Settings):
        value = value.model_dump(mode="json")
    text = value if isinstance(value, str) and value else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _section(field: FieldInfo) -> type[Settings] | None:
    """The model of a field that is a section, alone or beside None."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Settings):
            return kind if kind is not MethodSettings else None
    return None


def _accepted(field: FieldInfo) -> str:
    """What a field accepts: words, or a kind and its bounds."""
    words = _words(field.annotation)
    for rule in field.metadata:
        words += [
            f"{text} {getattr(rule, bound):g}"
            for bound, text in BOUNDS.items()
            if isinstance(getattr(rule, bound, None), int | float)
        ]
    return ", ".join(words)


def _words(kind: Any) -> list[str]:
    """Names of a type, as a reader of a recipe would say them."""
    if get_origin(kind) is Literal:
        return [f"`{value}`" for value in get_args(kind)]
    if kind is type(None):  # said by leaving the setting out
        return []
    if kind in KINDS:
        return [KINDS[kind]]
    parts = [word for part in get_args(kind) if part is not ... for word in _words(part)]
    inner = list(dict.fromkeys(parts))
    return [f"list of {' or '.join(inner)}"] if get_origin(kind) in (tuple, list) else inner


def _table(shown: list[Setting]) -> str:
    """Settings as a table."""
    rows = [f"| `{one.key}` | {_cell(one.default)} | {_cell(_told(one))} |" for one in shown]
    return "\n".join(["| setting | default | meaning |", "| --- | --- | --- |", *rows])


def _told(one: Setting) -> str:
    """What a setting does and what it accepts."""
    return f"{one.meaning} *{one.accepted[:1].upper()}{one.accepted[1:]}.*".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
