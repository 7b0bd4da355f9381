"""The configuration of a run: methods' own settings at the top level, and one sentence for every
mistake."""

from typing import Any

import pytest

from sparring.errors import ConfigError
from sparring.methods.method import MethodSettings
from sparring.training.settings import RunConfig


def test_a_methods_settings_stand_at_the_top_level() -> None:
    config = RunConfig.from_tree(
        {"method": "adco", "temperature": 0.3, "bank": {"size": 128}, "training": {"epochs": 3}}
    )
    tree = config.tree()
    assert (tree["temperature"], tree["bank"]["size"], tree["training"]["epochs"]) == (0.3, 128, 3)
    assert "game" not in tree


def test_setting_one_value_of_a_section_keeps_the_methods_other_defaults() -> None:
    # A plain merge into the section's own model would bring back PlayerSettings' defaults: 0.06 and
    # a cosine.
    bank = RunConfig.from_tree({"method": "adco", "players": {"bank": {"momentum": 0.5}}}).tree()[
        "players"
    ]["bank"]
    default = RunConfig.from_tree({"method": "adco"}).tree()["players"]["bank"]
    assert bank == {**default, "momentum": 0.5}
    assert (default["schedule"], default["weight_decay"]) == ("constant", 1e-4)


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({}, "no method given; choose one of .*adco"),
        ({"method": "adoc"}, "unknown method 'adoc'; did you mean 'adco'"),
        (
            {"method": "simclr", "temprature": 0.1},
            "unknown setting 'temprature'; did you mean 'temperature'",
        ),
        (
            {"method": "simclr", "bank": {"size": 3}},
            "unknown setting 'bank': simclr has none; it is",
        ),
        (
            {"method": "simclr", "lr": 3},
            r"unknown setting 'lr'; did you mean 'players\.encoder\.lear",
        ),
        (
            {"method": "adco", "teacher": {"ema": 1}},
            r"unknown setting 'teacher\.ema'; did you mean",
        ),
        (
            {"method": "simclr", "epsilon": 1},
            r"simclr has none; it is perturbation\.epsilon of --opponent perturbation",
        ),
        (
            {"method": "adco", "bank": {"sise": 3}},
            r"unknown setting 'bank\.sise'; did you mean 'bank\.size'",
        ),
        (
            {"method": "adco", "training": {"epoch": 3}},
            r"unknown setting 'training\.epoch'; did you mean 'training\.epochs'",
        ),
        ({"method": "adco", "temperature": -0.1}, r"temperature: .*greater than 0, got -0\.1"),
        (
            {"method": "adco", "players": {"bank": {"learning_rate": 0}}},
            r"players\.bank\.learning_rate: .*greater than 0",
        ),
        ({"method": "adco", "temperature": float("nan")}, "temperature: .*finite"),
        (
            {"method": "adco", "opponent": ["pertubation"]},
            "unknown opponent 'pertubation'; did you mean 'perturbation'",
        ),
        ({"method": "adco", "opponent": ["perturbation"] * 2}, "each may play once"),
        (
            {"method": "adco", "perturbation": {"epsilon": 0.1}},
            "that opponent does not play; add --opponent perturbation",
        ),
        (
            {"method": "clae", "perturbation": {"epsilon": -1}},
            r"perturbation\.epsilon: .*greater than 0, got -1",
        ),
        (
            {"method": "clae", "perturbation": {"epsilom": 0.1}},
            r"unknown setting 'perturbation\.epsilom'; did you mean 'perturbation\.epsilon'",
        ),
        (
            {"method": "perturbation"},
            "is no method but an opponent around one: use --opponent perturbation",
        ),
        ({"method": "cale"}, "unknown method 'cale'; did you mean 'clae'"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(tree: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        RunConfig.from_tree(tree)


def test_a_configuration_cannot_be_changed_afterwards() -> None:
    config = RunConfig.from_tree({"method": "adco"})
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


def test_a_game_that_is_a_method_with_an_opponent_is_spelt_out_and_its_settings_kept() -> None:
    config = RunConfig.from_tree(
        {"method": "clae", "perturbation": {"epsilon": 0.03}, "temperature": 0.5}
    )
    tree = config.tree()
    assert (
        tree["method"],
        tree["opponent"],
        tree["perturbation"]["epsilon"],
        tree["temperature"],
    ) == (
        "simclr",
        ["perturbation"],
        0.03,
        0.5,
    )
    assert RunConfig.from_tree(tree) == config
    assert RunConfig.from_tree({"method": "clae", "opponent": ["perturbation"]}).opponent == (
        "perturbation",
    )


def test_what_is_set_of_an_opponents_player_leaves_the_rest_of_it_as_it_was() -> None:
    tree = {
        "method": "hardgen",
        "generator_pair": {"players": {"generator": {"learning_rate": 1e-4}}},
    }
    pair = RunConfig.from_tree(tree).opponent_settings["generator-pair"].model_dump()
    untouched = (
        RunConfig.from_tree({"method": "hardgen"}).opponent_settings["generator-pair"].model_dump()
    )
    assert pair["players"]["generator"] == {
        **untouched["players"]["generator"],
        "learning_rate": 1e-4,
    }
    assert pair["players"]["generator"]["optimizer"] == "adamw"


def test_a_changed_configuration_is_the_same_but_for_what_was_changed() -> None:
    before = RunConfig.from_tree(
        {
            "method": "hardgen",
            "seed": 3,
            "temperature": 0.5,
            "training": {"epochs": 7, "batch_size": 32},
            "generator_pair": {"weight": 0.5},
        }
    )
    after = before.changed(
        seed=4, training={"epochs": 9}, generator_pair={"players": {"generator": {"momentum": 0.5}}}
    )
    wanted = before.tree()
    wanted["seed"], wanted["training"]["epochs"] = 4, 9
    wanted["generator_pair"]["players"]["generator"]["momentum"] = 0.5
    assert after.tree() == wanted
    assert (before.seed, before.training.epochs) == (3, 7)
    assert before.changed() == before


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"training": {"epoch": 3}}, r"unknown setting 'training\.epoch'; did you mean"),
        ({"temprature": 0.1}, r"unknown setting 'temprature'; did you mean 'temperature'"),
        ({"temperature": -1.0}, r"temperature: .*greater than 0, got -1"),
        ({"method": "adoc"}, r"unknown method 'adoc'"),
    ],
)
def test_a_change_that_is_a_mistake_is_refused(sections: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        RunConfig.from_tree({"method": "simclr"}).changed(**sections)


def test_the_image_size_is_that_of_the_views() -> None:
    config = RunConfig.from_tree({"method": "simclr", "training": {"image_size": 64}})
    assert config.image_size == 64
    assert config.changed(training={"image_size": 32}).image_size == 32


def test_a_method_without_player_settings_of_its_own_has_the_encoders() -> None:
    # Its settings go through plain values, in which nothing may be lost.
    defaults = MethodSettings()
    assert MethodSettings.build(defaults.model_dump()) == defaults
    changed = MethodSettings.build({"players": {"encoder": {"momentum": 0.5}}})
    assert changed.players.encoder.momentum == 0.5
