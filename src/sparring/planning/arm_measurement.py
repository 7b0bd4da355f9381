"""Measurement of a study's arms: a plan of one run of each, made from the order of that run."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from sparring.data.sources.source import open_source
from sparring.errors import TrainingError
from sparring.evaluation.catalogue import find
from sparring.planning.plan import plan
from sparring.planning.resource_plan import ResourcePlan
from sparring.planning.study_cost import ArmCost
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Arm, ScoredSet, Study
from sparring.training.listener import Listener
from sparring.training.settings import TrainingSettings

Planner: TypeAlias = Callable[..., ResourcePlan]

OF_TRAIN_ALONE = ("start_from", "keep_optimizer", "resume_if_exists", "profile", "progress")
"""Arguments of `sparring.train` that a plan does not take."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which a measuring process gets the threads of a run."""
PREDICTION_BYTES = 100
"""Bytes that one image adds to a file of predictions: its name and a few classes."""


def measured_arms(
    study: Study,
    orders: Mapping[str, RunOrder],
    *,
    exact: bool,
    listener: Listener | None = None,
    planner: Planner = plan,
    num_images: Callable[[ScoredSet], int] | None = None,
) -> list[ArmCost]:
    """What one run of each arm takes, from a few of its steps.

    A twin that is not measured exactly is taken as its game, of which it leaves a part out; arms
    with equal orders are measured once.

    Args:
        study: the plan.
        orders: one order of each arm, on all images, with the number of steps of its own.
        exact: whether steps of the planned batch are run, for every arm.
        listener: receives progress.
        planner: `sparring.plan`.
        num_images: number of images of a test set that has data of its own.
    """
    found: dict[str, ArmCost] = {}
    count = num_images or _num_images
    tests = {test.name: count(test) for test in study.tests if test.data}
    for arm in sorted(study.arms, key=lambda one: one.role == "twin"):  # after their games
        same = _measured_before(study, arm, orders, found, exact=exact)
        if same is not None:
            found[arm.name] = replace(found[same], arm=arm.name)
            continue
        if listener is not None:
            listener.report(f"measuring a few steps of {arm.name}")
        with _threads(study.threads), _named(arm):
            planned = planner(**_arguments(orders[arm.name]), exact=exact, listener=listener)
        found[arm.name] = _arm_cost(study, orders[arm.name], planned, tests)
    return [found[arm.name] for arm in study.arms]


def unestimated(study: Study) -> list[str]:
    """Protocols of a study whose time cannot be estimated, since they train."""
    return [
        name
        for name, protocol in ((name, find(name)[0]) for name in study.protocols)
        if not protocol.is_frozen
    ]


def _measured_before(
    study: Study,
    arm: Arm,
    orders: Mapping[str, RunOrder],
    found: Mapping[str, ArmCost],
    *,
    exact: bool,
) -> str | None:
    """Arm that stands for this one, if one was measured that may."""
    if not exact and arm.twin_of in found:
        return arm.twin_of
    own = orders[arm.name]
    same = (name for name in found if orders[name].train == own.train)
    return next((found[name].measured_as for name in same), None)


def _arguments(order: RunOrder) -> dict[str, Any]:
    """Arguments of a plan that are those of the run."""
    given = {key: value for key, value in order.train.items() if key not in OF_TRAIN_ALONE}
    return {"data": order.data, **given}


def _arm_cost(
    study: Study, order: RunOrder, planned: ResourcePlan, tests: Mapping[str, int]
) -> ArmCost:
    row, name = planned.rows[0], order.name.arm
    assert row.duration is not None
    return ArmCost(
        arm=name,
        measured_as=name,
        step_seconds=row.duration.step,
        training_seconds=row.duration.whole,
        scoring_seconds=_scoring_seconds(study, order, planned, tests),
        peak_bytes=row.peak_bytes,
        store_bytes=row.store_bytes,
        disk_bytes=_disk_bytes(study, order, planned, tests),
        images=planned.images,
        room_bytes=planned.room_bytes,
        device=planned.device,
        fits=planned.fits(row),
        is_rough=planned.is_rough,
    )


def _scoring_seconds(
    study: Study, order: RunOrder, planned: ResourcePlan, tests: Mapping[str, int]
) -> float:
    """Seconds to pass all images through the trained and the first encoder, by the time of a
    monitor pass; what the protocols compute on features is not included."""
    row = planned.rows[0]
    if row.duration is None or not row.cpu_seconds or not row.cpu_monitor_seconds:
        return 0.0
    seconds = row.cpu_monitor_seconds * row.duration.step / row.cpu_seconds
    watched = min(planned.images, _setting(order, "monitor_images"))
    passed = sum(planned.images + tests.get(test.name, 0) for test in study.tests)
    return 2 * seconds * passed / max(1, watched)


def _disk_bytes(
    study: Study, order: RunOrder, planned: ResourcePlan, tests: Mapping[str, int]
) -> int:
    """Most bytes of a run folder: checkpoints, weights, and predictions of two encoders."""
    row = planned.rows[0]
    checkpoints = (1 + _setting(order, "keep_checkpoints")) * (
        row.weight_bytes + row.optimizer_bytes
    )
    scored = sum(tests.get(test.name, planned.images // 5) for test in study.tests)
    predictions = 2 * len(study.protocols) * PREDICTION_BYTES * scored
    return checkpoints + 2 * row.weight_bytes + predictions


def _setting(order: RunOrder, name: str) -> int:
    """A number of the section `training` as the run will have it, unless a recipe sets it."""
    training = order.train.get("settings", {}).get("training", {})
    default = TrainingSettings.model_fields[name].default
    return int(order.train.get(name) or training.get(name) or default)


def _num_images(test: ScoredSet) -> int:
    return len(open_source(test.data, part="test"))


@contextmanager
def _named(arm: Arm) -> Iterator[None]:
    """Let a failure within tell which arm it is of."""
    try:
        yield
    except TrainingError as error:
        raise TrainingError(f"arm '{arm.name}' cannot be measured: {error}") from None


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Give processes that are started the number of threads of a run."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(number)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def one_order_of_each(orders: Sequence[RunOrder]) -> dict[str, RunOrder]:
    """First order of each arm on the most images, by the arm's name."""
    found: dict[str, RunOrder] = {}
    for order in sorted(orders, key=lambda one: -one.name.share):
        found.setdefault(order.name.arm, order)
    return found
