"""Arms from names: roles, twins and controls as methods declare them, small recipes merged in."""

from pathlib import Path

import pytest

from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.studies.arms import arms_of, small_recipe, twins_of
from sparring.studies.plan import Study
from sparring.training.configure import find_recipe


def named(*methods: str, **given: object) -> dict[str, dict[str, object]]:
    """Arms by name as plain values."""
    return {
        arm.name: arm.model_dump(exclude_defaults=True)
        for arm in arms_of(methods, **given)  # type: ignore[arg-type]
    }


def test_a_game_gets_its_primary_twin_and_its_control() -> None:
    found = named("adco,mocov2", twins=True)
    assert list(found) == ["adco", "adco/queue", "mocov2"]
    assert found["adco"]["control"] == "mocov2"
    assert found["adco/queue"]["twin_of"] == "adco"
    assert found["adco/queue"]["settings"] == {"disarmed": "queue"}
    assert found["mocov2"]["role"] == "control"


def test_the_planned_contrasts_are_the_game_minus_its_twin_and_minus_its_control() -> None:
    study = Study(data="photos", arms=arms_of("adco,mocov2", twins=True))
    names = [one.name for one in study.planned_contrasts()]
    assert names == ["adco minus adco/queue", "adco minus mocov2"]


def test_all_twins_or_those_of_some_names_are_added() -> None:
    assert list(named("adco", twins="all")) == ["adco", "adco/queue", "adco/frozen"]
    assert list(named("adco", "caco", twins=["frozen"])) == [
        "adco",
        "adco/frozen",
        "caco",
        "caco/frozen",
    ]


def test_a_twin_that_is_named_is_not_added_again() -> None:
    assert list(named("adco/queue", "adco", twins=True)) == ["adco/queue", "adco"]
    assert named("adco/queue", "adco")["adco/queue"]["twin_of"] == "adco"


def test_an_opponent_around_a_method_takes_the_small_recipe_of_its_published_game() -> None:
    found = named("simclr+perturbation", "simclr", twins=True)
    small = find_recipe("clae-small")["perturbation"]
    assert list(found) == ["simclr+perturbation", "simclr+perturbation/random-signs", "simclr"]
    assert found["simclr+perturbation"]["settings"] == {"perturbation": small}
    twin = found["simclr+perturbation/random-signs"]
    assert twin["settings"] == {"perturbation": {**small, "disarmed": "random-signs"}}
    assert found["simclr+perturbation"]["control"] == "simclr"


def test_a_published_pairing_is_a_game_with_its_method_as_control() -> None:
    found = named("clae", twins=True, controls=True)
    assert list(found) == ["clae", "clae/random-signs", "simclr"]
    assert found["clae"]["control"] == "simclr"
    assert found["clae/random-signs"]["settings"] == {"perturbation": {"disarmed": "random-signs"}}


def test_the_control_of_an_opponent_around_a_game_is_that_game() -> None:
    found = named("adco+perturbation", "adco")
    assert found["adco+perturbation"]["control"] == "adco"
    assert "role" not in found["adco"]  # a game


def test_a_variant_has_the_twins_that_are_not_itself() -> None:
    assert [twin.name for twin, _ in twins_of("hcl")] == ["unweighted", "uncorrected"]
    assert [twin.name for twin, _ in twins_of("dcl")] == ["uncorrected"]
    assert list(named("dcl", twins=True, controls=True)) == ["dcl", "dcl/uncorrected", "simclr"]


def test_a_part_of_a_run_given_in_epochs_keeps_its_share() -> None:
    recipe = find_recipe("adco-small")
    found = named("adco", epochs=3)["adco"]["settings"]
    share = recipe["queue_epochs"] / recipe["training"]["epochs"]
    assert found == {"queue_epochs": pytest.approx(3 * share)}
    assert "settings" not in named("mocov2", epochs=3)["mocov2"]


def test_every_shipped_game_has_arms_that_configure() -> None:
    methods = [*registry.shipped("method"), *registry.further_names()]
    arms = arms_of(methods, twins="all", controls=True)
    twins = sum(len(twins_of(method)) for method in methods)
    assert len(arms) == len(methods) + twins


def test_a_class_in_a_file_is_an_arm_by_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from sparring.methods.simclr import SimCLR as Base\n"
        "import sparring\n"
        "class Mine(sparring.Method):\n"
        '    """A method."""\n'
        "    settings_class = Base.settings_class\n"
        "    def __init__(self, encoder, settings, *, generator):\n"
        "        super().__init__()\n"
        "    def loss(self, views, context):\n"
        "        raise NotImplementedError\n"
        "    def step(self, views, players, context):\n"
        "        raise NotImplementedError\n"
    )
    found = named(f"{file}:Mine")
    assert list(found) == ["Mine"]
    assert found["Mine"]["method"] == f"{file}:Mine"
    assert small_recipe(f"{file}:Mine") is None


@pytest.mark.parametrize(
    ("methods", "twins", "message"),
    [
        ("adcoo", False, "unknown method 'adcoo'; did you mean 'adco'"),
        ("adco/quue", False, "unknown twin of adco 'quue'; did you mean 'queue'"),
        (
            "simclr+perturbaton",
            False,
            "unknown opponent 'perturbaton'; did you mean 'perturbation'",
        ),
        ("adco", ["frosen"], "unknown twin 'frosen'; did you mean 'frozen'"),
        (",", False, "no methods given"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(
    methods: str, twins: list[str] | bool, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        arms_of(methods, twins=twins)
