"""What a file declares: found by its text, wherever it stands, and without running the file."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sparring.methods.declarations import Declaration, declarations


@dataclass(frozen=True)
class Inner:
    """Part of a card."""

    name: str
    is_first: bool = False


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is declared."""

    name: str
    parts: tuple[Inner, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    inner: Inner | None = None


def found(folder: Path) -> list[Declaration]:
    makers = {"Card": Card, "Inner": Inner}
    return list(declarations(folder, "house", makers, wanted="Card"))


def written(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_call_in_a_class_names_its_owner_and_a_call_outside_has_none(tmp_path: Path) -> None:
    text = 'card = Card(name="outer")\nclass Kind:\n    card: object = Card(name="inner")\n'
    assert found(written(tmp_path, one=text)) == [
        Declaration(module="house.one", owner=None, value=Card(name="outer")),
        Declaration(module="house.one", owner="Kind", value=Card(name="inner")),
    ]


def test_the_file_is_not_run_and_its_imports_need_not_exist(tmp_path: Path) -> None:
    text = 'import nowhere_at_all\nraise SystemExit("ran")\ncard = Card(name="a")\n'
    assert [part.value.name for part in found(written(tmp_path, one=text))] == ["a"]
    assert "house" not in sys.modules


def test_arguments_are_literals_and_calls_of_makers(tmp_path: Path) -> None:
    text = (
        'card = Card(name="a" "b", parts=(Inner("x", is_first=True), Inner(name="y")),\n'
        '    numbers={"z": -1.5}, inner=None)\n'
    )
    (card,) = found(written(tmp_path, one=text))
    assert card.value == Card(
        name="ab", parts=(Inner("x", is_first=True), Inner("y")), numbers={"z": -1.5}
    )


def test_files_of_folders_below_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    texts = {name: f'card = Card(name="{name}")' for name in ("z", "a", "m__in__b")}
    package = {"m__in____init__": 'card = Card(name="package")'}
    modules = [part.module for part in found(written(tmp_path, **texts, **package))]
    assert modules == ["house.a", "house.m", "house.m.b", "house.z"]


def test_a_call_in_a_function_or_inside_another_call_declares_nothing(tmp_path: Path) -> None:
    text = (
        'def make():\n    return Card(name="a")\nprint(Card(name="b"))\n'
        'cards = [Card(name="c")]\nother.Card(name="d")\n'
    )
    assert found(written(tmp_path, one=text)) == []


def test_a_file_that_does_not_name_the_call_is_not_even_parsed(tmp_path: Path) -> None:
    written(tmp_path, wrong="def", right='card = Card(name="a")')
    assert len(found(tmp_path)) == 1


@pytest.mark.parametrize("argument", ["some_name", "1 + some_name", "f()"])
def test_an_argument_that_is_no_literal_is_an_error(argument: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, KeyError)):
        found(written(tmp_path, one=f"card = Card(name={argument})"))
