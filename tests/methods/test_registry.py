"""Methods and opponents by name: what is shipped, what packages bring, what is given, and that a
name alone never runs anybody's code."""

import hashlib
import subprocess
import sys
from abc import ABC
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from own_method import METHOD, OPPONENT, installed_package, written

from sparring.contract.toy import Subject
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.methods.method import Method
from sparring.methods.registry import Kind
from sparring.methods.simclr import SimCLR
from sparring.opponents.opponent import Opponent
from sparring.opponents.perturbation import Perturbation

METHODS = [
    "simclr",
    "mocov2",
    "byol",
    "simsiam",
    "vicreg",
    "mocov3",
    "dino",
    "plain",
    "uel",
    "hcl",
    "adco",
    "caco",
    "acssl",
]
OPPONENTS = ["perturbation", "generator-pair"]
EVERYTHING: list[tuple[Kind, str]] = [
    *(("method", name) for name in METHODS),
    *(("opponent", name) for name in OPPONENTS),
]


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test gives is unknown to the others."""
    monkeypatch.setattr(registry, "_given", {"method": {}, "opponent": {}})


# What is shipped


def test_shipped_methods_and_opponents_stand_in_their_order() -> None:
    assert registry.names("method") == METHODS
    assert registry.names("opponent") == OPPONENTS
    assert registry.DEFAULT_METHOD in METHODS


def test_published_games_are_a_method_with_an_opponent() -> None:
    assert registry.pairings() == {
        "clae": ("simclr", "perturbation"),
        "hardgen": ("simclr", "generator-pair"),
    }


@pytest.mark.parametrize(("kind", "name"), EVERYTHING)
def test_the_introduction_read_from_the_file_is_the_classs_own(kind: Kind, name: str) -> None:
    found = registry.method_class(name) if kind == "method" else registry.opponent_class(name)
    assert found.about == registry.about(kind, name)
    assert found.about.name == name
    assert issubclass(found, Opponent) is (kind == "opponent")
    assert all(found.about.__dict__[part] for part in ("title", "summary", "source", "good_for"))


def test_an_opponents_section_is_a_key_of_toml() -> None:
    assert [registry.section_of(name) for name in OPPONENTS] == ["perturbation", "generator_pair"]


def test_a_list_with_introductions_imports_no_torch() -> None:
    code = (
        "import sys; from sparring.methods import registry\n"
        "for kind in ('method', 'opponent'):\n"
        "    for name in registry.names(kind): registry.about(kind, name)\n"
        "registry.pairings(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Unknown names


def test_no_name_that_can_be_meant_is_refused_before_torch_is_imported() -> None:
    references = ["my_file.py:Mine", "package.module:Mine"]
    for name in [*registry.names("method"), *registry.further_names(), *references]:
        registry.refuse_unknown("method", name)
    for name in [*registry.names("opponent"), *references]:
        registry.refuse_unknown("opponent", name)


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("method", "adoc", r"^unknown method 'adoc'; did you mean 'adco'\? .*; or FILE\.py:CLASS$"),
        ("method", "cale", r"^unknown method 'cale'; did you mean 'clae'\?"),
        ("opponent", "pertubation", r"^unknown opponent 'pertubation'; did you mean 'perturbation"),
        ("opponent", "simclr", r"^unknown opponent 'simclr'"),
        (
            "method",
            "perturbation",
            r"^'perturbation' is no method but an opponent around one: use --opponent perturbation",
        ),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_one(kind: Kind, name: str, sentence: str) -> None:
    assert not registry.is_known(kind, name)
    ask = registry.method_class if kind == "method" else registry.opponent_class
    asked_early = (
        lambda name: registry.about(kind, name),
        lambda name: registry.refuse_unknown(kind, name),
    )
    for question in (ask, *asked_early):
        with pytest.raises(ConfigError, match=sentence) as caught:
            question(name)
        assert "\n" not in str(caught.value)


# Classes that are given


class Own(Method):
    """Does its own thing.

    At length.
    """

    def loss(self, views, context):  # type: ignore[no-untyped-def]
        """Nothing."""
        raise NotImplementedError

    def step(self, views, players, context):  # type: ignore[no-untyped-def]
        """Nothing."""
        raise NotImplementedError


class Unfinished(Method):
    """Lacks everything."""


class Halfway(Own, ABC):
    """Has it all."""


def test_a_class_is_known_by_its_place_once_it_is_given() -> None:
    name = f"{Own.__module__}:Own"
    assert not registry.is_known("method", name)
    assert registry.give("method", Own) == name
    assert registry.is_known("method", name)
    assert registry.method_class(name) is Own
    assert not registry.is_known("opponent", name)
    assert name not in registry.names("method")


def test_a_class_without_an_introduction_is_introduced_by_its_docstring() -> None:
    about = registry.about("method", registry.give("method", Own))
    assert (about.name, about.title, about.summary) == ("own", "Own", "Does its own thing.")


def test_a_shipped_class_keeps_its_name() -> None:
    assert registry.give("method", SimCLR) == "simclr"
    assert registry.give("opponent", Perturbation) == "perturbation"


@pytest.mark.parametrize("name", ["simclr", "nowhere"])
def test_a_plain_name_is_left_for_the_configuration_to_judge(name: str) -> None:
    assert registry.give("method", name) == name


def test_a_class_of_a_file_is_given_by_its_place_and_plays(tmp_path: Path) -> None:
    place = f"{written(tmp_path / 'mine.py')}:Mine"
    assert registry.give("method", place) == place
    found = registry.method_class(place)
    assert registry.give("method", place) == place
    assert registry.method_class(place) is found  # the file ran once
    assert registry.about("method", place).summary == "pull views together"
    subject = Subject(place)
    assert subject.play(subject.game(), 0)["loss"] > 0


def test_an_opponent_of_a_file_has_a_section_of_its_name_and_plays(tmp_path: Path) -> None:
    place = f"{written(tmp_path / 'nothing.py', OPPONENT)}:DoingNothing"
    registry.give("opponent", place)
    assert registry.section_of(place) == "doingnothing"
    subject = Subject("simclr", (place,), {"doingnothing": {"strength": 2.0}})
    game, alone = subject.game(), Subject("simclr").game()
    assert game.method.settings.strength == 2.0  # type: ignore[union-attr]
    assert subject.play(game, 0) == Subject("simclr").play(alone, 0)


def test_a_class_may_be_given_under_the_name_that_a_run_stored(tmp_path: Path) -> None:
    place = f"{written(tmp_path / 'mine.py')}:Mine"
    assert registry.give("method", place, name="elsewhere/mine.py:Mine") == "elsewhere/mine.py:Mine"
    assert registry.method_class("elsewhere/mine.py:Mine").__name__ == "Mine"
    assert not registry.is_known("method", place)


@pytest.mark.parametrize(
    ("kind", "wanted", "sentence"),
    [
        ("method", Perturbation, r"must be a subclass of sparring's Method, got .*Perturbation"),
        ("opponent", Own, r"^opponent '.*:Own' must be a subclass of sparring's Opponent"),
        ("method", Path, r"^method 'pathlib:Path' must be a subclass of sparring's Method"),
        ("method", "json:dumps", r"^method 'json:dumps' must be a subclass .* got <function dumps"),
        ("method", Unfinished, r"^method '.*:Unfinished' lacks loss, step; see docs/adding_a_meth"),
        ("method", "json:dupms", r"has no 'dupms'; did you mean 'dumps'\?"),
        ("opponent", "nowhere.py:Nothing", r"no such file: nowhere\.py"),
    ],
)
def test_what_is_no_such_class_is_refused_in_one_line(
    kind: Kind, wanted: str | type, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        registry.give(kind, wanted)
    assert "\n" not in str(caught.value)
    assert not list(registry.given())


def test_a_class_that_has_all_methods_is_not_abstract() -> None:
    assert registry.method_class(registry.give("method", Halfway)) is Halfway


def test_the_name_of_a_class_that_is_not_given_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = written(
        tmp_path / "trap.py", f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n{METHOD}"
    )
    sentence = rf"'{path}:Mine' is not part of this library .* --method {path}:Mine$"
    for ask in (registry.method_class, lambda name: registry.about("method", name)):
        with pytest.raises(ConfigError, match=sentence):
            ask(f"{path}:Mine")
    assert not registry.is_known("method", f"{path}:Mine")
    assert not mark.exists()
    registry.give("method", f"{path}:Mine")  # the trap is live
    assert mark.exists()


def test_the_hash_of_a_given_class_is_that_of_its_file(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.py")
    name = registry.give("method", f"{path}:Mine")
    assert registry.source_hash("method", name) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert registry.source_hash("method", "simclr") is None
    assert registry.given() == (("method", name, f"{path}:Mine"),)


# Classes that packages bring


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with a method, an opponent, two broken methods, and one that calls
    itself simclr."""
    entries = """
[sparring.methods]
mine = somebodys_method:Mine
broken = somebodys_broken_method:Mine
lacking = somebodys_method:Nowhere
strange = somebodys_opponent:DoingNothing
simclr = somebodys_method:Mine
[sparring.opponents]
nothing = somebodys_opponent:DoingNothing
"""
    installed_package(
        tmp_path,
        entries,
        somebodys_method=METHOD,
        somebodys_broken_method="raise ValueError('first line\\nsecond line')",
        somebodys_opponent=OPPONENT,
    )
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("method", "broken_method", "opponent"):
        monkeypatch.delitem(sys.modules, f"somebodys_{module}", raising=False)


@pytest.mark.usefixtures("package")
def test_installed_names_stand_after_the_shipped_ones_and_nothing_is_imported() -> None:
    assert registry.names("method") == [*METHODS, "broken", "lacking", "mine", "strange"]
    assert registry.names("opponent") == [*OPPONENTS, "nothing"]
    assert registry.is_known("method", "mine")
    assert not [name for name in sys.modules if name.startswith("somebodys_")]


@pytest.mark.usefixtures("package")
def test_another_library_may_have_replaced_the_class_of_entry_points() -> None:
    pytest.importorskip("importlib_metadata")  # importing it does that
    points = registry.installed("method")
    assert points["mine"].value == "somebodys_method:Mine"
    assert {type(point) for point in points.values()} == {EntryPoint}


@pytest.mark.usefixtures("package")
def test_an_installed_method_plays_under_its_name() -> None:
    assert registry.method_class("mine").__module__ == "somebodys_method"
    assert registry.about("method", "mine").title == "Mine"
    subject = Subject("mine", ("nothing",))
    assert subject.play(subject.game(), 0)["loss"] > 0


@pytest.mark.usefixtures("package")
def test_an_installed_name_does_not_replace_a_shipped_one() -> None:
    assert registry.method_class("simclr") is SimCLR


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "broken",
            r"^method 'broken' of an installed package cannot be loaded from "
            r"somebodys_broken_method:Mine \(ValueError: first line\); repair or uninstall",
        ),
        ("lacking", r"cannot be loaded from somebodys_method:Nowhere \(AttributeError: "),
        ("strange", r"^method 'strange' must be a subclass of sparring's Method"),
    ],
)
def test_a_broken_installed_method_is_told_in_one_line_when_it_is_asked_for(
    name: str, sentence: str
) -> None:
    for ask in (registry.method_class, lambda name: registry.about("method", name)):
        with pytest.raises(ConfigError, match=sentence) as caught:
            ask(name)
        assert "\n" not in str(caught.value)
    assert registry.method_class("mine")  # the others are well
