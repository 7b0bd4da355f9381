"""The argument `strength`: the setting that it stands for, and what is said where there is none."""

from typing import Any

import pytest

import sparring
from sparring.api.study_plans import Options, planned
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.strength.settings import Strength, has_dial
from sparring.training.configure import configure
from sparring.training.settings import RunConfig


class HeldSettings(sparring.Settings):
    """Settings of an opponent with a dial."""

    strength: Strength = "released"


class Held(sparring.Opponent):
    """Has a dial, and does nothing with it."""

    about = sparring.About(name="held", summary="nothing")
    settings_class = HeldSettings

    def __init__(self, method: Any, settings: HeldSettings) -> None:
        super().__init__(method)

    def step(self, views: Any, players: Any, context: Any) -> Any:
        """The method's round."""
        return self.method.step(views, players, context)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an opponent with a dial."""
    monkeypatch.setattr(registry, "_given", {"method": {}, "opponent": {}})
    return registry.give("opponent", Held)


def around(config: RunConfig, name: str) -> Any:
    """Strength of an opponent in image space."""
    return config.opponent_settings[name].strength  # type: ignore[attr-defined]


def test_a_method_is_held_by_its_own_setting() -> None:
    config = configure("photos", method="adco", strength=0.2)
    assert config.method_settings.strength == 0.2  # type: ignore[attr-defined]


def test_a_table_and_released_are_accepted() -> None:
    table = configure("photos", method="adco", strength={"nats": 0.2, "schedule": "rising"})
    assert table.tree()["strength"] == {"nats": 0.2, "schedule": "rising"}
    assert configure("photos", method="adco", strength="released").tree()["strength"] == "released"


def test_an_opponent_is_held_in_its_section(held: str) -> None:
    config = configure("photos", method="byol", opponent=held, strength=0.2)
    assert around(config, held) == 0.2


def test_a_single_setting_goes_before_the_argument() -> None:
    config = configure("photos", method="adco", strength=0.2, settings={"strength": 0.3})
    assert config.tree()["strength"] == 0.3


def test_two_opponents_with_a_dial_are_named(held: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure("photos", method="adco", opponent=held, strength=0.2)
    assert str(caught.value) == (
        "strength=0.2: two opponents of this run have a dial; name which: --set strength=0.2 or "
        f"--set {registry.section_of(held)}.strength=0.2"
    )


def test_a_run_without_a_dial_is_refused_with_what_has_one() -> None:
    with pytest.raises(ConfigError) as caught:
        configure("photos", method="byol", strength=0.2)
    text = str(caught.value)
    assert text.startswith("strength=0.2: nothing here has a dial, got byol; ")
    assert text.endswith(
        "the methods adco, caco and acssl, or the opponents perturbation and generator-pair"
    )
    assert "\n" not in text


def test_a_setting_of_the_opponent_is_named_with_its_section(held: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean '.*\.strength'\?$"):
        configure("photos", method="byol", opponent=held, settings={"strength": 0.2})


def test_a_wrong_value_is_named_with_its_section(held: str) -> None:
    with pytest.raises(ConfigError, match=r"\.strength: should be greater than or equal to 0, got"):
        configure("photos", method="byol", opponent=held, strength=-1)


def test_a_setting_of_another_type_under_that_name_is_no_dial() -> None:
    class Other(sparring.Settings):
        """Settings with a number of their own."""

        strength: float = 1.0

    assert not has_dial(Other)
    assert has_dial(HeldSettings)


def test_a_study_holds_the_arms_that_have_a_dial_and_leaves_the_others() -> None:
    options = Options(
        data="photos", methods=["adco"], twins=True, controls=True, strength=0.1, fields={}
    )
    arms = {arm.name: arm.settings for arm in planned(options).arms}
    assert arms["adco"]["strength"] == 0.1
    # A twin has it too, where it has no effect, so that both differ in the opponent's aim alone.
    assert arms["adco/queue"]["strength"] == 0.1
    assert "strength" not in arms["mocov2"]


def test_a_study_without_a_dial_is_refused() -> None:
    options = Options(data="photos", methods=["byol", "simsiam"], strength=0.1, fields={})
    with pytest.raises(ConfigError, match="nothing here has a dial, got byol, simsiam"):
        planned(options)
