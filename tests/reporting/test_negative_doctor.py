"""The negative doctor says what the numbers say, with advice that the run can follow."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

import games
from sparring.methods.negatives import Negatives
from sparring.reporting import negative_doctor
from sparring.reporting.band_figure import Curve, band_figure
from sparring.reporting.gallery import EncodedImages, Gallery, HardestPair
from sparring.reporting.hardest_pairs import hardest_pairs
from sparring.reporting.negative_findings import NegativeFinding, findings, late, looks, verdict
from sparring.reporting.summary import RunSummary

USUAL = {
    "number": 639.0,
    "stored": 512.0,
    "is_played": 1.0,
    "effective_number": 300.0,
    "positive": 0.9,
    "median": 0.3,
    "high": 0.6,
    "higher": 0.86,
    "hardest": 0.93,
    "random_median": 0.3,
    "random_high": 0.6,
    "random_higher": 0.8,
    "random_hardest": 0.9,
    "above_positive": 0.1,
    "false_by_label": 0.12,
    "same_class": 0.1,
    "false_by_neighbours": 0.02,
    "used": 0.9,
    "random_used": 0.9,
}
BANK = {
    "method": "adco",
    "temperature": 0.2,
    "bank": {"size": 512, "temperature": 0.04},
    "players": {"bank": {"learning_rate": 0.047}, "encoder": {"learning_rate": 0.1}},
}
HELD = {
    **BANK,
    "strength": 0.1,
    "bank": {"size": 512, "temperature": 0.04, "turn_degrees": 5.0},
}
QUEUE = {"method": "mocov2", "temperature": 0.2, "queue": {"size": 512}}
BATCH = {"method": "simclr", "temperature": 0.2}
MINED = {"method": "acssl", "mining": {"skip": 1, "count": 9}, "triplet": {"temperature": None}}
HOSTILE = '<script>alert("1")</script>&\u202e'


def records(*numbers: Mapping[str, float]) -> list[dict[str, float | None]]:
    """Looks of a run, one per epoch of ten steps, with a record without a look between them."""
    found: list[dict[str, float | None]] = []
    for epoch, own in enumerate(numbers, start=1):
        found.append({"step": 10 * epoch - 5, "epoch": epoch - 0.5, "loss": 1.0})
        measures = {f"negatives/{name}": value for name, value in own.items()}
        found.append({"step": 10 * epoch - 1, "epoch": float(epoch), **measures})
    return found


def found(config: Mapping[str, Any] = BANK, **changes: float | None) -> list[NegativeFinding]:
    """Findings about three equal looks; a change to None takes a number away."""
    numbers = {name: value for name, value in {**USUAL, **changes}.items() if value is not None}
    return list(findings(records(*[numbers] * 3), dict(config)))


def problem(config: Mapping[str, Any] = BANK, **changes: float | None) -> NegativeFinding:
    """The one finding that asks for something."""
    (one,) = [one for one in found(config, **changes) if one.is_problem]
    return one


def summary(*, config: Mapping[str, Any] = BANK, **changes: Any) -> RunSummary:
    made = {"label": "AdCo", "path": "runs/a", "config": dict(config)}
    return RunSummary(**{**made, "metrics": tuple(records(USUAL, USUAL)), **changes})


def test_the_section_says_which_looks_findings_are_on() -> None:
    assert "Findings are on means over the last 3 looks" in negative_doctor.section([summary()])


def test_usual_numbers_ask_for_nothing() -> None:
    assert not any(one.is_problem for one in found())
    assert verdict(found()) == "Nothing unusual."


def test_a_bank_no_harder_than_random_keys_does_nothing() -> None:
    one = problem(higher=0.796, random_higher=0.796)
    assert "no harder than random keys (0.796 against 0.796" in one.text
    assert "does nothing" in one.text
    assert "players.bank.learning_rate" in one.advice


def test_a_bank_far_easier_than_random_keys_was_left_behind() -> None:
    one = problem(higher=0.5)
    assert "easier than random keys (0.500 against 0.800" in one.text
    assert "left behind" in one.text
    assert one.advice.startswith("Raise players.bank.learning_rate")


@pytest.mark.parametrize("strength", [0.1, {"nats": 0.1, "schedule": "rising"}])
def test_a_held_bank_has_no_advice_on_a_rate_that_has_no_effect(strength: object) -> None:
    held = {**HELD, "strength": strength}
    as_hard = found(held, higher=0.796, random_higher=0.796)
    assert not any(one.is_problem for one in as_hard)
    assert any("holds the loss, not the cosine" in one.text for one in as_hard)
    assert problem(held, higher=0.5).advice == "Raise bank.turn_degrees."
    assert "players.bank" not in problem(held, used=0.29).advice


def test_a_disarmed_bank_is_not_held() -> None:
    assert "learning_rate" in problem({**HELD, "disarmed": "frozen"}, higher=0.5).advice


def test_a_little_less_hardness_never_turns_the_advice_round() -> None:
    advice = {problem(higher=0.8 - gap).advice.partition(" ")[0] for gap in (0.0, 0.04, 0.06, 0.5)}
    assert advice == {"Raise"}


def test_a_bank_that_was_left_behind_may_begin_later() -> None:
    assert "queue_epochs" in problem({**BANK, "queue_epochs": 1.0}, higher=0.5).advice
    assert "queue_epochs" not in problem(higher=0.5).advice


def test_mined_negatives_easier_than_random_ones_are_no_bank_left_behind() -> None:
    one = problem(MINED, stored=0.0, used=None, higher=0.5)
    assert "random play is the harder game" in one.text
    assert "twin" in one.advice


def test_a_bank_on_the_anchors_is_too_hard() -> None:
    one = problem(hardest=1.0, higher=0.99)
    assert "too hard" in one.text
    assert "false negative" in one.text
    assert "1.00 beside 0.90" in one.text


def test_hardness_that_collapses_is_told_from_a_hard_opponent() -> None:
    one = problem(BATCH, median=0.99, random_higher=None, stored=0.0, used=None, random_used=None)
    assert "0.99" in one.text
    assert "narrow cone" in one.text
    assert "temperature" in one.advice


def test_many_of_one_class_are_likely_false() -> None:
    one = problem(BATCH, false_by_label=0.38, random_higher=None, used=None)
    assert one.text.startswith("38.0 % of the hardest 1 % share the anchor's class (10.0 %")
    assert "the methods simclr, mocov2, " in one.advice
    assert one.advice.endswith("do, by tau_plus.")


def test_what_two_classes_give_by_chance_is_no_finding() -> None:
    assert not any(one.is_problem for one in found(false_by_label=0.55, same_class=0.5))


def test_mined_negatives_that_are_false_are_skipped() -> None:
    one = problem(MINED, false_by_label=0.5, stored=0.0, used=None)
    assert one.advice == "Raise mining.skip."


def test_a_method_that_corrects_already_corrects_more() -> None:
    one = problem({**BATCH, "tau_plus": 0.1}, false_by_label=0.5, random_higher=None, used=None)
    assert one.advice == "Raise tau_plus."


def test_without_labels_features_judge() -> None:
    one = problem(false_by_label=None, same_class=None, false_by_neighbours=0.4)
    assert "40.0 % of the hardest 1 % are mutual nearest neighbours" in one.text


def test_few_effective_negatives_come_from_a_low_temperature() -> None:
    one = problem(effective_number=12.0, number=512.0)
    assert one.text.startswith("12 effective negatives of 512: the temperature is so low")
    assert one.advice == "Raise temperature."


def test_of_a_handful_of_negatives_all_may_count() -> None:
    assert not any(one.is_problem for one in found(MINED, number=9.0, effective_number=9.0))


def test_negatives_that_all_count_alike_have_no_hardness() -> None:
    assert "lower temperature" in problem(effective_number=630.0).advice


def test_a_bank_that_is_hardly_used_could_be_smaller() -> None:
    one = problem(used=0.29)
    assert one.text.startswith("71.0 % of the bank is among the hardest 1 % of no anchor")
    assert "bank.size" in one.advice


def test_a_bank_that_plays_and_is_hardly_used_may_learn_faster_a_queue_cannot() -> None:
    assert "A higher players.bank.learning_rate" in problem(used=0.29).advice
    assert "learning_rate" not in problem(is_played=0.0, used=0.29).advice


def test_a_stale_queue_is_told() -> None:
    one = problem(QUEUE, is_played=0.0, higher=0.7)
    assert "queue is easier than fresh keys (0.700 against 0.800" in one.text
    assert "queue.size" in one.advice


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (BANK, {"higher": 0.8}),
        (BANK, {"effective_number": 2.0}),
        (QUEUE, {"is_played": 0.0, "higher": 0.7}),
        (QUEUE, {"is_played": 0.0, "used": 0.1}),
        (MINED, {"stored": 0.0, "used": None, "higher": 0.7}),
        (BATCH, {"stored": 0.0, "used": None, "random_higher": None, "median": 0.95}),
        ({"method": "own"}, {"false_by_label": 0.9, "effective_number": 2.0, "used": 0.1}),
    ],
)
def test_advice_names_only_settings_that_the_run_has(
    config: dict[str, Any], changes: dict[str, float | None]
) -> None:
    known = ("players.bank.learning_rate", "bank.size", "queue.size", "mining.skip", "triplet.")
    section = {"players.bank.learning_rate": "players", "bank.size": "bank"}
    for one in found(config, **changes):
        for name in known:
            if name in one.advice:
                assert section.get(name, name.partition(".")[0]) in config


def test_findings_are_about_the_last_looks_at_which_as_much_was_played() -> None:
    early = {**USUAL, "is_played": 0.0, "higher": 0.1}
    seen = looks(records(early, early, {**USUAL, "higher": 0.8}, {**USUAL, "higher": 0.9}))
    assert len(seen) == 4
    assert late(seen)["higher"] == pytest.approx(0.85)


def test_a_number_that_was_not_finite_is_left_out() -> None:
    lines = records(USUAL)
    lines[-1]["negatives/used"] = None
    assert "used" not in late(looks(lines))


def test_the_section_shows_findings_figures_and_pairs() -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    pair = HardestPair(
        anchor=image, negative=image, cosine=0.97, positive=0.71, is_stored=True, same_label=False
    )
    page = negative_doctor.section([summary(gallery=Gallery(hardest_pairs=(pair,)))])
    for text in (
        "Nothing unusual.",
        "The bank is harder than random keys (0.860 against 0.800",
        "Hardness of the negatives",
        "random play: 0.8 at epoch 1",
        "Effective number, %",
        "Bank or queue in use, %",
        "0.97, own 0.71, other class",
        "image nearest to the stored vector, other class",
    ):
        assert text in page, text


def test_names_from_outside_stay_text() -> None:
    config = {**BANK, "method": HOSTILE}
    page = negative_doctor.section([summary(label=HOSTILE, config=config)])
    page += negative_doctor.section([summary(label=HOSTILE, config=config, metrics=())])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("adco", "no look at the negatives was recorded"),
        ("byol", "byol has no negatives, or does not declare them"),
        ("lost", "the method lost is not installed here"),
    ],
)
def test_a_run_without_looks_gets_a_sentence(method: str, text: str) -> None:
    old = summary(config={"method": method}, metrics=({"step": 9, "loss": 1.0},))
    page = negative_doctor.section([old])
    assert text in page
    assert "<svg" not in page


def test_an_opponent_in_image_space_shows_its_own_strength() -> None:
    config = {"method": "byol", "opponent": ["perturbation"]}
    lines = ({"step": 9, "perturbation/loss": 2.5, "perturbation/loss_before": 2.0},)
    page = negative_doctor.section([summary(config=config, metrics=lines)])
    assert "perturbation/loss 2.500 beside 2.000: loss on the attacked images" in page


def test_a_run_with_one_look_has_a_figure() -> None:
    page = negative_doctor.section([summary(metrics=tuple(records(USUAL)))])
    assert "nan" not in page
    assert "<svg" in page


def test_a_figure_of_equal_values_is_drawn() -> None:
    curve = Curve(name="flat", color="run0", x=[1.0, 2.0], y=[0.0, 0.0])
    svg = band_figure([curve], title="Flat", description="a flat line")
    assert 'data-points="1,0 2,0"' in svg
    assert "flat: 0 at epoch 1, 0 at epoch 2." in svg
    assert "nan" not in svg


def sample(count: int = 24) -> EncodedImages:
    """Images of which every second equals the one before it."""
    images = torch.from_numpy(games.images(count)).permute(0, 3, 1, 2).contiguous()
    images[1::2] = images[::2]
    features = torch.randn(count, 8, generator=torch.Generator().manual_seed(0))
    return EncodedImages(images=images, features=features, labels=torch.arange(count) // 2)


def test_the_hardest_pairs_are_images_that_look_alike() -> None:
    game = games.game("simclr", encoder={"backbone": "resnet18", "width": 0.0625})
    encoder = game.encoder.eval()
    negatives = Negatives(temperature=0.2, views=1)
    pairs = hardest_pairs(negatives, encoder, sample(), games.augmentation("simclr"), seed=0)
    assert len(pairs) == 8
    cosines = [pair.cosine for pair in pairs]
    assert cosines == sorted(cosines, reverse=True)
    shown = {(pair.anchor.tobytes(), pair.negative.tobytes()) for pair in pairs}
    assert all((other, anchor) not in shown or anchor == other for anchor, other in shown)
    assert not any(pair.is_stored for pair in pairs)


def test_a_vector_of_a_bank_is_shown_by_an_image_that_it_resembles() -> None:
    game = games.game("adco")
    encoder, of = game.encoder.eval(), sample()
    views = games.augmentation("adco")
    bank = Negatives(temperature=0.2, stored=torch.randn(30, 16))
    pairs = hardest_pairs(bank, encoder, of, views, seed=0)
    assert pairs
    assert all(pair.is_stored for pair in pairs)
    unlabelled = dataclasses.replace(of, labels=None)
    assert hardest_pairs(bank, encoder, unlabelled, views, seed=0)[0].same_label is None


def test_one_image_has_no_pairs() -> None:
    game = games.game("simclr")
    one = sample(2)
    alone = dataclasses.replace(one, images=one.images[:1], features=one.features[:1])
    negatives = Negatives(temperature=0.2, views=1)
    views = games.augmentation("simclr")
    assert hardest_pairs(negatives, game.encoder.eval(), alone, views, seed=0) == ()
