"""Bad plans: what makes a study meaningless is refused, what limits it is a caution."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_studies import SETTINGS, changed, photos, small_study

from sparring.config import merged
from sparring.errors import ConfigError
from sparring.studies.arms import arms_of
from sparring.studies.plan import Study
from sparring.studies.plan_checks import cautions, refusals, require_sound


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A game, its twin and its control on photos, scored on other photos; nothing is wrong."""
    test = noise(tmp_path / "test", seed=1)
    return small_study(
        noise(tmp_path / "photos", seed=0), seeds=5, tests=[{"name": "new", "data": str(test)}]
    )


def noise(folder: Path, *, seed: int, count: int = 8) -> Path:
    """A folder of labelled images, each another."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        place = folder / ("cats", "dogs")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{seed}-{number}.png")
    return folder


def with_arm(study: Study, number: int, **fields: Any) -> Study:
    """The study with other fields of one arm."""
    arms = [dict(arm) for arm in study.tree()["arms"]]
    arms[number] |= fields
    return changed(study, arms=arms)


def bounds_for(*known: Sequence[int]) -> ModuleType:
    """Stand-in for the module that has the bounds of some looks."""
    module = ModuleType("sparring.studies.statistics.sequential")

    def bounds(looks: Sequence[int], *, alpha: float) -> None:
        if tuple(looks) not in known:
            raise ConfigError(f"looks: there are no bounds for {list(looks)}")

    module.bounds = bounds  # type: ignore[attr-defined]
    return module


def test_a_sound_plan_is_not_refused_and_says_what_five_pairs_cannot_do(study: Study) -> None:
    assert refusals(study) == []
    require_sound(study)
    assert cautions(study) == [
        "5 pairs: the sign-flip test's least p is 0.062, so over 2 contrasts only the t test, "
        "which takes differences for normal, can claim one; 7 pairs would do.",
        "5 pairs: no bootstrap intervals, which need 10.",
    ]
    assert cautions(changed(study, seeds=10)) == []


def test_a_game_with_nothing_to_compare_with_is_refused(study: Study) -> None:
    alone = changed(study, arms=[{"name": "adco", "method": "adco"}])
    (line,) = refusals(alone)
    assert "neither a disarmed twin nor a control" in line
    assert "could not show that its opponent does anything" in line
    with pytest.raises(ConfigError, match="this study is not begun: adco has neither"):
        require_sound(alone)


def test_arms_that_nobody_compares_are_refused(study: Study) -> None:
    arms = [{"name": name, "method": name, "role": "control"} for name in ("mocov2", "simclr")]
    (line,) = refusals(changed(study, arms=arms))
    assert line.startswith("no two arms are compared")


@pytest.mark.parametrize(
    ("kept", "lacks"),
    [(("adco", "mocov2"), "no disarmed twin"), (("adco", "adco/queue"), "no control")],
)
def test_a_game_with_one_of_the_two_is_cautioned(
    study: Study, kept: tuple[str, ...], lacks: str
) -> None:
    arms = [arm for arm in study.tree()["arms"] if arm["name"] in kept]
    if "mocov2" not in kept:
        arms = [{key: value for key, value in arm.items() if key != "control"} for arm in arms]
    part = changed(study, arms=arms)
    assert refusals(part) == []
    assert any(lacks in line for line in cautions(part))


def test_one_seed_is_refused_unless_it_is_meant(study: Study) -> None:
    one = changed(study, seeds=1)
    (line,) = refusals(one)
    assert "one seed makes one pair" in line
    assert 'allowed = ["one seed"]' in line
    meant = changed(one, allowed=["one seed"])
    assert refusals(meant) == []
    assert any(text.startswith("On purpose: one seed") for text in cautions(meant))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"training": {"epochs": 5}}, "training.epochs 3 and 5"),
        ({"training": {"num_steps": 50}}, "training.num_steps None and 50"),
        ({"training": {"batch_size": 8}}, "training.batch_size 4 and 8"),
        ({"training": {"image_size": 24}}, "training.image_size 16 and 24"),
        ({"encoder": {"width": 0.125}}, "encoder.width 0.0625 and 0.125"),
        ({"views": {"flip": 0.0}}, "views.flip"),
        ({"data": {"limit": 8}}, "data.limit None and 8"),
    ],
)
def test_unequal_budgets_are_refused_unless_they_are_meant(
    study: Study, settings: dict[str, Any], named: str
) -> None:
    unequal = with_arm(study, 2, settings=settings)
    (line,) = refusals(unequal)
    assert line.startswith("adco minus mocov2: unequal budgets (")
    assert named in line
    meant = changed(unequal, allowed=["unequal budgets"])
    assert refusals(meant) == []
    assert any(text.startswith("On purpose: adco minus mocov2") for text in cautions(meant))


def test_equal_time_has_unequal_lengths_anyway(study: Study) -> None:
    longer = with_arm(study, 2, settings={"training": {"epochs": 5}})
    assert refusals(changed(longer, equal="time")) == []


def test_a_twin_that_differs_in_more_is_refused(study: Study) -> None:
    settings = {"disarmed": "queue", "temperature": 0.5}
    (line,) = refusals(with_arm(study, 1, settings=settings))
    assert "differs in more than the opponent (temperature 0.2 and 0.5)" in line
    assert 'allowed = ["unequal twins"]' in line


def test_a_twin_that_is_its_game_is_refused(study: Study) -> None:
    (line,) = refusals(with_arm(study, 1, settings={}))
    assert "nothing is disarmed" in line


def test_a_game_held_at_strength_0_is_a_twin(study: Study) -> None:
    held = with_arm(with_arm(study, 0, settings={"strength": 0.1}), 1, settings={"strength": 0.0})
    assert refusals(held) == []
    (line,) = refusals(with_arm(held, 1, settings={"strength": 0.05}))
    assert "differs in more than the opponent (strength 0.1 and 0.05)" in line


def test_a_game_may_be_compared_with_the_twin_of_another_one(study: Study) -> None:
    other = {**study.tree()["arms"][0], "name": "warm", "settings": {"temperature": 0.3}}
    more = changed(study, arms=[*study.tree()["arms"], other])
    lacks = "warm has no disarmed twin"
    assert any(line.startswith(lacks) for line in cautions(more))
    planned = [("adco", "adco/queue"), ("warm", "adco/queue")]
    contrasts = [{"first": first, "second": second} for first, second in planned]
    assert not any(line.startswith(lacks) for line in cautions(changed(more, contrasts=contrasts)))


def test_arms_that_differ_in_one_setting_are_compared_for_its_sake(study: Study) -> None:
    control = study.tree()["arms"][2]
    warm = {**control, "name": "warm", "settings": {"temperature": 0.3}}
    contrasts = [{"first": "warm", "second": "mocov2"}]
    arms = [control, warm]
    plan = changed(study, arms=arms, contrasts=contrasts)
    assert not any("also differ" in line for line in cautions(plan))
    arms[1]["settings"] |= {"teacher_momentum": 0.5}
    two = changed(study, arms=arms, contrasts=contrasts)
    assert any("also differ in temperature" in line for line in cautions(two))


def test_a_control_with_other_rates_is_a_caution(study: Study) -> None:
    other = with_arm(study, 2, settings={"players": {"encoder": {"learning_rate": 0.5}}})
    assert refusals(other) == []
    (line,) = [line for line in cautions(other) if "also differ" in line]
    assert "players.encoder.learning_rate" in line


def test_every_game_is_sound_beside_its_twins_and_its_control(tmp_path: Path) -> None:
    small = {key: value for key, value in SETTINGS.items() if key != "projector"}
    arms = arms_of(
        "adco,caco,acssl,hcl,dcl,clae,hardgen,mocov2+perturbation", twins="all", controls=True
    )
    study = Study(data=str(photos(tmp_path)), arms=arms, settings=small)
    assert refusals(study) == []


@pytest.mark.parametrize("how", ["the same", "by content", "a part", "the folder above", "own"])
def test_a_test_set_that_was_seen_in_tuning_is_refused_unless_it_is_meant(
    study: Study, how: str, tmp_path: Path
) -> None:
    tuned = Path(study.tests[0].data)
    if how == "by content":
        tuned = Path(shutil.copytree(tuned, tmp_path / "copied"))
    elif how == "a part":
        tuned = noise(Path(shutil.copytree(tuned, tmp_path / "mixed")), seed=5)
    elif how == "the folder above":
        tuned = tmp_path
    elif how == "own":
        tuned, study = Path(study.data), changed(study, tests=[{"name": "fifth", "data": ""}])
    seen = with_arm(study, 0, tuning={"trials": 9, "images": str(tuned)})
    (line,) = refusals(seen)
    assert "adco was tuned on" in line
    assert "could not show how it does on new images" in line
    meant = changed(seen, allowed=["seen test set"])
    assert refusals(meant) == []
    assert any(text.startswith("On purpose: adco was tuned on") for text in cautions(meant))


def test_tuning_on_other_images_is_fine_and_unequal_tuning_is_a_caution(study: Study) -> None:
    tuned = with_arm(study, 0, tuning={"trials": 9, "images": study.data})
    assert refusals(tuned) == []
    (line,) = [line for line in cautions(tuned) if "tuned unequally" in line]
    assert "adco with 9 trials" in line
    unsaid = with_arm(study, 0, tuning={"trials": 9})
    assert any("does not say on which images" in line for line in cautions(unsaid))


def test_a_test_set_that_is_trained_on_is_a_caution(study: Study, tmp_path: Path) -> None:
    copied = shutil.copytree(study.data, tmp_path / "copied")
    for data in ("", str(copied)):
        same = changed(study, tests=[{"name": "same", "data": data}])
        assert refusals(same) == []
        assert any("'same': the encoders train on these" in line for line in cautions(same))
    labelled = [{"name": "part", "data": study.tests[0].data, "train_data": study.tests[0].data}]
    lines = cautions(changed(study, tests=labelled))
    assert any("a fifth of them is held out" in line for line in lines)


def test_a_primary_protocol_without_labels_is_refused(study: Study) -> None:
    (line,) = refusals(changed(study, protocols=["geometry", "knn"]))
    assert "the primary protocol geometry gives no score against labels" in line
    assert refusals(changed(study, protocols=["knn", "geometry"])) == []


def test_a_test_set_without_labels_is_refused(study: Study, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for number, path in enumerate(Path(study.data).rglob("*.png")):
        shutil.copy(path, bare / f"{number}.png")
    (line,) = refusals(changed(study, tests=[{"name": "bare", "data": str(bare)}]))
    assert "test set 'bare' has no labels" in line


def test_looks_need_bounds_and_an_end(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    module = bounds_for((5, 8, 12))
    monkeypatch.setitem(sys.modules, "sparring.studies.statistics.sequential", module)
    assert refusals(changed(study, seeds=12, looks=[5, 8, 12])) == []
    for seeds, looks, message in (
        (12, [8, 5, 12], "do not rise"),
        (15, [5, 8, 12], "the last one is at 12 pairs and the study has 15"),
        (7, [4, 7], r"there are no bounds for \[4, 7\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            require_sound(changed(study, seeds=seeds, looks=looks))


def test_a_seed_that_stands_twice_is_refused(study: Study) -> None:
    (line,) = refusals(changed(study, seeds=[0, 1, 1]))
    assert line.startswith("seeds: 1 stands twice")


def test_a_draw_that_all_seeds_share_is_a_caution(study: Study) -> None:
    fixed = merged(SETTINGS, {"data": {"limit": 6, "limit_seed": 1}})
    lines = cautions(changed(study, settings=fixed))
    assert any("The same for all seeds: data.limit_seed=1" in line for line in lines)


def test_an_unknown_twin_or_control_is_named(study: Study) -> None:
    with pytest.raises(ConfigError, match=r"arm 'adco', control: unknown arm 'mocov'; did you"):
        refusals(with_arm(study, 0, control="mocov"))


def test_a_game_in_no_planned_contrast_is_told_so(study: Study) -> None:
    game, twin = study.arms[0].name, study.arms[1].name
    other = {**study.tree()["arms"][0], "name": "other"}
    arms = [*study.tree()["arms"], other]
    planned = changed(study, arms=arms, contrasts=[{"first": game, "second": twin}])
    (found,) = refusals(planned)
    assert found.startswith("no planned contrast has other")


def test_names_that_no_folder_could_tell_apart_are_refused(study: Study) -> None:
    with pytest.raises(ConfigError, match="would have the same folder, adco-queue-seed-0"):
        refusals(with_arm(with_arm(study, 0, control=""), 2, name="adco-queue"))
    with pytest.raises(ConfigError, match="shares: 1 stands twice"):
        refusals(changed(study, shares=[1.0, 1.0]))
    tests = [{"name": "new", "data": study.tests[0].data}] * 2
    with pytest.raises(ConfigError, match="tests: two are called 'new'"):
        refusals(changed(study, tests=tests))


def test_contrasts_need_two_arms_and_one_main_question(study: Study) -> None:
    contrasts = [
        {"first": "adco", "second": name, "is_primary": True} for name in ("adco/queue", "mocov2")
    ]
    with pytest.raises(ConfigError, match="are all primary; let one be the main question"):
        refusals(changed(study, contrasts=contrasts))
    with pytest.raises(ConfigError, match="'adco minus adco' is always 0"):
        refusals(changed(study, contrasts=[{"first": "adco", "second": "adco"}]))
