"""What an analysis says, from complete studies and from whatever records there are."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_studies import made_results, made_study

from sparring.studies import history
from sparring.studies.analysis import analyse, next_pairs
from sparring.studies.conclusions import conclusion, decimals
from sparring.studies.findings import Analysis, Interval
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Study
from sparring.studies.records import RunName, RunRecord
from sparring.studies.results import Results

LOOKS = (5, 8, 12)


def first_pairs(results: Results, pairs: int) -> Results:
    """The records of the first seeds."""
    seeds = results.study.seeds[:pairs]
    kept = tuple(one for one in results.records if one.name.seed in seeds)
    return Results(study=results.study, records=kept)


def failed(results: Results, *names: RunName) -> Results:
    """The results with some runs given up."""
    records = tuple(
        RunRecord(name=one.name, key=one.key, status="failed") if one.name in names else one
        for one in results.records
    )
    return Results(study=results.study, records=records)


def changed(results: Results, arm: str, **fields: object) -> Results:
    """The results with fields of an arm's records replaced."""
    records = tuple(
        replace(one, **fields) if one.name.arm == arm else one  # type: ignore[arg-type]
        for one in results.records
    )
    return Results(study=results.study, records=records)


def said(analysis: Analysis, words: str) -> bool:
    """Whether a caution holds these words."""
    return any(words in one for one in analysis.cautions)


def test_an_opponent_that_pays_is_the_headline() -> None:
    found = analyse(made_results(effects={"adco": 2.0}))
    assert found.findings[0].conclusion == "better"
    assert found.headline.startswith("AdCo's opponent paid here: +2.3 points over its twin")
    assert "95 % interval" in found.headline
    assert "5 pairs" in found.headline


def test_an_opponent_that_costs_is_the_headline() -> None:
    found = analyse(made_results(effects={"adco": -2.0}))
    assert found.findings[0].conclusion == "worse"
    assert found.headline.startswith("AdCo's opponent did not pay here: -1.7 points against")


def test_three_pairs_with_a_wide_spread_cannot_tell() -> None:
    found = analyse(made_results(made_study(seeds=3), own_sd=2.0))
    assert found.findings[0].conclusion == "no evidence"
    assert found.headline.startswith("Cannot tell from 3 pairs whether AdCo's opponent pays here")
    assert said(found, "3 pairs on the main question")


def test_no_more_than_the_margin_is_not_a_lack_of_evidence() -> None:
    found = analyse(made_results(own_sd=0.05))
    assert found.findings[0].conclusion == "no more than the margin"
    assert "no more than 0.5 points" in found.headline
    assert found.findings[0].power == ""


def test_an_open_finding_says_what_more_pairs_could_settle() -> None:
    found = analyse(made_results(own_sd=2.0))
    assert "more" in found.findings[0].power


def test_a_difference_beyond_chance_may_be_no_more_than_the_margin() -> None:
    found = analyse(made_results(effects={"adco": 0.3}, own_sd=0.02))
    assert found.findings[0].conclusion == "better"
    assert "The difference is no more than 0.5 points." in found.headline
    large = analyse(made_results(effects={"adco": 3.0}, own_sd=0.02))
    assert "no more than" not in large.headline


def test_a_claim_of_an_earlier_look_ends_where_the_interval_holds_zero_again() -> None:
    found = analyse(made_results(effects={"adco": 3.0})).findings[0]
    assert conclusion(found, alpha=0.05) == "better"
    assert conclusion(replace(found, interval=Interval(low=-1, high=7)), alpha=0.05) != "better"


def test_a_contrast_without_its_opponents_twin_is_named_by_its_arms() -> None:
    study = made_study(contrasts=[{"first": "adco", "second": "mocov2"}])
    found = analyse(made_results(study, effects={"adco": 3.0}))
    assert found.headline.startswith("AdCo beats MoCo v2 by ")


def test_a_sentence_does_not_mix_titles_and_names_of_arms() -> None:
    twin, control = analyse(made_results()).findings
    assert "adco from adco/queue" in twin.sentence
    assert "AdCo" not in twin.sentence
    assert "AdCo from MoCo v2" in control.sentence


def test_one_pair_is_not_said_to_show_the_spread_roughly() -> None:
    results = made_results(made_study(seeds=1))
    assert said(analyse(results), "is not known")
    assert not said(analyse(results), "roughly")
    assert said(analyse(made_results(made_study(seeds=3))), "3 pairs on the main question")


def test_a_note_that_many_runs_share_is_said_once() -> None:
    results = made_results()
    same = Results(
        study=results.study,
        records=tuple(replace(one, note="rounded to 0.1 points") for one in results.records),
    )
    assert [one for one in analyse(same).cautions if "rounded" in one] == [
        "15 runs of adco, adco/queue, mocov2: rounded to 0.1 points"
    ]
    one = replace(results.records[0], note="rounded to 0.1 points")
    alone = analyse(Results(study=results.study, records=(one, *results.records[1:])))
    assert said(alone, f"{one.name}: rounded to 0.1 points")


def test_holm_covers_the_planned_contrasts_on_the_primary_measure_alone() -> None:
    found = analyse(made_results(effects={"adco": 1.0}))
    first, second = found.findings
    smaller = min(first.p or 1, second.p or 1)
    assert min(first.p_holm or 1, second.p_holm or 1) == pytest.approx(2 * smaller)
    assert all(one.p_holm is None for one in found.further)
    assert all(one.conclusion == "no evidence" for one in found.further)
    assert all("described, not tested" in one.sentence for one in found.further)


def test_steps_of_the_waterfall_add_up_to_the_score() -> None:
    results = made_results(effects={"adco": 2.0})
    (found,) = analyse(results).attributions
    assert [part.name for part in found.parts] == [
        "mocov2 over untrained",
        "adco/queue over mocov2",
        "adco over adco/queue",
    ]
    start = results.start_scores("mocov2", results.primary).values()
    end = results.scores("adco", results.primary).values()
    added = sum(part.estimate.value for part in found.parts)
    assert added == pytest.approx(sum(end) / 5 - sum(start) / 5)
    assert all(part.estimate.interval is not None for part in found.parts)


def test_a_game_without_twin_and_control_has_no_waterfall_and_a_caution() -> None:
    study = made_study(arms=[{"name": "adco", "method": "adco"}])
    found = analyse(made_results(study))
    assert found.attributions == ()
    assert found.findings == ()
    assert found.primary is None
    assert said(found, "no disarmed twin")
    assert found.headline.startswith("No difference between arms is planned")


@pytest.mark.parametrize("looks", [(), LOOKS])
@pytest.mark.parametrize("num_records", [0, 1, 2, 3, 4, 7, 20])
def test_any_number_of_records_is_analysed(looks: tuple[int, ...], num_records: int) -> None:
    whole = made_results(made_study(seeds=12, looks=looks))
    found = analyse(Results(study=whole.study, records=whole.records[:num_records]))
    assert found.headline
    assert len(found.findings) == 2
    if num_records < 15:
        assert all(one.conclusion in ("no evidence", "too few pairs") for one in found.findings)


def test_one_seed_has_too_few_pairs() -> None:
    found = analyse(made_results(made_study(seeds=1)))
    assert found.findings[0].conclusion == "too few pairs"
    assert found.findings[0].interval is None
    assert "Cannot tell" in found.headline


def test_nothing_is_claimed_before_the_planned_end() -> None:
    whole = made_results(effects={"adco": 5.0})
    now = first_pairs(whole, 4)
    found = analyse(now)
    assert found.findings[0].conclusion == "no evidence"
    assert found.findings[0].p is None
    assert found.findings[0].interval is not None
    assert (
        "Nothing is claimed before all 5 pairs of every planned contrast are there"
        in found.headline
    )
    assert analyse(whole).findings[0].conclusion == "better"


def test_a_run_that_was_given_up_does_not_hold_the_others_back() -> None:
    whole = made_results(effects={"adco": 5.0})
    found = analyse(failed(whole, RunName(arm="adco", seed=2)))
    assert len(found.findings[0].pairs) == 4
    assert found.findings[0].conclusion == "better"
    assert said(found, "1 run failed")
    assert said(found, "Seed 2 has a score of one arm only")


def test_a_missing_protocol_is_said_and_its_pair_left_out() -> None:
    whole = made_results()
    records = tuple(
        replace(one, scores={}) if one.name == RunName(arm="mocov2", seed=1) else one
        for one in whole.records
    )
    found = analyse(Results(study=whole.study, records=records))
    assert len(found.findings[1].pairs) == 4
    assert said(found, "Scores of some protocols are missing: mocov2, seed 1")


def test_records_that_the_plan_does_not_name_are_left_out() -> None:
    whole = made_results()
    stray = [
        replace(whole.records[0], name=RunName(arm="other", seed=0)),
        replace(whole.records[0], name=RunName(arm="adco", seed=99)),
        replace(whole.records[0], name=RunName(arm="adco", seed=0, share=0.1)),
    ]
    found = analyse(Results(study=whole.study, records=(*whole.records, *stray)))
    assert len(found.results.records) == len(whole.records)
    assert found.findings[0].mean == analyse(whole).findings[0].mean
    assert said(found, "3 records of runs that this plan does not name")


def test_the_order_of_records_does_not_matter() -> None:
    whole = made_results(made_study(seeds=12, looks=LOOKS))
    turned = Results(study=whole.study, records=whole.records[::-1])
    assert analyse(turned).headline == analyse(whole).headline
    assert analyse(turned).findings[0].p == analyse(whole).findings[0].p


def test_looks_follow_the_order_of_the_plans_seeds() -> None:
    seeds = [40, 30, 20, 10, 0, 5, 6, 7]
    study = made_study(looks=[5], arms=made_study().tree()["arms"])
    study = Study.build({**study.tree(), "seeds": seeds, "looks": [5, 8]})
    now = first_pairs(made_results(study, own_sd=2.0), 5)
    found = analyse(now).findings[0]
    assert found.pairs.seeds == tuple(seeds[:5])
    assert [look.pairs for look in found.looks] == [5]


def test_pairs_beyond_the_last_look_wait_for_the_next() -> None:
    whole = made_results(made_study(seeds=12, looks=LOOKS), own_sd=1.0, seed=3)
    five, seven = analyse(first_pairs(whole, 5)), analyse(first_pairs(whole, 7))
    assert len(seven.findings[0].pairs) == 5
    assert seven.findings[0].p == five.findings[0].p


def test_next_pairs_goes_from_look_to_look_and_ends() -> None:
    whole = made_results(made_study(seeds=12, looks=LOOKS), effects={"adco": 0.7}, own_sd=0.6)
    asked, done = [], 0
    while (number := next_pairs(first_pairs(whole, done))) is not None:
        asked.append(number)
        done = number
    assert asked == list(LOOKS)


def test_a_clear_difference_ends_the_study_at_its_first_look() -> None:
    whole = made_results(made_study(seeds=12, looks=LOOKS), effects={"adco": 9.0}, own_sd=0.2)
    assert next_pairs(first_pairs(whole, 4)) == 5
    assert next_pairs(first_pairs(whole, 5)) is None
    found = analyse(first_pairs(whole, 5))
    assert found.findings[0].conclusion == "better"
    assert not said(found, "not over")


def test_without_looks_all_pairs_are_asked_for() -> None:
    whole = made_results(effects={"adco": 9.0})
    assert next_pairs(first_pairs(whole, 0)) == 5
    assert next_pairs(first_pairs(whole, 4)) == 5
    assert next_pairs(whole) is None


def test_a_look_waits_for_every_arm_share_and_budget() -> None:
    study = made_study(seeds=12, looks=LOOKS, shares=[1.0, 0.1], equal="both")
    whole = made_results(study, effects={"adco": 9.0}, own_sd=0.2)
    last = RunName(arm="mocov2", seed=4, share=0.1, budget="time")
    now = first_pairs(whole, 5)
    assert next_pairs(now) is None
    kept = tuple(one for one in now.records if one.name != last)
    assert next_pairs(Results(study=study, records=kept)) == 5


def test_a_study_without_contrasts_runs_all_its_pairs() -> None:
    study = made_study(arms=[{"name": "adco", "method": "adco"}], seeds=12, looks=LOOKS)
    assert next_pairs(Results(study=study, records=())) == 12


def test_going_on_after_a_stop_is_said_and_widens_the_interval() -> None:
    whole = made_results(made_study(seeds=12, looks=LOOKS), effects={"adco": 9.0}, own_sd=0.2)
    found = analyse(first_pairs(whole, 8))
    assert said(found, "went on after the look at 5 pairs")
    assert found.findings[0].interval == found.findings[0].looks[-1].interval


def test_arms_that_were_tuned_unequally_are_named() -> None:
    arms = [dict(arm) for arm in made_study().tree()["arms"]]
    arms[0]["tuning"] = {"trials": 20, "images": "test"}
    found = analyse(made_results(made_study(arms=arms)))
    assert said(found, "adco with 20 trials, adco/queue and mocov2 with none known.")
    assert said(found, "adco was tuned on the test set test")
    assert not said(analyse(made_results()), "tuned")


def test_a_correlation_that_is_not_positive_is_said() -> None:
    whole = made_results(shared_sd=0.0, seed=4)
    found = analyse(whole)
    negative = [one for one in found.findings if (one.correlation or 0) <= 0]
    assert negative, "this draw has one"
    assert said(found, "Pairing by seed bought nothing")
    assert not said(analyse(made_results(shared_sd=5.0)), "bought nothing")


def test_machines_and_budgets_that_differ_within_a_pair_are_said() -> None:
    whole = made_results()
    assert not said(analyse(whole), "differ in")
    assert said(
        analyse(changed(whole, "adco", environment={"threads": 4})), "differ in threads (1, 4)"
    )
    assert said(analyse(changed(whole, "adco", images=5)), "unequal numbers of images: adco 5")


def test_runs_from_another_study_and_notes_are_said() -> None:
    found = analyse(changed(made_results(), "mocov2", taken_from="older", note="a note."))
    assert said(found, "5 finished runs taken over from older")
    assert said(found, "5 runs of mocov2: a note.")


def test_bootstrap_intervals_need_ten_pairs_and_can_be_left_out() -> None:
    whole = made_results(made_study(seeds=10))
    assert analyse(whole).findings[0].bootstrap is not None
    assert analyse(whole, resamples=0).findings[0].bootstrap is None


def test_sources_of_variance_are_those_of_each_planned_contrast(tmp_path: object) -> None:
    whole = made_results()
    found = analyse(whole, StudyFolder(str(tmp_path)))
    assert list(found.variance) == [one.contrast.name for one in found.findings]
    assert all(found.variance.values())


def test_a_few_equal_differences_are_no_evidence_since_rounding_makes_them() -> None:
    study = made_study(seeds=3)
    results = made_results(study, effects={"adco": 0.5}, own_sd=0.0)
    finding = analyse(results).findings[0]
    assert finding.sd == 0
    assert finding.conclusion == "no evidence"
    assert "rounding" in finding.sentence
    more = made_results(made_study(seeds=6), effects={"adco": 0.5}, own_sd=0.0)
    assert analyse(more).findings[0].conclusion == "better"


def given(study: Study, differences: dict[str, list[float]]) -> Results:
    """Records in which each arm is some points above 40 with each seed."""
    plain = made_results(study, shared_sd=0.0, own_sd=0.0)
    return replace(
        plain,
        records=tuple(
            replace(one, scores={"test": dict.fromkeys(study.protocols, 0.4 + points / 100)})
            for one in plain.records
            for points in [differences.get(one.name.arm, [0.0] * 99)[one.name.seed]]
        ),
    )


def test_differences_that_are_equal_by_rounding_have_no_p_and_take_no_place_in_holms_order() -> (
    None
):
    points = [0.0, 0.7, 0.5]
    results = given(made_study(seeds=3), {"adco": [1.0] * 3, "mocov2": points})
    equal, other = analyse(results).findings
    assert (equal.sd, equal.p, equal.p_equivalence) == (0, None, None)
    assert "p below" not in equal.sentence
    assert other.p is not None
    assert other.p_holm == pytest.approx(min(1.0, 2 * other.p))


def test_a_planned_contrast_that_cannot_be_tested_stays_in_the_family() -> None:
    whole = made_results(effects={"adco": 3.0})
    lost = replace(
        whole,
        records=tuple(
            replace(one, status="failed", scores={}) if one.name.arm == "mocov2" else one
            for one in whole.records
        ),
    )
    first, second = analyse(lost).findings
    assert second.p is None
    assert first.p is not None
    assert first.p_holm == pytest.approx(2 * first.p)
    assert "over 2 planned contrasts" in first.sentence


def test_an_early_look_does_not_show_a_small_difference_that_later_pairs_contradict() -> None:
    study = made_study(seeds=12, looks=(5, 8, 12))
    early, late = [0.01, -0.02, 0.03, 0.0, -0.01], [2.5, 2.0, 3.0, 1.5, 2.0, 2.5, 3.0]
    main = [0.5, -0.6, 0.9, 1.4, 0.2, -0.1, 1.0, 1.2, -0.4, 0.8, 1.5, 0.6]
    points = {"adco": main, "mocov2": [a - b for a, b in zip(main, early + late)]}
    finding = analyse(given(study, points)).findings[1]
    assert finding.mean is not None
    assert finding.mean > study.margin
    assert finding.conclusion != "no more than the margin"
    assert "no more than" not in finding.sentence


def test_no_p_value_is_given_before_all_pairs_are_there() -> None:
    study = made_study(seeds=8)
    part = [one for one in made_results(study).records if one.name.seed < 7]
    for one in analyse(Results(study=study, records=tuple(part))).findings:
        assert (one.p, one.p_holm, one.p_sign_flip, one.p_equivalence) == (None,) * 4


def test_a_plan_that_was_changed_after_scores_were_there_is_no_plan_for_its_error_rate(
    tmp_path: Path,
) -> None:
    folder, study = StudyFolder(tmp_path / "study"), made_study(seeds=5)
    history.written(folder, study)
    history.written(folder, study.model_copy(update={"margin": 0.7}))
    more = made_study(seeds=8)
    results = made_results(more)
    assert not said(analyse(results, folder), "after scores were there")
    for record in results.records[:4]:
        folder.write_record(record)
    history.written(folder, more.model_copy(update={"name": "other"}))
    found = analyse(results, folder)
    assert said(found, "changed after scores were there (seeds: ")
    assert not said(found, "name: ")


def test_a_seed_that_one_failed_run_takes_from_several_contrasts_is_said_once() -> None:
    found = analyse(failed(made_results(), RunName(arm="adco", seed=2)))
    (one,) = [text for text in found.cautions if "makes no pair" in text]
    assert one == (
        "Seed 2 has a score of one arm only, and makes no pair, in adco minus adco/queue and adco "
        "minus mocov2."
    )


def test_a_study_without_looks_is_not_said_to_stop_early() -> None:
    for looks, is_said in (((), False), (LOOKS, True)):
        results = made_results(made_study(seeds=12, looks=looks))
        found = analyse(first_pairs(results, 3))
        assert said(found, "The study is not over")
        assert said(found, "fewer if it stops early") == is_said


@pytest.mark.parametrize(
    ("low", "high", "places"),
    [(-1.16, 0.73, 1), (-0.04, 0.64, 2), (-0.003, 0.64, 3), (0.4, 0.5, 2)],
)
def test_an_end_of_an_interval_keeps_its_sign(low: float, high: float, places: int) -> None:
    assert decimals(Interval(low=low, high=high)) == places
