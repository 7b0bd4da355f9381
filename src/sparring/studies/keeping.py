"""Records of a study as a repository keeps them, and which of them count where the study goes on.

A kept record is small: scores, curves, costs, settings, and what the opponents did, without names
of machines and paths, predictions and other metrics.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sparring.studies.equal_time import reference_arm
from sparring.studies.folder import StudyFolder
from sparring.studies.keys import installed_versions, versions_in
from sparring.studies.ordering import orders
from sparring.studies.plan import Study
from sparring.studies.records import RunName, RunRecord

EVERY = 4
"""One in this many records of an opponent's metrics is kept; they are means over 16."""
ENVIRONMENT = ("device", "threads", "processes", "processor", "torch", "python", "sparring")
"""Entries of the environment that are kept."""
NOTE = "predictions, and metrics other than the opponent's strength, were not kept"


def slim(record: RunRecord) -> RunRecord:
    """The record of a run as a repository keeps it."""
    data = {**record.config["data"], "path": Path(record.config["data"]["path"]).name}
    rows = [
        {"step": row["step"], **{name: row[name] for name in row if name.startswith("opponent/")}}
        for row in record.opponent
        if any(name.startswith("opponent/") for name in row)
    ]
    environment = record.environment
    return replace(
        record,
        config={**record.config, "data": {**data, "cache": None}},
        environment={name: environment[name] for name in ENVIRONMENT if name in environment},
        opponent=tuple(_rounded(row) for row in rows[::EVERY]),
        curve=tuple(replace(one, measures=_rounded(one.measures)) for one in record.curve),
        draws={},
        predictions={},
        attempts=(),
        folder="",
        taken_from="",
        note=NOTE,
    )


def counting(kept: Iterable[RunRecord], study: Study, folder: StudyFolder) -> tuple[RunRecord, ...]:
    """Kept records that count for a study here, with the keys that its runs have here.

    A record counts if settings, images, labels, protocols and threads are equal, on whatever
    machine and by whatever version of PyTorch the run was made. Another version of this library
    does not count, unless one of the two is not known.

    Args:
        kept: records of its runs.
        study: the plan.
        folder: where the runs are made; it need not exist, unless arms are equal in time, whose
            seconds of a step it then holds.

    Raises:
        ConfigError: for settings that are not accepted, or equal time without measured seconds.
        DataError: if images or test sets cannot be opened.
    """
    here = {order.name: order.key for order in orders(study, folder)}
    known: dict[tuple[str, ...], Mapping[RunName, str]] = {}
    found = []
    for record in kept:
        versions = versions_in(record.environment)
        if tuple(versions.values()) not in known:
            made = orders(study, folder, versions=versions)
            known[tuple(versions.values())] = {order.name: order.key for order in made}
        is_equal = record.key == known[tuple(versions.values())].get(record.name)
        if record.status == "finished" and is_equal and _is_of_this_library(versions):
            rest = {name: value for name, value in record.environment.items() if name != "sparring"}
            found.append(replace(record, key=here[record.name], environment=rest))
    return tuple(found)


def kept_step_seconds(kept: Iterable[RunRecord], study: Study) -> dict[str, float]:
    """Seconds of a step of each arm with which runs get the lengths that kept ones of equal time
    have, on whatever machine those were measured; empty unless every arm has such a run.

    Args:
        kept: records of its runs.
        study: the plan.
    """
    whole = {
        one.name.arm: one
        for one in kept
        if (one.status, one.name.budget, one.name.share) == ("finished", "time", max(study.shares))
    }
    if study.equal == "images" or not {arm.name for arm in study.arms} <= whole.keys():
        return {}
    seconds = whole[reference_arm(study)].seconds
    return {arm.name: seconds / whole[arm.name].steps for arm in study.arms}


def _is_of_this_library(versions: Mapping[str, str]) -> bool:
    there, here = versions["sparring"], installed_versions()["sparring"]
    return not there or not here or there == here


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in values.items()}
