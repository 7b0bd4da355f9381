"""Variants: published methods that are another one with some settings fixed."""

import pytest

from sparring.command import descriptions
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.methods.about import Variant
from sparring.training.settings import RunConfig


@pytest.fixture(autouse=True)
def cool_simclr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up variant of SimCLR beside the shipped ones."""
    variant = Variant(
        "cool-simclr",
        title="Cool SimCLR",
        summary="SimCLR at a low temperature",
        source="nobody",
        settings={"temperature": 0.05, "projector": {"dim": 64}},
    )
    known = {**registry.variants(), "cool-simclr": ("simclr", variant)}
    monkeypatch.setattr(registry, "variants", lambda: known)


def test_a_variant_is_its_method_with_its_settings() -> None:
    variant = RunConfig.from_tree({"method": "cool-simclr", "projector": {"hidden": 32}})
    spelt_out = RunConfig.from_tree(
        {"method": "simclr", "temperature": 0.05, "projector": {"dim": 64, "hidden": 32}}
    )
    assert variant == spelt_out


def test_an_opponent_plays_around_a_variant() -> None:
    config = RunConfig.from_tree({"method": "cool-simclr", "opponent": "perturbation"})
    assert (config.method, config.opponent) == ("simclr", ("perturbation",))
    assert config.tree()["temperature"] == 0.05


def test_what_a_variant_fixes_may_be_repeated_but_not_changed() -> None:
    RunConfig.from_tree({"method": "cool-simclr", "temperature": 0.05})
    with pytest.raises(
        ConfigError,
        match=r"'cool-simclr' is simclr with temperature=0\.05, projector\.dim=64 and cannot",
    ):
        RunConfig.from_tree({"method": "cool-simclr", "temperature": 0.2})


def test_a_name_near_a_variant_is_corrected() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cool-simclr'"):
        RunConfig.from_tree({"method": "col-simclr"})


def test_variants_are_listed_and_described() -> None:
    assert "simclr with temperature=0.05, projector.dim=64" in descriptions.list_methods()
    first, second, *_ = descriptions.describe("cool-simclr").splitlines()
    assert first.endswith("--method simclr --set temperature=0.05 --set projector.dim=64")
    assert second == "Cool SimCLR: SimCLR at a low temperature; nobody"
    found = descriptions.methods_as_json("cool-simclr")["cool-simclr"]
    assert (found["kind"], found["method"]) == ("variant", "simclr")


@pytest.mark.parametrize("name", registry.variants())
def test_a_shipped_variant_makes_a_configuration(name: str) -> None:
    method, variant = registry.variants()[name]
    config = RunConfig.from_tree({"method": name})
    assert config.method == method
    assert config == RunConfig.from_tree({**variant.settings, "method": method})


def test_no_name_is_given_twice() -> None:
    names = [*registry.names("method"), *registry.names("opponent"), *registry.further_names()]
    assert len(set(names)) == len(names)
