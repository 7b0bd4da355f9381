"""The runs of a study, until its question is answered or all seeds are used."""

from collections.abc import Collection, Mapping, Sequence

from sparring.api.comparison import Comparison
from sparring.api.study_preparing import Prepared
from sparring.api.study_reports import write_outputs
from sparring.api.study_workers import Engine
from sparring.planning.study_cost import StudyCost, write_arm_costs
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.records import RunName, RunRecord
from sparring.studies.results import Results
from sparring.studies.study_lock import locked
from sparring.training.listener import Listener

PAGE = "study.html"
"""Page of a study, in its folder."""


def play_study(
    prepared: Prepared,
    *,
    engine: Engine,
    cost: StudyCost | None = None,
    listener: Listener | None = None,
) -> Comparison:
    """Make the runs of a study until it is over, and write what they say.

    Args:
        prepared: the study.
        engine: what makes its runs.
        cost: what `cost_of` found, which is kept; its number of workers is taken.
        listener: told what happens.

    Raises:
        RunError: if another process plays it.
    """
    study, folder, parts = prepared.study, prepared.folder, prepared.parts
    with locked(folder):
        parts.write_plan(folder, study)
        if cost is not None:
            if all(one.training_seconds for one in cost.arms):
                write_arm_costs(folder.path, cost.arms)
            engine = engine.with_workers(cost.workers.count)
        results = _play(prepared, engine=engine, listener=listener)
        analysis = parts.analyse(results, folder)
        files = write_outputs(parts, analysis, folder, folder.path / PAGE)
    return Comparison(
        path=folder.path,
        analysis=analysis,
        is_over=parts.next_pairs(results) is None,
        files=tuple(files),
    )


def _play(prepared: Prepared, *, engine: Engine, listener: Listener | None) -> Results:
    """Plan and records, once all runs that the study wants are finished or have failed."""
    study, folder, parts = prepared.study, prepared.folder, prepared.parts
    keys = {order.name: order.key for order in parts.orders(study, folder)}
    tried: set[RunName] = set()
    while True:
        results = Results(study=study, records=_counted(folder, keys, tried))
        pairs = parts.next_pairs(results)
        orders = [] if pairs is None else parts.orders(study, folder, pairs=pairs)
        left = [order for order in orders if results.record(order.name) is None]
        if not left:
            return results
        tried |= {order.name for order in left}
        taken = _taken(left, prepared, listener)
        left = [order for order in left if order.name not in taken]
        if left:
            parts.run(
                left,
                call=parts.call,
                engine=engine.name,
                folder=folder,
                workers=engine.workers,
                listener=listener,
                **engine.options,
            )


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


def _taken(
    orders: Sequence[RunOrder], prepared: Prepared, listener: Listener | None
) -> set[RunName]:
    """Runs that other studies have finished; their records are written here."""
    if not prepared.reuse:
        return set()
    records = prepared.parts.reused(orders, prepared.reuse)
    for record in records:
        prepared.folder.write_record(record)
    if records and listener is not None:
        listener.report(f"{len(records):,} finished runs are taken from other studies")
    return {record.name for record in records}
