"""The section on dose and response: arms that differ in one number, and what each amount did."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_doses import RELEASED, dosed_results, dosed_study
from made_studies import made_results
from page_views import Checked, view_of

from sparring.studies.doses import DoseCurve, dose_curves, steps
from sparring.studies.folder import StudyFolder
from sparring.studies.page.dose_response import _numbers, section
from sparring.studies.page.dose_words import sentences
from sparring.studies.records import RunRecord
from sparring.studies.results import Results


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path)


def changed(results: Results, change: Callable[[RunRecord], RunRecord]) -> Results:
    return replace(results, records=tuple(map(change, results.records)))


def said(curve: DoseCurve) -> str:
    found = list(steps(curve, level=0.95))
    return sentences(curve, found, margin=0.5, protocol="kNN")


def test_arms_that_differ_in_one_number_are_a_curve() -> None:
    strength, temperature = dose_curves(dosed_results())
    assert (strength.setting, strength.game) == ("strength", "adco")
    assert [one.text for one in strength.doses] == ["0 nats", "0.1 nats", "0.4 nats", "released"]
    assert (temperature.setting, temperature.game) == ("temperature", "mocov2")
    assert [one.setting for one in temperature.doses] == [0.07, 0.1, 0.2, 0.4]


def test_a_game_with_its_twin_and_control_is_no_curve(folder: StudyFolder) -> None:
    assert section(view_of(made_results(), folder)) == ""


def test_arms_that_differ_in_a_second_setting_are_no_curve() -> None:
    def also(record: RunRecord) -> RunRecord:
        is_warmer = record.name.arm in ("mocov2 at 0.1", "mocov2 at 0.4")
        return replace(record, config={**record.config, "symmetric": is_warmer})

    assert [one.game for one in dose_curves(changed(dosed_results(), also))] == ["adco"]


def test_the_dose_of_a_strength_is_measured_in_the_second_half() -> None:
    strength, temperature = dose_curves(dosed_results())
    assert strength.is_measured
    assert not temperature.is_measured
    (released,) = strength.marks
    assert released.amount == pytest.approx(RELEASED, rel=0.1)
    assert [one.amount for one in strength.line] == pytest.approx([0.0, 0.1, 0.25], rel=0.1)
    assert [one.amount for one in temperature.line] == [0.07, 0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    ("setting", "factor"),
    [("strength", 3.0), ("generator_pair.strength", 3.0), ("perturbation.strength", 1.0)],
)
def test_the_dose_is_that_of_the_opponent_whose_strength_is_set(
    setting: str, factor: float
) -> None:
    section_of, _, leaf = setting.rpartition(".")

    def wrapped(record: RunRecord) -> RunRecord:
        rows = [
            {**row, **{name.replace("/", "/inner/"): 3 * row[name] for name in row if "/" in name}}
            for row in record.opponent
        ]
        own = {key: value for key, value in record.config.items() if key != "strength"}
        if "strength" in record.config:
            strength = {leaf: record.config["strength"]}
            own |= {section_of: strength} if section_of else strength
        own["opponent"] = ["generator-pair", "perturbation"]
        return replace(record, opponent=tuple(rows), config=own)

    plain, found = (
        dose_curves(one)[0] for one in (dosed_results(), changed(dosed_results(), wrapped))
    )
    assert (found.setting, found.is_measured) == (setting, True)
    for ours, theirs in zip(found.line[1:], plain.line[1:], strict=True):
        assert ours.amounts == pytest.approx({k: factor * v for k, v in theirs.amounts.items()})
        assert ours.shares == pytest.approx({k: factor * v for k, v in theirs.shares.items()})


def test_strength_0_needs_no_measurement_and_another_one_does() -> None:
    def without(arm: str) -> Results:
        return changed(
            dosed_results(), lambda one: replace(one, opponent=()) if one.name.arm == arm else one
        )

    assert dose_curves(without("adco at 0"))[0].is_measured
    unmeasured = dose_curves(without("adco at 0.1"))[0]
    assert not unmeasured.is_measured
    assert [one.amount for one in unmeasured.line] == [0.0, 0.1, 0.4]
    assert unmeasured.marks == ()


def test_arms_are_compared_with_what_the_plan_names_most() -> None:
    strength, temperature = dose_curves(dosed_results())
    assert strength.reference == "adco at 0"
    assert temperature.reference == "mocov2 at 0.2"  # the control of every game
    step = strength.line[2].step
    assert step is not None
    differences = strength.line[2].differences.values()
    assert step.value == pytest.approx(sum(differences) / 3)
    assert strength.line[0].step is None


def test_words_follow_the_intervals_of_the_steps() -> None:
    effects = {"adco at 0.1": 3.0, "adco at released": 3.0, "adco at 0.4": -3.0}
    text = said(dose_curves(dosed_results(effects=effects, own_sd=0.1))[0])
    assert text.startswith("kNN rises from 0 nats to 0.1 nats (+")
    assert "it falls from 0.1 nats to 0.4 nats (-" in text
    flat = said(dose_curves(dosed_results(own_sd=0.02))[0])
    assert flat.startswith("kNN is flat from 0 nats to 0.1 nats (")
    unclear = said(dose_curves(dosed_results(own_sd=2.0))[0])
    assert unclear.startswith("Whether kNN rises or falls with the dose cannot be told")


def test_one_seed_allows_no_words_on_the_course() -> None:
    curve = dose_curves(dosed_results(dosed_study(seeds=1)))[0]
    assert "One pair gives no interval" in said(curve)


def test_a_target_that_was_missed_is_told() -> None:
    text = said(dose_curves(dosed_results())[0])
    assert "The target of 0.4 nats was missed: 0.2" in text
    assert "The target of 0.1 nats" not in text


def test_the_page_has_figures_with_every_seed_and_a_table(folder: StudyFolder) -> None:
    page = section(view_of(dosed_results(), folder))
    checked = Checked(page)
    for title in (
        "adco: score over measured strength",
        "adco: difference to 0 nats",
        "mocov2: score over temperature",
        "mocov2: difference to temperature 0.2",
        "excess loss, nats per query",
        "The same by Linear probe on test",
    ):
        assert title in checked.text
    main = page.partition("<details")[0]
    assert main.count('class="curve"') == 4
    dots = main.count('class="dot"') + main.count('class="ring"')
    assert dots == 2 * (4 * 3) + 2 * (3 * 3 + 1)
    assert main.count('class="ring"') == 2 * 3  # released
    assert "<title>adco at 0.4, seed 2, at 0.2" in main
    assert "released</text>" in main
    assert main.count("<table") == 2


def test_an_arm_without_a_number_is_named_beside_its_mean_not_on_the_axis(
    folder: StudyFolder,
) -> None:
    results = dosed_results()
    pairs = tuple(one for one in results.records if one.name.seed < 2)  # intervals are cut off
    main = section(view_of(replace(results, records=pairs), folder)).partition("<details")[0]
    (plot,) = re.findall(r"<svg.{0,200}adco: difference to 0 nats.*?</svg>", main, re.DOTALL)
    ((height, rest),) = re.findall(r'y="([\d.]+)"([^>]*)>released</text>', plot)
    axis = max(float(y) for y in re.findall(r'class="tick" x="[\d.]+" y="([\d.]+)"', plot))
    assert float(height) < axis - 20
    assert 'text-anchor="middle"' not in rest


def test_a_mean_that_rounds_to_0_has_no_sign() -> None:
    assert _numbers([-1e-7, -1e-7], digits=3) == "0.000 \u00b1 0.000"


def test_arms_without_runs_leave_the_others_a_curve(folder: StudyFolder) -> None:
    results = dosed_results()
    kept = tuple(one for one in results.records if one.name.arm != "adco at 0.4")
    page = section(view_of(replace(results, records=kept), folder))
    assert "adco: difference to 0 nats" in page
    assert "0.4 nats" not in page
    assert section(view_of(replace(results, records=()), folder)) == ""
