"""The cost of a study: measured where it is not known, from what it has spent where it is."""

import shutil
from pathlib import Path

from sparring.api.study_preparing import Prepared
from sparring.api.study_workers import Engine
from sparring.planning.arm_measurement import one_order_of_each, unestimated
from sparring.planning.study_cost import (
    ArmCost,
    StudyCost,
    from_records,
    read_arm_costs,
    study_cost,
)
from sparring.studies.ordering import orders
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


def _free_disk_bytes(path: Path) -> int:
    """Free bytes where a folder is, or will be."""
    place = path.absolute()
    return shutil.disk_usage(next(part for part in (place, *place.parents) if part.exists())).free
