"""The setting `strength`: what it accepts, and its way through a configuration's file."""

import tomllib
from typing import Any

import pytest

from sparring.config import merged, parse_override, toml_text
from sparring.errors import ConfigError
from sparring.optim.schedule import Position
from sparring.strength.settings import Strength, StrengthSchedule, is_held, nats_at
from sparring.training.settings import RunConfig


def given(*texts: str) -> Any:
    """Strength of AdCo under some values of `--set`."""
    tree = merged({"method": "adco"}, *(parse_override(text) for text in texts))
    return RunConfig.from_tree(tree).method_settings.strength  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("texts", "strength"),
    [
        ([], "released"),
        (["strength=released"], "released"),
        (["strength=0"], 0.0),
        (["strength=0.2"], 0.2),
        (["strength.nats=0.2"], StrengthSchedule(nats=0.2)),
        (
            ["strength={nats = 1, schedule = 'rising'}"],
            StrengthSchedule(nats=1.0, schedule="rising"),
        ),
        (["strength.nats=0.2", "strength=0.1"], 0.1),
    ],
)
def test_a_word_a_number_and_a_table_are_accepted(texts: list[str], strength: Strength) -> None:
    assert given(*texts) == strength


@pytest.mark.parametrize("texts", [["strength=0.2"], ["strength=released"], ["strength.nats=1"]])
def test_a_configuration_is_the_same_after_its_file(texts: list[str]) -> None:
    tree = merged({"method": "adco"}, *(parse_override(text) for text in texts))
    config = RunConfig.from_tree(tree)
    again = RunConfig.from_tree(tomllib.loads(toml_text(config.tree())))
    assert again == config
    assert again.method_settings.strength == given(*texts)  # type: ignore[attr-defined]


def test_a_table_of_a_recipe_is_replaced_by_a_number_and_a_number_by_a_table() -> None:
    config = RunConfig.from_tree({"method": "adco", "strength": {"nats": 0.4}})
    assert config.changed(strength=0.1).method_settings.strength == 0.1  # type: ignore[attr-defined]
    config = RunConfig.from_tree({"method": "adco", "strength": 0.1})
    changed = config.changed(strength={"nats": 0.4, "schedule": "falling"})
    assert changed.method_settings.strength == StrengthSchedule(  # type: ignore[attr-defined]
        nats=0.4, schedule="falling"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strength=-1", "strength: should be greater than or equal to 0, got -1"),
        ("strength=nan", "strength: should be a finite number, got nan"),
        (
            "strength=relased",
            "strength: should be 'released', a number or a table of nats, schedule, got "
            "'relased'; did you mean 'released'?",
        ),
        (
            "strength={nats = 0.2, schedule = 'up'}",
            "strength.schedule: should be 'constant', 'rising' or 'falling', got 'up'",
        ),
        (
            "strength.nat=0.2",
            "unknown setting 'strength.nat'; did you mean 'strength.nats'? Accepted: "
            "strength.nats, strength.schedule",
        ),
    ],
)
def test_a_wrong_value_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(text)
    assert str(caught.value) == message


def test_released_is_not_held_and_zero_is() -> None:
    assert not is_held("released")
    assert is_held(0.0)


@pytest.mark.parametrize(
    ("schedule", "nats"), [("constant", [4, 4, 4]), ("rising", [0, 2, 4]), ("falling", [4, 2, 0])]
)
def test_a_schedule_runs_from_the_first_step_to_the_last(schedule: str, nats: list[float]) -> None:
    strength = StrengthSchedule.build({"nats": 4, "schedule": schedule})
    found = [
        nats_at(strength, Position(step=step, num_steps=101, steps_per_epoch=10))
        for step in (0, 50, 100)
    ]
    assert found == nats
