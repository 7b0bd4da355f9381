"""Recipes and defaults have the values of their sources: a changed number fails here and names the
paper, the released code or the log that it departs from."""

import re

import pytest
from baselines import BYOL_PINS, MOCOV2_PINS, MOCOV3_PINS, SIMCLR_PINS, SIMSIAM_PINS
from distilled import DINO_DEFAULTS, DINO_PINS
from formula_controls import FORMULA_DEFAULTS, FORMULA_PINS
from learned_banks import ADCO_PINS, CACO_PINS
from method_defaults import METHOD_PINS
from opponent_defaults import OPPONENT_PINS
from pins import Pins, differences, leaves, pinned
from reconstructions import ACSSL_PINS, CLAE_PINS
from small_recipes import SMALL_PINS
from view_presets import VIEW_PRESETS

from sparring.data.views.view_settings import PRESETS
from sparring.methods import registry
from sparring.training.configure import find_recipe, recipes
from sparring.training.settings import RunConfig

RECIPE_PINS = [
    *ADCO_PINS,
    *CACO_PINS,
    *MOCOV2_PINS,
    *MOCOV3_PINS,
    *BYOL_PINS,
    *SIMSIAM_PINS,
    *SIMCLR_PINS,
    *ACSSL_PINS,
    *CLAE_PINS,
    *SMALL_PINS,
    *FORMULA_PINS,
    *DINO_PINS,
]
DEFAULT_PINS = [*METHOD_PINS, *FORMULA_DEFAULTS, *DINO_DEFAULTS]


def owners(table: list[Pins]) -> set[str]:
    """All that have a pinned value."""
    return {owner for pins in table for owner in pins.owners}


def test_every_shipped_recipe_is_pinned_and_no_other() -> None:
    assert owners(RECIPE_PINS) == set(recipes())


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_every_value_of_a_recipe_has_a_source(recipe: str) -> None:
    assert set(leaves(find_recipe(recipe))) == set(pinned(RECIPE_PINS, recipe))


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_a_recipe_has_the_values_of_its_sources(recipe: str) -> None:
    assert not differences(RECIPE_PINS, recipe, leaves(find_recipe(recipe)))


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_a_run_has_the_values_of_its_recipe(recipe: str) -> None:
    tree = find_recipe(recipe)
    run = leaves(RunConfig.from_tree(tree).tree())
    if tree["method"] in registry.further_names():
        run["method"] = tree["method"]  # a variant is spelt out as its method with fixed settings
    assert not differences(RECIPE_PINS, recipe, run)


def test_every_method_and_every_opponent_has_pinned_defaults() -> None:
    assert owners(DEFAULT_PINS) == set(registry.shipped("method"))
    assert owners(OPPONENT_PINS) == set(registry.shipped("opponent"))


@pytest.mark.parametrize("method", registry.shipped("method"))
def test_the_defaults_of_a_method_are_those_of_their_sources(method: str) -> None:
    run = RunConfig.from_tree({"method": method})
    assert not differences(DEFAULT_PINS, method, leaves(run.tree()))


@pytest.mark.parametrize("opponent", registry.shipped("opponent"))
def test_the_defaults_of_an_opponent_are_those_of_their_sources(opponent: str) -> None:
    run = RunConfig.from_tree({"method": "simclr", "opponent": [opponent]})
    section = run.tree()[opponent.replace("-", "_")]
    assert not differences(OPPONENT_PINS, opponent, leaves(section))


def test_every_preset_of_views_is_pinned() -> None:
    assert set(VIEW_PRESETS) == set(PRESETS)


@pytest.mark.parametrize("preset", sorted(VIEW_PRESETS))
def test_a_preset_has_the_views_of_its_source(preset: str) -> None:
    run = RunConfig.from_tree({"method": "simclr", "views": {"preset": preset}})
    found = [recipe.model_dump() for recipe in run.method_settings.views.resolve(224)]
    assert found == VIEW_PRESETS[preset].views, VIEW_PRESETS[preset].source


def test_every_source_names_a_year_or_a_released_code_or_our_log() -> None:
    tables = [*RECIPE_PINS, *DEFAULT_PINS, *OPPONENT_PINS, *VIEW_PRESETS.values()]
    for pins in tables:
        assert re.search(r"\b20\d\d\b|README|released|docs/log", pins.source), pins.source


def test_a_changed_value_is_told_with_its_source() -> None:
    table = [Pins(("game",), "Somebody 2020, table 3", {"a.b": 1.0})]
    assert differences(table, "game", {"a.b": 1.0, "a.c": 2}) == []
    assert differences(table, "game", {"a.b": 2.0}) == [
        "game: a.b is 2.0, but 1.0 by Somebody 2020, table 3"
    ]
    assert differences(table, "game", {}) == [
        "game: a.b is 'absent', but 1.0 by Somebody 2020, table 3"
    ]
