"""Cost of a study: what is added up, divided and left out, and what a user reads of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_studies import made_results, made_study

from sparring.errors import DivergedError, TrainingError
from sparring.planning.arm_measurement import measured_arms, one_order_of_each, unestimated
from sparring.planning.prediction import Duration
from sparring.planning.resource_plan import MethodPlan, ResourcePlan
from sparring.planning.study_cost import (
    ArmCost,
    Workers,
    from_records,
    read_arm_costs,
    study_cost,
    write_arm_costs,
)
from sparring.planning.study_cost_text import cost_lines, what_is_left
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Study
from sparring.studies.records import planned_runs

MIB = 2**20
GIB = 2**30


def arm_cost(name: str, **changed: Any) -> ArmCost:
    """An arm whose run takes 100 s, scores 10 s of it, and 1 GiB."""
    fields: dict[str, Any] = {
        "measured_as": name,
        "step_seconds": 0.5,
        "training_seconds": 90.0,
        "scoring_seconds": 10.0,
        "peak_bytes": GIB,
        "disk_bytes": 10 * MIB,
        "images": 1000,
        "room_bytes": 8 * GIB,
    }
    return ArmCost(arm=name, **{**fields, **changed})


def arms_of(study: Study, **changed: Any) -> list[ArmCost]:
    return [arm_cost(arm.name, **changed) for arm in study.arms]


def test_a_cost_counts_all_runs_of_all_arms_seeds_shares_and_budgets() -> None:
    study = made_study(seeds=5, shares=[1.0, 0.1])
    cost = study_cost(study, arms_of(study))
    assert cost.runs == cost.first_runs == 30
    assert cost.seconds == pytest.approx(15 * (90 + 10) + 15 * (9 + 10))
    assert cost.disk_bytes == 30 * 10 * MIB
    both = made_study(seeds=5, equal="both")
    assert study_cost(both, arms_of(both)).runs == 30


def test_at_equal_time_every_arm_trains_as_long_as_the_reference() -> None:
    study = made_study(seeds=1, equal="time")
    costs = [arm_cost("adco"), arm_cost("adco/queue", training_seconds=200.0), arm_cost("mocov2")]
    assert study_cost(study, costs).seconds == pytest.approx(3 * 210)


def test_runs_are_divided_over_the_workers_and_never_below_the_longest_one() -> None:
    study = made_study(seeds=2)
    assert study_cost(study, arms_of(study), workers=Workers(count=2)).seconds == 300
    assert study_cost(study, arms_of(study), workers=Workers(count=4)).seconds == 200
    many = Workers(count=100, are_here=False)
    assert study_cost(study, arms_of(study), workers=many).seconds == 100


def test_finished_runs_are_left_out() -> None:
    study = made_study(seeds=5)
    cost = study_cost(study, arms_of(study), finished=planned_runs(study, [0, 1]))
    assert (cost.runs, cost.finished) == (9, 6)
    assert cost.seconds == 900
    assert what_is_left(cost) == "6 of 15 runs are finished; 9 runs left: about 15 minutes"
    over = study_cost(study, arms_of(study), finished=planned_runs(study, range(5)))
    assert (over.runs, over.seconds, over.disk_bytes) == (0, 0, 0)


def test_early_stopping_gives_a_range_from_the_first_look_to_all_pairs() -> None:
    study = made_study(seeds=12, looks=[5, 8, 12])
    cost = study_cost(study, arms_of(study))
    assert (cost.first_runs, cost.runs) == (15, 36)
    assert (cost.first_seconds, cost.seconds) == (1500, 3600)
    shown = "\n".join(cost_lines(cost))
    assert "25 minutes up to the first look (15 runs)" in shown


def test_workers_nobody_chose_are_as_many_as_fit_into_memory() -> None:
    study = made_study(seeds=5)
    arms = arms_of(study, peak_bytes=3 * GIB)
    cost = study_cost(study, arms, workers=Workers(count=16, num_cores=16))
    assert (cost.fitting_workers, cost.workers.count) == (2, 2)
    assert "warning" not in "\n".join(cost_lines(cost))


def test_workers_that_were_chosen_and_do_not_fit_get_a_line_with_the_number_that_does() -> None:
    study = made_study(seeds=5)
    arms = arms_of(study, peak_bytes=3 * GIB)
    chosen = Workers(count=4, is_given=True, num_cores=16)
    cost = study_cost(study, arms, workers=chosen)
    assert cost.workers.count == 4
    (line,) = [line for line in cost_lines(cost) if line.startswith("warning")]
    assert "2 such runs fit at the same time" in line
    assert "--workers 2" in line


def test_decoded_images_are_shared_by_the_workers() -> None:
    study = made_study(seeds=5)
    arms = arms_of(study, peak_bytes=3 * GIB, store_bytes=2 * GIB)
    assert study_cost(study, arms, workers=Workers(count=8)).fitting_workers == 4
    assert study_cost(study, arms).disk_bytes == 2 * GIB + 15 * 10 * MIB


def test_a_gpu_has_its_own_memory() -> None:
    study = made_study(seeds=5)
    arms = arms_of(study, peak_bytes=5 * GIB, device="cuda:0")
    assert study_cost(study, arms, workers=Workers(count=2, num_gpus=2)).fitting_workers == 2


def test_the_memory_of_other_machines_is_not_guessed() -> None:
    study = made_study(seeds=5)
    cost = study_cost(study, arms_of(study), workers=Workers(count=64, are_here=False))
    assert cost.fitting_workers is None
    assert cost.workers.count == 64
    assert "that of its machine is not known" in "\n".join(cost_lines(cost))


def test_too_little_disk_and_too_few_cores_are_warned_of() -> None:
    study = made_study(seeds=5, threads=2)
    workers = Workers(count=2, is_given=True, num_cores=2)
    cost = study_cost(study, arms_of(study), workers=workers, free_disk_bytes=MIB)
    warnings = [line for line in cost_lines(cost) if line.startswith("warning")]
    assert len(warnings) == 2
    assert "150 MiB" in warnings[0]
    assert "2 workers with 2 threads each share 2 cores" in warnings[1]


def test_finished_runs_say_what_further_ones_take() -> None:
    results = made_results(made_study(seeds=2))
    known = from_records(arm_cost("adco"), "adco", results.records)
    assert known is not None
    assert (known.training_seconds, known.scoring_seconds) == (125.0, 5.0)
    assert (known.measured_as, known.peak_bytes) == ("", 500 * MIB)
    assert from_records(None, "nobody", results.records) is None


def test_what_was_measured_is_kept_and_damage_costs_a_measurement_only(tmp_path: Path) -> None:
    assert read_arm_costs(tmp_path) == []
    arms = [arm_cost("adco"), arm_cost("mocov2")]
    write_arm_costs(tmp_path, arms)
    assert read_arm_costs(tmp_path) == arms
    (tmp_path / "cost.json").write_text("[{]")
    assert read_arm_costs(tmp_path) == []


# Measuring


def planned(name: str, **changed: Any) -> ResourcePlan:
    """A plan whose step takes 0.2 s, and its monitor pass 4 s of CPU."""
    row = MethodPlan(
        name=name,
        duration=Duration(step=0.2, epoch=20.0, opponent_pretraining=0.0, whole=200.0),
        peak_bytes=GIB,
        store_bytes=3 * MIB,
        largest_batch=1000,
        largest_image_size=32,
        measured_batches=(16, 64),
        cpu_seconds=0.4,
        cpu_monitor_seconds=4.0,
        weight_bytes=10 * MIB,
        gradient_bytes=10 * MIB,
        optimizer_bytes=10 * MIB,
    )
    fields: dict[str, Any] = {
        "images": 1000,
        "image_size": 32,
        "batch_size": 64,
        "epochs": 10,
        "steps_per_epoch": 15,
        "num_steps": 150,
        "device": "cpu with 1 thread",
        "room_bytes": 8 * GIB,
        "is_estimate": False,
        "is_rough": True,
        "precision": "float32",
        "cache": "",
        "rows": (row,),
    }
    return ResourcePlan(**{**fields, **changed})


class Planner:
    """Stand-in for `sparring.plan` that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **given: Any) -> ResourcePlan:
        import os

        self.calls.append({**given, "threads": os.environ.get("OMP_NUM_THREADS")})
        return planned(given["method"], is_rough=not given["exact"])


def orders_for(study: Study) -> Mapping[str, RunOrder]:
    """The first order of each arm."""
    found: Sequence[RunOrder] = [
        RunOrder(
            name=name,
            key=str(name),
            study="study",
            data=study.data,
            train={
                "method": study.arm(name.arm).method,
                "settings": study.arm(name.arm).settings,
                "epochs": study.epochs,
                "seed": name.seed,
                "resume_if_exists": True,
            },
        )
        for name in planned_runs(study)
    ]
    return one_order_of_each(found)


def test_a_rough_measurement_takes_a_twin_as_its_game_and_says_so() -> None:
    study, planner = made_study(threads=3), Planner()
    arms = measured_arms(
        study, orders_for(study), exact=False, planner=planner, num_images=lambda test: 500
    )
    assert [call["method"] for call in planner.calls] == ["adco", "mocov2"]
    assert all(call["threads"] == "3" for call in planner.calls)
    assert [one.measured_as for one in arms] == ["adco", "adco", "mocov2"]
    shown = "\n".join(cost_lines(study_cost(study, arms)))
    assert "adco/queue: taken as adco, whose steps were measured" in shown
    assert "times are rough" in shown


def test_an_exact_measurement_runs_the_steps_of_every_arm() -> None:
    study, planner = made_study(), Planner()
    arms = measured_arms(
        study, orders_for(study), exact=True, planner=planner, num_images=lambda test: 500
    )
    assert [call["method"] for call in planner.calls] == ["adco", "mocov2", "adco"]
    assert [one.measured_as for one in arms] == ["adco", "adco/queue", "mocov2"]
    assert not any(one.is_rough for one in arms)


def test_steps_that_fail_tell_which_arm_they_are_of() -> None:
    def planner(**how: object) -> ResourcePlan:
        raise DivergedError("its loss is not finite", player="encoder")

    study = made_study()
    with pytest.raises(TrainingError, match=r"arm 'adco' cannot be measured: its loss"):
        measured_arms(
            study, orders_for(study), exact=False, planner=planner, num_images=lambda test: 500
        )


def test_a_plan_gets_the_arguments_of_the_run_without_those_of_train_alone() -> None:
    study, planner = made_study(), Planner()
    measured_arms(
        study, orders_for(study), exact=False, planner=planner, num_images=lambda test: 500
    )
    first = planner.calls[0]
    assert (first["data"], first["epochs"], first["seed"]) == ("photos", 10, 0)
    assert "resume_if_exists" not in first


def test_scores_cost_the_images_that_pass_through_both_encoders() -> None:
    study = made_study()
    (arm, *_) = measured_arms(
        study, orders_for(study), exact=False, planner=Planner(), num_images=lambda test: 500
    )
    # 1,000 images take 4 s of CPU on two threads; 1,500 pass through each of two encoders.
    assert arm.scoring_seconds == pytest.approx(2 * 2.0 * 1500 / 1000)


def test_protocols_that_train_are_named_as_not_counted() -> None:
    study = made_study(protocols=["knn", "finetune"])
    assert unestimated(study) == ["finetune"]
    cost = study_cost(study, arms_of(study), unknown=unestimated(study))
    assert "and finetune train on top" in "\n".join(cost_lines(cost))
