"""The runs of a study, until its question is answered or all seeds are used."""

from collections.abc import Sequence
from pathlib import Path

from sparring.api.comparison import Comparison
from sparring.api.study_parts import Parts
from sparring.api.study_preparing import Prepared
from sparring.api.study_workers import Engine
from sparring.planning.study_cost import StudyCost, write_arm_costs
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.records import RunName
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
    reuse: Sequence[str | Path] = (),
    listener: Listener | None = None,
) -> Comparison:
    """Make the runs of a study until it is over, and write what they say.

    Args:
        prepared: the study.
        engine: what makes its runs.
        cost: what `cost_of` found, which is kept; its number of workers is taken.
        reuse: folders of other studies, whose finished runs are taken where they are equal.
        listener: told what happens.

    Raises:
        RunError: if another process plays it.
    """
    study, folder, parts = prepared.study, prepared.folder, prepared.parts
    with locked(folder):
        parts.write_plan(folder, study)
        if cost is not None:
            write_arm_costs(folder.path, cost.arms)
            engine = engine.with_workers(cost.workers.count)
        results = _play(prepared, engine=engine, reuse=reuse, listener=listener)
        analysis = parts.analyse(results, folder)
        page = parts.write_page(analysis, folder, folder.path / PAGE)
        tables = parts.write_tables(analysis, folder.path)
    return Comparison(
        path=folder.path,
        analysis=analysis,
        is_over=parts.next_pairs(results) is None,
        files=(page, *tables),
    )


def _play(
    prepared: Prepared, *, engine: Engine, reuse: Sequence[str | Path], listener: Listener | None
) -> Results:
    """Plan and records, once all runs that the study wants are finished or have failed."""
    study, folder, parts = prepared.study, prepared.folder, prepared.parts
    tried: set[RunName] = set()
    results = Results(study=study, records=folder.read_records())
    while (pairs := parts.next_pairs(results)) is not None:
        orders = parts.orders(study, folder, pairs=pairs)
        left = [one for one in orders if one.name not in tried and not _is_finished(results, one)]
        if not left:
            break  # what is missing has failed
        tried |= {order.name for order in left}
        taken = _taken(left, parts, folder, reuse, listener)
        left = [order for order in left if order.name not in taken]
        if left:
            made = parts.run(
                left,
                call=parts.call,
                engine=engine.name,
                folder=folder,
                workers=engine.workers,
                listener=listener,
                **engine.options,
            )
            for record in made:
                folder.write_record(record)
        results = Results(study=study, records=folder.read_records())
    return results


def _is_finished(results: Results, order: RunOrder) -> bool:
    """Whether the run of an order has scores that are those of this order."""
    record = results.record(order.name)
    return record is not None and record.status == "finished" and record.key == order.key


def _taken(
    orders: Sequence[RunOrder],
    parts: Parts,
    folder: StudyFolder,
    reuse: Sequence[str | Path],
    listener: Listener | None,
) -> set[RunName]:
    """Runs that other studies have finished; their records are written here."""
    records = list(parts.reused(orders, [Path(one) for one in reuse])) if reuse else []
    for record in records:
        folder.write_record(record)
    if records and listener is not None:
        listener.report(f"{len(records):,} finished runs are taken from other studies")
    return {record.name for record in records}
