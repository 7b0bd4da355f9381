"""The runs of a study, until its question is answered or all seeds are used."""

from collections.abc import Collection, Mapping, Sequence

from sparring.api.comparison import Comparison
from sparring.api.study_costs import time_limit_of
from sparring.api.study_preparing import Prepared
from sparring.api.study_reports import write_outputs
from sparring.api.study_workers import Engine
from sparring.planning.study_cost import StudyCost, write_arm_costs
from sparring.studies import history
from sparring.studies.engines.time_limit import TimeLimit
from sparring.studies.folder import StudyFolder
from sparring.studies.ordering import orders
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Study
from sparring.studies.records import RunName, RunRecord
from sparring.studies.results import Results
from sparring.studies.reuse import reuse
from sparring.studies.study_lock import locked
from sparring.training.listener import Listener

PAGE = "study.html"
"""Page of a study, in its folder."""


def run_study(
    prepared: Prepared,
    *,
    engine: Engine,
    cost: StudyCost | None = None,
    listener: Listener | None = None,
) -> Comparison:
    """Make the runs of a study until it is over or its time is, and write what they say.

    Args:
        prepared: the study.
        engine: what makes its runs.
        cost: what `cost_of` found, which is kept; its number of workers is taken. Equal time needs
            it before the first run.
        listener: told what happens.

    Raises:
        RunError: if another process runs it.
    """
    study, folder, parts = prepared.study, prepared.folder, prepared.parts
    with locked(folder):
        seconds = _step_seconds(study, cost)
        made = prepared.orders or _orders(study, folder, seconds)
        history.written(folder, study, step_seconds=seconds, cautions=prepared.hidden, orders=made)
        if cost is not None:
            if all(one.training_seconds for one in cost.arms):
                write_arm_costs(folder.path, cost.arms)
            engine = engine.with_workers(cost.workers.count)
        limit = time_limit_of(prepared, engine=engine, cost=cost)
        results = _made_runs(prepared, made, engine=engine, limit=limit, listener=listener)
        analysis = parts.analyse(results, folder)
        files = write_outputs(parts, analysis, folder, folder.path / PAGE)
    return Comparison(
        path=folder.path,
        analysis=analysis,
        is_over=parts.next_pairs(results) is None,
        files=tuple(files),
    )


def _orders(
    study: Study, folder: StudyFolder, seconds: Mapping[str, float] | None
) -> tuple[RunOrder, ...]:
    """Orders of all runs; steps that were measured before keep their length."""
    known = {**(seconds or {}), **history.step_seconds(folder, study)}
    return tuple(orders(study, folder, step_seconds=known))


def _step_seconds(study: Study, cost: StudyCost | None) -> dict[str, float] | None:
    """Seconds of a step of each arm, if equal time needs them and they were measured exactly."""
    if cost is None or study.equal == "images" or any(one.is_rough for one in cost.arms):
        return None
    return {one.arm: one.step_seconds for one in cost.arms if one.step_seconds}


def _made_runs(
    prepared: Prepared,
    made: Sequence[RunOrder],
    *,
    engine: Engine,
    limit: TimeLimit | None,
    listener: Listener | None,
) -> Results:
    """Plan and records, once all runs that the study wants are finished or have failed, or the time
    is over."""
    study, folder, parts = prepared.study, prepared.folder, prepared.parts
    keys = {order.name: order.key for order in made}
    tried: set[RunName] = set()
    while True:
        results = Results(study=study, records=_counted(folder, keys, tried))
        seeds = study.seeds[: parts.next_pairs(results) or 0]
        left = [
            order
            for order in made
            if order.name.seed in seeds and results.record(order.name) is None
        ]
        if not left:
            return results
        found = reuse(left, others=prepared.reuse)
        if found.taken and listener is not None:
            where = sorted({record.taken_from for record in found.taken})
            num = len(found.taken)
            runs = f"{num:,} finished run{'s are' if num > 1 else ' is'}"
            listener.report(f"{runs} taken from {', '.join(where)}")
        if limit is not None:
            for record in found.taken:
                limit.learn(record)
        if asked := _one_of_each(found.left):
            ended = parts.run(
                asked,
                call=parts.call,
                engine=engine.name,
                workers=engine.workers,
                options=engine.options,
                listener=listener,
                limit=limit,
            )
            tried |= {record.name for record in ended}
            if len(ended) < len(asked):
                return Results(study=study, records=_counted(folder, keys, tried))


def _one_of_each(orders: Sequence[RunOrder]) -> list[RunOrder]:
    """The first order of each key: the others are equal runs, and are taken from it afterwards."""
    return list({order.key: order for order in reversed(orders)}.values())[::-1]


def _counted(
    folder: StudyFolder, keys: Mapping[RunName, str], tried: Collection[RunName]
) -> tuple[RunRecord, ...]:
    """Records of finished runs that fit the plan, and of those that failed just now; earlier
    failures are tried again."""
    return tuple(
        one
        for one in folder.read_records()
        if one.key == keys.get(one.name) and (one.status == "finished" or one.name in tried)
    )
