"""Settings: what they refuse and with which sentence; TOML to a tree and back to the same
values."""

import string
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field, ValidationError

from sparring.config import Settings, merged, parse_override, read_toml, toml_text
from sparring.data.dataset import DataSettings
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.training.settings import RunConfig


class Inner(Settings):
    rate: float = Field(default=0.1, gt=0)
    name: str = "a"


class Outer(Settings):
    size: int = Field(default=4, ge=1)
    inner: Inner = Inner()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer().size = 5  # type: ignore[misc]


def test_unknown_key_suggests_the_nearest_of_its_section() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^unknown setting 'inner\.rat'; did you mean 'inner\.rate'\? "
        r"Accepted: inner\.name, inner\.rate$",
    ):
        Outer.build({"inner": {"rat": 1}})


def test_prefix_says_where_a_section_stands() -> None:
    with pytest.raises(
        ConfigError, match=r"^unknown setting 'game\.siz'; did you mean 'game\.size'\?"
    ):
        Outer.build({"siz": 1}, where="game")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"size": "many"},
            "size: should be a valid integer, unable to parse string as an integer, got 'many'",
        ),
        ({"size": 0}, "size: should be greater than or equal to 1, got 0"),
        ({"inner": {"rate": -0.1}}, "inner.rate: should be greater than 0, got -0.1"),
        ({"inner": {"rate": float("nan")}}, "inner.rate: should be a finite number, got nan"),
    ],
)
def test_wrong_value_is_named_with_what_is_accepted(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.build(values)
    assert str(caught.value) == message


def test_section_given_as_a_plain_value_is_one_sentence() -> None:
    with pytest.raises(
        ConfigError, match=r"^inner is a section, got 3; set one of inner\.rate, inner\.name$"
    ):
        Outer.build({"inner": 3})


class Table(Settings):
    size: int = Field(ge=0)


class Several(Settings):
    """A setting of several kinds."""

    one: Literal["plain", "rich"] | Annotated[float, Field(ge=0, strict=True)] | Table = "plain"
    inner: Inner | bool | None = None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"one": -1}, "one: should be greater than or equal to 0, got -1"),
        ({"one": {"size": -2}}, "one.size: should be greater than or equal to 0, got -2"),
        (
            {"one": {"siz": 2}},
            "unknown setting 'one.siz'; did you mean 'one.size'? Accepted: one.size",
        ),
        (
            {"one": "plane"},
            "one: should be 'plain' or 'rich', a number or a table of size, got 'plane'; did you "
            "mean 'plain'?",
        ),
        (
            {"one": True},
            "one: should be 'plain' or 'rich', a number or a table of size, got True",
        ),
        ({"inner": "x"}, "inner: should be a table of rate, name or true or false, got 'x'"),
    ],
)
def test_setting_of_several_kinds_is_refused_by_the_kind_that_was_meant(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Several.build(values)
    assert str(caught.value) == message


def test_merging_replaces_leaves_and_keeps_the_rest() -> None:
    base = {"a": 1, "b": {"c": 2, "d": 3}}
    assert merged(base, {"b": {"c": 5}}, {"a": 6}) == {"a": 6, "b": {"c": 5, "d": 3}}
    assert base == {"a": 1, "b": {"c": 2, "d": 3}}


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a=1", {"a": 1}),
        ("a.b.c=0.5", {"a": {"b": {"c": 0.5}}}),
        ("a=true", {"a": True}),
        ("a=cosine", {"a": "cosine"}),
        ('a="1"', {"a": "1"}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a=x=y", {"a": "x=y"}),
        ("a=", {"a": ""}),
        (" a.b =3", {"a": {"b": 3}}),
    ],
)
def test_override_reads_a_toml_value_else_a_string(text: str, tree: dict[str, Any]) -> None:
    assert parse_override(text) == tree


@pytest.mark.parametrize("text", ["bank.size", "=3", "a..b=3", ".a=3", ""])
def test_override_without_key_or_equals_shows_the_form(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected key=value, for example --set bank\.size=4096"):
        parse_override(text)


def test_override_cannot_smuggle_in_a_second_key() -> None:
    assert parse_override("a=1\nb=2") == {"a": "1\nb=2"}


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"r\.toml is not valid TOML"):
        read_toml(path)


def test_missing_file_and_folder_are_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_toml(tmp_path)


def random_tree(draw: np.random.Generator, depth: int) -> dict[str, Any]:
    letters = list(string.printable + "\u00e9\u4e2d\U0001f600\u007f")
    leaves = (
        lambda: int(draw.integers(-(10**9), 10**9)),
        lambda: float(draw.normal() * 10.0 ** draw.integers(-300, 300)),
        lambda: bool(draw.integers(2)),
        lambda: "".join(draw.choice(letters, size=draw.integers(0, 8))),
        lambda: [int(value) for value in draw.integers(0, 9, size=3)],
        lambda: [{"a": 1, "b": "x\ny"}, {"c": [0.5]}],
    )
    tree: dict[str, Any] = {
        f"k{i}": leaves[draw.integers(len(leaves))]() for i in range(draw.integers(1, 5))
    }
    if depth:
        tree |= {f"section{i}": random_tree(draw, depth - 1) for i in range(draw.integers(3))}
    return tree


@pytest.mark.parametrize("seed", range(20))
def test_toml_text_reads_back_as_the_same_tree(seed: int) -> None:
    tree = random_tree(np.random.default_rng(seed), depth=3)
    assert tomllib.loads(toml_text(tree)) == tree


def test_none_is_left_out_of_toml() -> None:
    assert toml_text({"a": None, "b": 1, "c": {"d": None}}) == "b = 1\n"


METHODS = list(registry.shipped("method"))


@pytest.mark.parametrize("method", METHODS)
def test_resolved_configuration_rebuilds_itself_through_toml(method: str) -> None:
    given = {
        "method": method,
        "data": {"path": 'C:\\photos "x" \u00e9'},
        "training": {"epochs": 3, "image_size": 32},
        "seed": 7,
    }
    config = RunConfig.from_tree(given)
    assert RunConfig.from_tree(tomllib.loads(toml_text(config.tree()))) == config


def test_misspelt_top_level_key_names_the_methods_own_settings_too() -> None:
    with pytest.raises(ConfigError, match=r"^unknown setting 'bnk'; did you mean 'bank'\?"):
        RunConfig.from_tree({"method": "adco", "data": {}, "bnk": {"size": 4}})


def test_setting_of_another_method_is_unknown() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'bank'"):
        RunConfig.from_tree({"method": "mocov2", "data": {}, "bank": {"size": 4}})


@pytest.mark.parametrize(
    "method",
    [
        name
        for name in METHODS
        if "temperature" in registry.method_class(name).settings_class.model_fields
    ],
)
def test_negative_temperature_is_refused_by_every_method_that_has_one(method: str) -> None:
    with pytest.raises(ConfigError, match=r"temperature: should be greater than 0, got -0\.1"):
        RunConfig.from_tree({"method": method, "data": {}, "temperature": -0.1})


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000])
def test_toml_beyond_the_readers_limits_is_no_toml(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read_toml(tmp_path / "a.toml")
    assert parse_override(text.replace(" ", "")) == {"a": text.partition("= ")[2]}


def test_no_value_holds_a_nul() -> None:
    with pytest.raises(ConfigError, match=r"data\.cache: a NUL character cannot be part"):
        DataSettings.build({"cache": "a\0b"}, where="data")


def test_list_of_dictionaries_is_written_as_an_array_of_tables_and_read_back() -> None:
    tree = {
        "seeds": [0, 1],
        "arms": [
            {"name": "first", "settings": {"bank": {"size": 3}}, "tuning": {"trials": 2}},
            {"name": 'second "quoted"'},
        ],
        "protocol_settings": {"linear:adco": {"epochs": 3}},
    }
    text = toml_text(tree)
    assert text.count("[[arms]]") == 2
    assert "[arms.settings.bank]\nsize = 3" in text
    assert tomllib.loads(text) == tree
