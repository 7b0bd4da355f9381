"""`--print-config`: all settings of a run as a recipe."""

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from sparring.api import recipes
from sparring.api.starting import resolved_config
from sparring.methods import registry
from sparring.training.config_text import config_text
from tiny import Command


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_is_printed_so_that_it_gives_the_same_run(name: str, tmp_path: Path) -> None:
    config = resolved_config(recipe=name)
    path = tmp_path / "printed.toml"
    path.write_text(config_text(config))
    assert resolved_config(recipe=path) == config


@pytest.mark.parametrize("name", [*registry.shipped("method"), *registry.further_names()])
def test_every_setting_of_a_printed_method_is_explained(name: str) -> None:
    config = resolved_config(method=name, opponent=list(registry.shipped("opponent")))
    lines = config_text(config).splitlines()
    is_setting = re.compile(r"\w+ = |# \w+: not set$").match
    bare = [
        line
        for before, line in pairwise(lines)
        if is_setting(line) and (not before.startswith("#") or is_setting(before))
    ]
    assert bare == []


def test_the_normalisation_that_weights_decide_is_not_asked_for_by_what_is_printed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "printed.toml"
    for given, asked in (({}, set()), ({"encoder": {"mean": [0.5, 0.4, 0.3]}}, {"mean"})):
        config = resolved_config(backbone="resnet50", weights="timm", settings=given)
        path.write_text(config_text(config))
        again = resolved_config(recipe=path)
        assert again == config
        assert again.encoder.model_fields_set & {"mean", "std"} == asked


def test_the_command_prints_what_options_and_settings_give_and_writes_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--lr", "0.3", "--backbone", "resnet50", "--workers", "3", "--weights", "timm"]
    settings = ["--precision", "bfloat16", "--epochs", "7", "--set", "training.epochs=8"]
    done = command("train", "--method", "clae", "--print-config", *options, *settings)
    assert done.code == 0
    tree = tomllib.loads(done.out)
    assert (tree["method"], tree["opponent"]) == ("simclr", ["perturbation"])
    assert tree["players"]["encoder"]["learning_rate"] == 0.3
    assert tree["encoder"] | {"backbone": "resnet50", "weights": "timm"} == tree["encoder"]
    assert (tree["data"]["workers"], tree["training"]["precision"]) == (3, "bfloat16")
    assert tree["training"]["epochs"] == 8, "--set wins"
    assert "path" not in tree["data"]
    assert list(tmp_path.iterdir()) == []


def test_settings_that_the_images_decide_are_shown_as_not_set(command: Command) -> None:
    out = command("train", "--print-config").out
    assert "# image_size: not set" in out
    assert out.startswith("# All settings of a run.")


def test_printed_json_is_the_same_configuration(command: Command) -> None:
    found = json.loads(command("train", "--print-config", "--json", "--method", "byol").out)
    assert found == resolved_config(method="byol").tree()


def test_settings_of_another_run_are_printed_too(command: Command, trained: Path) -> None:
    tree = tomllib.loads(command("train", "--print-config", "--from", trained).out)
    assert tree["encoder"]["width"] == 0.0625
    assert tree["bank"]["size"] == 32


def test_a_mistake_is_told_as_by_training(command: Command) -> None:
    done = command("train", "--print-config", "--backbone", "resnet81")
    assert done.code == 2
    assert "unknown backbone 'resnet81'; did you mean 'resnet18'?" in done.error


def test_the_schema_is_printed_or_written(command: Command, tmp_path: Path) -> None:
    printed = command("schema", "--method", "byol").out
    path = tmp_path / "recipe.schema.json"
    done = command("schema", "--method", "byol", "--out", path)
    assert path.read_text() == printed
    assert "#:schema" in done.out
    assert "teacher_momentum" in json.loads(printed)["properties"]
    assert "did you mean 'byol'" in command("schema", "--method", "byoll").error


def test_a_comparison_takes_the_backbone_of_all_arms(command: Command, photos: Path) -> None:
    arms = ["--methods", "simclr,byol", "--recipe", "simclr-small"]
    done = command("compare", "--data", photos, *arms, "--backbone", "resnet81", "--plan-only")
    assert "arm 'simclr': unknown backbone 'resnet81'; did you mean" in done.error


def test_resuming_takes_another_number_of_workers(command: Command, run: Path) -> None:
    done = command("resume", run, "--workers", "2")
    assert done.code == 0
    assert "another experiment" not in done.err


def test_settings_of_a_method_and_of_a_protocol_are_explained(command: Command) -> None:
    assert "# Temperature of the encoder's loss" in command("methods", "adco").out
    assert "# Side in pixels" not in command("methods", "adco").out, "a setting of every run"
    shown = command("protocols", "linear").out.partition("--set KEY=VALUE):")[2]
    assert "\n# " in shown
    assert tomllib.loads(shown)["linear"]
