"""Settings of the whole library: every one has a reader, an explanation, and one place only."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import sparring
from sparring.config import Settings
from sparring.contract.settings import models, require_explained
from sparring.data.views.view_settings import ViewsSettings
from sparring.methods import registry
from sparring.training.settings import RunConfig


def all_models() -> Iterator[type[Settings]]:
    """Every settings model that a configuration can hold."""
    roots: list[type[Settings]] = [RunConfig]
    roots += [registry.method_class(name).settings_class for name in registry.shipped("method")]
    roots += [registry.opponent_class(name).settings_class for name in registry.shipped("opponent")]
    return iter(dict.fromkeys(model for root in roots for model in models(root)))


@cache
def read_names() -> frozenset[str]:
    """Names that some line of the library reads as an attribute; declarations are no reading."""
    found = set()
    for path in Path(sparring.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
    return frozenset(found)


def test_the_walk_finds_the_models_of_every_layer() -> None:
    names = {model.__name__ for model in all_models()}
    general = {"RunConfig", "TrainingSettings", "DataSettings", "EncoderSettings"}
    assert {*general, "PlayerSettings", "BankSettings", "ViewsSettings"} <= names


def test_every_setting_is_read_somewhere() -> None:
    unread = [
        f"{model.__name__}.{name}"
        for model in all_models()
        for name in model.model_fields
        if name not in read_names()
    ]
    assert not unread


def test_every_setting_is_explained() -> None:
    for model in all_models():
        if model is not ViewsSettings:  # explained where a view's own settings are
            require_explained(model)


def test_what_may_be_none_is_none_unless_set() -> None:
    # TOML has no null: a None that is not the default would come back as the default.
    wrong = [
        f"{model.__name__}.{name}"
        for model in all_models()
        for name, field in model.model_fields.items()
        if type(None) in get_args(field.annotation) and field.default is not None
    ]
    assert not wrong
