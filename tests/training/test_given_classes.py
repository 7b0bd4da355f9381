"""Runs of a class that is not part of the library: what can be done with their folders without it,
and what says that it is needed, or has changed."""

import tomllib
from pathlib import Path

import pytest
import torch
from own_method import METHOD, OPPONENT, written

import games
from sparring.contract.toy import Subject
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.training.encoders import load_encoders
from sparring.training.run import load_method, require_unchanged_classes, run_training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig, StoredSettings
from told import Told


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins in a process to which no class was given."""
    monkeypatch.setattr(registry, "_given", {"method": {}, "opponent": {}})


def another_process() -> None:
    """Forget what was given, as another process would not know it."""
    for classes in registry._given.values():
        classes.clear()


def trained(tmp_path: Path) -> tuple[RunFolder, dict[str, torch.Tensor]]:
    """A finished run of a method and an opponent in files, and its encoder's tensors."""
    places = (
        f"{written(tmp_path / 'mine.py')}:Mine",
        f"{written(tmp_path / 'nothing.py', OPPONENT)}:DoingNothing",
    )
    registry.give("method", places[0])
    registry.give("opponent", places[1])
    settings = {"training": {"max_steps": 2}, "doingnothing": {"strength": 2.0}}
    run = Subject(places[0], (places[1],), settings).training(tmp_path / "run")
    run_training(run, run.folder)
    return run.folder, games.state(run.game.encoder)


def test_a_run_whose_class_is_at_hand_is_read_as_any_other(tmp_path: Path) -> None:
    folder, _ = trained(tmp_path)
    config = folder.read_config()
    assert not isinstance(config.method_settings, StoredSettings)
    config.require_classes()
    (settings,) = config.opponent_settings.values()
    assert settings.strength == 2.0  # type: ignore[attr-defined]


def test_a_run_of_an_unknown_class_is_read_and_keeps_everything(tmp_path: Path) -> None:
    folder, _ = trained(tmp_path)
    known, text = folder.read_config(), folder.config.read_text()
    another_process()
    config = folder.read_config()
    assert isinstance(config.method_settings, StoredSettings)
    assert config.method_settings.projector == known.method_settings.projector
    folder.write_config(config)
    assert tomllib.loads(folder.config.read_text()) == tomllib.loads(text)
    assert folder.read_config() == config
    changed = config.changed(training={"device": "cpu", "epochs": 5})
    assert changed.training.epochs == 5
    assert changed.tree()["doingnothing"] == {"strength": 2.0}


def test_an_unknown_class_is_asked_for_in_one_line_that_names_it(tmp_path: Path) -> None:
    folder, _ = trained(tmp_path)
    another_process()
    config = folder.read_config()
    for kind, file in (("method", "mine.py:Mine"), ("opponent", "nothing.py:DoingNothing")):
        with pytest.raises(ConfigError) as caught:
            config.require_classes()
        assert str(caught.value).startswith(f"{kind} '{tmp_path / file}' is not part of this lib")
        assert "\n" not in str(caught.value)
        registry.give(kind, f"{tmp_path / file}")  # type: ignore[arg-type]
    config.require_classes()


def test_what_a_user_says_must_name_a_class_that_is_at_hand() -> None:
    tree = {"method": "mine.py:Mine"}
    with pytest.raises(ConfigError, match=r"^method 'mine\.py:Mine' is not part of this library"):
        RunConfig.from_tree(tree)
    assert RunConfig.from_tree(tree, is_stored=True).method == "mine.py:Mine"


def test_a_stored_run_of_a_shipped_method_is_still_checked() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'temprature'"):
        RunConfig.from_tree({"method": "simclr", "temprature": 0.1}, is_stored=True)


def test_encoders_are_loaded_without_the_class_and_without_running_its_file(
    tmp_path: Path,
) -> None:
    folder, state = trained(tmp_path)
    another_process()
    mark = tmp_path / "ran"
    trap = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    for name, text in (("mine.py", METHOD), ("nothing.py", OPPONENT)):
        written(tmp_path / name, trap + text)
    found, _ = load_encoders(folder)
    assert not games.changed(state, games.state(found))
    assert load_method(folder) is None
    assert not mark.exists()


def test_the_method_of_a_run_is_loaded_where_its_classes_are_at_hand(tmp_path: Path) -> None:
    folder, state = trained(tmp_path)
    method = load_method(folder)
    assert method is not None
    assert not games.changed(state, games.state(method.encoder))
    assert not method.training
    assert not any(parameter.requires_grad for parameter in method.parameters())


def test_a_file_that_has_changed_since_is_told(tmp_path: Path) -> None:
    folder, _ = trained(tmp_path)
    told = Told()
    require_unchanged_classes(folder.read_config(), folder, told)
    assert told.lines == []
    written(tmp_path / "mine.py", f"{METHOD}\n# changed\n")
    require_unchanged_classes(folder.read_config(), folder, told)
    (line,) = told.lines
    assert line.startswith(f"the file of {tmp_path / 'mine.py'}:Mine has changed")
    another_process()
    with pytest.raises(ConfigError, match="is not part of this library"):
        require_unchanged_classes(folder.read_config(), folder, told)
