"""Plans from files and from Python: the same fields, paths beside the file, errors in one line."""

from pathlib import Path

import pytest

from sparring.errors import ConfigError
from sparring.studies.plan import Study
from sparring.studies.reading import read_plan


def plan(folder: Path, text: str) -> Path:
    """A plan's file."""
    path = folder / "plan.toml"
    path.write_text(text)
    return path


def test_a_short_plan_names_methods_and_asks_for_twins(tmp_path: Path) -> None:
    study = read_plan(
        plan(
            tmp_path,
            'data = "photos"\nmethods = ["adco", "mocov2"]\ntwins = true\nseeds = 3\nepochs = 3\n'
            '[[tests]]\nname = "test"\ndata = "test-photos"\n',
        )
    )
    assert [arm.name for arm in study.arms] == ["adco", "adco/queue", "mocov2"]
    assert study.seeds == (0, 1, 2)
    assert study.arm("adco").settings["queue_epochs"] == pytest.approx(1.0)


def test_paths_are_relative_to_the_file_and_addresses_stay(tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir()
    study = read_plan(
        plan(
            tmp_path,
            'data = "hf:some/set"\nrecipe = "mine.toml"\n'
            '[[tests]]\nname = "one"\ndata = "../test"\ntrain_data = "/labelled"\n'
            '[[tests]]\nname = "own"\ndata = ""\n'
            '[[arms]]\nname = "mine"\nmethod = "mine.py:Mine"\nrecipe = "simclr-small"\n'
            'tuning = {trials = 3, images = "tuned"}\n'
            '[[arms]]\nname = "simclr"\nmethod = "simclr"\n'
            'tuning = {trials = 3, images = "CIFAR-10, training set"}\n',
        )
    )
    assert study.data == "hf:some/set"
    assert study.recipe == str(tmp_path / "mine.toml")
    assert [one.data for one in study.tests] == [str(tmp_path / "../test"), ""]
    assert study.tests[0].train_data == "/labelled"
    assert study.arms[0].method == f"{tmp_path / 'mine.py'}:Mine"
    assert study.arms[0].recipe == "simclr-small"
    assert study.arms[0].tuning.images == str(tmp_path / "tuned")
    assert study.arms[1].tuning.images == "CIFAR-10, training set"


def test_further_arms_stand_beside_those_of_methods(tmp_path: Path) -> None:
    study = read_plan(
        plan(
            tmp_path,
            'data = "p"\nmethods = "mocov2"\n[[arms]]\nname = "large"\nmethod = "mocov2"\n'
            "[arms.settings.queue]\nsize = 512\n",
        )
    )
    assert [arm.name for arm in study.arms] == ["mocov2", "large"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('dta = "p"\n', "unknown setting 'dta'; did you mean 'data'"),
        ('data = "p"\nmethod = ["adco"]\n', "unknown setting 'method'; did you mean 'methods'"),
        ('data = "p"\nmethods = 3\n', "methods: should be a name or a list of names, got 3"),
        ('data = "p"\ntwins = true\n', "twins needs methods"),
        ('data = "p"\nmethods = "adcoo"\n', "did you mean 'adco'"),
        ('data = "p"\nmethods = "simclr"\nseeds = [-1]\n', "seeds.0: should be greater"),
        (
            'data = "p"\n[[arms]]\nname = "a"\nmethod = "adco"\nsetings = {}\n',
            r"unknown setting 'arms.0.setings'; did you mean 'arms.settings'",
        ),
        (
            'data = "p"\nmethods = "simclr"\nallowed = ["two seeds"]\n',
            "allowed.0: .*'one seed'.*'seen test set'.*got 'two seeds'",
        ),
        ("data = [", "is not valid TOML"),
    ],
)
def test_a_wrong_plan_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as found:
        read_plan(plan(tmp_path, text))
    assert str(found.value).count("\n") == 0 or "TOML" in message
    assert "plan.toml" in str(found.value)


def test_a_study_in_python_takes_the_same_fields_and_refuses_in_one_line() -> None:
    arms = [{"name": "simclr", "method": "simclr"}]
    assert Study(data="photos", arms=arms, seeds=2).seeds == (0, 1)
    with pytest.raises(ConfigError, match="unknown setting 'sedes'; did you mean 'seeds'") as found:
        Study(data="photos", arms=arms, sedes=2)
    assert "\n" not in str(found.value)
    with pytest.raises(ConfigError, match="two are called 'simclr'"):
        Study(data="photos", arms=arms * 2)


def test_a_plan_without_a_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_plan(tmp_path / "none.toml")


@pytest.mark.parametrize("wrong", [{"seeds": n} for n in (0, -3, 10**9, [])] + [{"shares": []}])
def test_a_plan_has_seeds_and_shares(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Study(data="photos", arms=[{"name": "a", "method": "adco"}], **wrong)
