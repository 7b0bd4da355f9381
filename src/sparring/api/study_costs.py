"""The cost of a study: measured where it is not known, from what it has spent where it is."""

import shutil
from dataclasses import replace
from pathlib import Path

from sparring.api.study_preparing import Prepared
from sparring.api.study_workers import Engine
from sparring.planning.arm_measurement import one_order_of_each, unestimated
from sparring.planning.study_cost import (
    ArmCost,
    StudyCost,
    from_records,
    read_arm_costs,
    run_seconds,
    study_cost,
)
from sparring.planning.study_cost_text import rest_line
from sparring.studies.attempts import attempts_of
from sparring.studies.durations import Durations
from sparring.studies.engines.time_limit import TimeLimit
from sparring.studies.ordering import orders
from sparring.studies.records import planned_runs
from sparring.training.devices import choose_device
from sparring.training.listener import Listener


def cost_of(
    prepared: Prepared,
    *,
    engine: Engine,
    is_measured: bool = True,
    listener: Listener | None = None,
) -> StudyCost:
    """Cost of the runs of a study that are not finished.

    Args:
        prepared: the study.
        engine: what makes its runs.
        is_measured: whether arms of which nothing is known are measured, in about half a minute
            each; else they count as nothing.
        listener: receives progress.
    """
    study = prepared.study
    return study_cost(
        study,
        arm_costs(prepared, is_measured=is_measured, listener=listener),
        finished=prepared.finished,
        workers=engine.as_workers(study),
        free_disk_bytes=_free_disk_bytes(prepared.folder.path),
        unknown=unestimated(study),
    )


def arm_costs(
    prepared: Prepared, *, is_measured: bool = True, listener: Listener | None = None
) -> list[ArmCost]:
    """What one run of each arm takes: by finished runs, by an earlier measurement, or by one that
    is made now; measured exactly where lengths follow from it."""
    study, folder = prepared.study, prepared.folder
    exact = prepared.orders is None
    fitting = [one for one in prepared.records if one.name not in prepared.stale]
    unchanged = {one.name.arm for one in fitting if one.status == "finished"}
    kept = {
        one.arm: one
        for one in read_arm_costs(folder.path)
        if not prepared.changes or one.arm in unchanged
    }
    found = [from_records(kept.get(arm.name), arm.name, fitting) for arm in study.arms]
    if not is_measured or (None not in found and not exact):
        return [one or ArmCost(arm=arm.name) for one, arm in zip(found, study.arms, strict=True)]
    on_images = study.model_copy(update={"equal": "images", "shares": (max(study.shares),)})
    made = one_order_of_each(orders(on_images, folder, pairs=1))
    return list(prepared.parts.measured(study, made, exact=exact, listener=listener))


def time_limit_of(
    prepared: Prepared, *, engine: Engine, cost: StudyCost | None = None
) -> TimeLimit | None:
    """Limit of a command's time, which knows what the runs of a study take; None without one.

    Args:
        prepared: the study.
        engine: what makes its runs.
        cost: its cost, if it was computed; else what is known of it counts.
    """
    if engine.minutes is None:
        return None
    study = prepared.study
    known = arm_costs(prepared, is_measured=False) if cost is None else cost.arms
    arms = {one.arm: one for one in known}
    estimates = {name: run_seconds(study, arms, name) for name in planned_runs(study)}
    durations = Durations(
        {name: seconds for name, seconds in estimates.items() if seconds},
        is_cuda=choose_device(study.device).type == "cuda",
    )
    fitting = [one for one in prepared.records if one.name not in prepared.stale]
    durations.learn_all(fitting, attempts_of(prepared.folder))
    return TimeLimit(60 * engine.minutes, durations=durations, began=engine.began)


def what_remains(prepared: Prepared, *, engine: Engine) -> str:
    """One line about a study whose command has used up its minutes: how many runs are finished, how
    long the rest takes, and which arms need longer than such a command.

    Args:
        prepared: the study as it was before the command.
        engine: what made its runs, with a limit.
    """
    assert engine.minutes is not None
    now = replace(prepared, records=prepared.folder.read_records())
    cost = cost_of(now, engine=engine, is_measured=False)
    arms = {one.arm: one for one in cost.arms}
    left = [name for name in planned_runs(now.study) if name not in now.finished]
    seconds = {name: run_seconds(now.study, arms, name) for name in left}
    return rest_line(cost, seconds, limit_seconds=60 * engine.minutes)


def _free_disk_bytes(path: Path) -> int:
    """Free bytes where a folder is, or will be."""
    place = path.absolute()
    return shutil.disk_usage(next(part for part in (place, *place.parents) if part.exists())).free
