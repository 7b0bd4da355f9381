"""The JSON schema of recipes, by a validator that is not ours."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sparring.config import merged
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.training.configure import find_recipe, recipes
from sparring.training.recipe_schema import recipe_schema

WHOLE = Draft202012Validator(recipe_schema())


def test_it_is_a_schema_of_the_draft_that_it_names() -> None:
    schema = recipe_schema()
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("name", recipes())
def test_every_shipped_recipe_fits_and_none_with_an_unknown_key(name: str) -> None:
    recipe = find_recipe(name)
    assert list(WHOLE.iter_errors(recipe)) == []
    assert list(Draft202012Validator(recipe_schema(recipe["method"])).iter_errors(recipe)) == []
    for unknown in (
        {"bnk": 3},
        {"training": {"epoch": 3}},
        {"players": {"encoder": {"lr": 0.1}}},
        {"perturbation": {"epsilom": 0.1}},
    ):
        assert not WHOLE.is_valid(merged(recipe, unknown)), unknown


@pytest.mark.parametrize(
    "tree",
    [
        {"method": "adco", "queue": {"size": 3}},
        {"method": "simclr", "bank": {"size": 3}},
        {"method": "adcoo"},
        {"method": "adco", "seed": -1},
        {"method": "adco", "strength": "relased"},
        {"opponent": ["pertrubation"]},
        {"opponent": ["perturbation", "perturbation"]},
        {"method": "adco", "views": {"preset": "mocov4"}},
        {"training": {"keep_best": "accuracy"}},
        {"training": {"precision": "fp16"}},
        {"temprature": 0.1},
    ],
)
def test_what_training_refuses_does_not_fit(tree: dict[str, Any]) -> None:
    assert not WHOLE.is_valid(tree)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"method": "mine.py:Mine", "anything": {"a": 3}, "bank": 3},
        {"method": "adco", "strength": {"nats": 0.2, "schedule": "rising"}},
        {"method": "clae", "perturbation": {"epsilon": 0.03}},
        {"opponent": "perturbation"},
        {"opponent": ["perturbation", "mine.py:Mine"]},
        {"bank": {"size": 64}},
    ],
)
def test_what_a_recipe_may_hold_fits(tree: dict[str, Any]) -> None:
    assert list(WHOLE.iter_errors(tree)) == []


def test_settings_are_explained_with_the_defaults_of_their_method() -> None:
    properties = recipe_schema("adco")["properties"]
    assert properties["temperature"]["default"] == 0.2
    assert properties["temperature"]["description"].startswith("Temperature of the encoder's loss")
    assert properties["players"]["default"]["bank"]["learning_rate"] == 0.047


def test_a_sections_own_default_is_left_out_where_methods_differ() -> None:
    rate = recipe_schema("adco")["$defs"]["PlayerSettings"]["properties"]["learning_rate"]
    assert "default" not in rate
    assert rate["description"] == "Peak learning rate."


def test_an_unknown_method_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="unknown method 'adoc'; did you mean 'adco'"):
        recipe_schema("adoc")


@pytest.mark.parametrize("name", registry.further_names())
def test_variants_and_pairings_have_a_schema_of_their_own(name: str) -> None:
    schema = Draft202012Validator(recipe_schema(name))
    assert schema.is_valid({"method": name, "temperature": 0.5})
    assert not schema.is_valid({"method": "byol"})
