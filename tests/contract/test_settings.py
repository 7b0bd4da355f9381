"""Every setting is read by somebody, survives its file, and has one place only."""

import ast
import inspect
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from arena import SMALL, training

import sparring
from sparring.config import Settings, merged, toml_text
from sparring.data.views.view_settings import ViewsSettings
from sparring.methods.registry import METHODS, settings_class
from sparring.optim.player import PlayerSettings
from sparring.training.settings import RunConfig

every_method = pytest.mark.parametrize("method", sorted(METHODS))

ELSEWHERE = {
    "MethodSettings": "a base; its fields are read through the methods' own settings",
    "ViewsSettings": "hands every field on by dumping itself; tests/data/test_view_settings.py",
    "DataSettings": "read when images are opened from disk; tests/data",
    "RunConfig": "method and game are read from the start, opponent by from_tree",
}
"""Models whose fields a run on images in memory need not read, and why."""


def models(root: type[Settings]) -> Iterator[type[Settings]]:
    """A settings model and all those inside it."""
    yield root
    for field in root.model_fields.values():
        for kind in get_args(field.annotation) or (field.annotation,):
            if is_section(kind) and kind is not root:
                yield from models(kind)


def all_models() -> list[type[Settings]]:
    """Every settings model that a configuration can hold."""
    roots: list[type[Settings]] = [RunConfig, *(settings_class(method) for method in METHODS)]
    return list(dict.fromkeys(model for root in roots for model in models(root)))


@cache
def read_names() -> frozenset[str]:
    """Names that some line of the library reads as an attribute; declarations are no reading."""
    found = set()
    for path in Path(sparring.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
    return frozenset(found)


def explained(model: type[Settings]) -> set[str]:
    """Fields with a docstring below them, or whose values the docstring of the class lists."""
    (declaration,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(declaration, ast.ClassDef)
    found = set()
    for node, following in zip(declaration.body, [*declaration.body[1:], None], strict=True):
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_text:
            found.add(node.target.id)
    listed = {
        name
        for name, field in model.model_fields.items()
        if get_args(field.annotation)
        and all(f"`{value}`" in (model.__doc__ or "") for value in get_args(field.annotation))
    }
    return found | listed


def test_the_walk_finds_the_models_of_every_layer() -> None:
    names = {model.__name__ for model in all_models()}
    assert {
        "RunConfig",
        "TrainingSettings",
        "DataSettings",
        "EncoderSettings",
        "PlayerSettings",
        "BankSettings",
        "ViewsSettings",
    } <= names


def test_every_setting_is_read_somewhere() -> None:
    unread = [
        f"{model.__name__}.{name}"
        for model in all_models()
        for name in model.model_fields
        if name not in read_names()
    ]
    assert not unread


@every_method
def test_a_run_reads_every_setting_it_was_given(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def watched(self: Settings, name: str) -> object:
        if name in type(self).model_fields:
            seen.add(f"{type(self).__name__}.{name}")
        return object.__getattribute__(self, name)

    monkeypatch.setattr(Settings, "__getattribute__", watched)
    run = training(method, tmp_path, training={"max_steps": 5})
    run.play()
    monkeypatch.undo()
    given = [
        model
        for model in [*models(RunConfig), *models(settings_class(method))]
        if model.__name__ not in ELSEWHERE
    ]
    assert not {f"{model.__name__}.{name}" for model in given for name in model.model_fields} - seen


def is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def test_every_setting_is_explained() -> None:
    silent = {
        f"{model.__name__}.{name}"
        for model in all_models()
        for name, field in model.model_fields.items()
        # Sections explain themselves; the views' settings are explained where a view's own are.
        if name not in explained(model)
        and not is_section(field.annotation)
        and model is not ViewsSettings
    }
    assert not silent


@every_method
def test_the_defaults_make_a_configuration(method: str) -> None:
    run = RunConfig.from_tree({"method": method})
    assert run.method == method
    assert isinstance(run.game, settings_class(method))


@every_method
def test_a_configuration_survives_its_file(method: str) -> None:
    changed: dict[str, Any] = {
        "seed": 7,
        "data": {"path": 'a "quoted"\\path\n of \u00fcmlauts', "limit": 5},
        "encoder": {"width": 0.0625, "small_images": True, "mean": [0.1, 0.2, 1e-05]},
        "training": {"max_steps": 3, "monitor_epochs": 2, "sync_batch_norm": True},
        "players": {"encoder": {"clip_norm": 1e-7, "learning_rate": 1e22, "optimizer": "lars"}},
        "views": {"crop_scale": [0.5, 1.0], "blur": 0.0},
    }
    trees: list[dict[str, Any]] = [{}, SMALL[method], merged(changed, SMALL[method])]
    for tree in trees:
        run = RunConfig.from_tree({**tree, "method": method})
        assert RunConfig.from_tree(tomllib.loads(toml_text(run.tree()))) == run


def test_what_may_be_none_is_none_unless_set() -> None:
    # TOML has no null: a None that is not the default would come back as the default.
    wrong = [
        f"{model.__name__}.{name}"
        for model in all_models()
        for name, field in model.model_fields.items()
        if type(None) in get_args(field.annotation) and field.default is not None
    ]
    assert not wrong


@every_method
def test_no_setting_of_a_method_hides_a_general_section(method: str) -> None:
    assert not set(settings_class(method).model_fields) & set(RunConfig.model_fields)


@every_method
def test_each_player_has_an_optimiser_of_its_own(method: str) -> None:
    players = settings_class(method).model_validate({}).players
    sections = [getattr(players, name) for name in type(players).model_fields]
    assert sections
    assert all(isinstance(section, PlayerSettings) for section in sections)
