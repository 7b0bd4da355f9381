"""Finished runs are recognised by content: the same configuration, images and version, in whatever
study they were made."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sparring.errors import RunError
from sparring.evaluation.predictions import Predictions
from sparring.files import write_atomically
from sparring.regular_files import read_bytes
from sparring.studies.attempts import AttemptLog, finished_record
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.records import RunRecord


@dataclass(frozen=True, kw_only=True)
class Reused:
    """Runs of a study that need not be made, and those that are left.

    Attributes:
        records: finished runs, this study's own and those taken over.
        left: orders of the other runs.
    """

    records: tuple[RunRecord, ...]
    left: tuple[RunOrder, ...]

    @property
    def taken(self) -> tuple[RunRecord, ...]:
        """Runs that come from other studies, or from another place of this one."""
        return tuple(one for one in self.records if one.taken_from)


def reuse(
    orders: Sequence[RunOrder], *, others: Iterable[str | Path] = (), beside: bool = True
) -> Reused:
    """Finished runs of these orders; equal ones of other studies, and those that this study has
    under another name, are written under the names of the orders.

    Damaged records, records of another version of the library, and those whose predictions are gone
    are not taken over: these runs are made again.

    Args:
        orders: of one study.
        others: folders of further studies.
        beside: whether to look into the studies that lie beside this one.
    """
    if not orders:
        return Reused(records=(), left=())
    own = Path(orders[0].study)
    known: dict[str, list[tuple[Path, RunRecord]]] | None = None
    records, left = [], []
    for order in orders:
        record = finished_record(order)
        if record is None:
            if known is None:
                known = _by_key([own, *map(Path, others), *(neighbours(own) if beside else ())])
            record = _taken(order, known.get(order.key, []))
        if record is None:
            left.append(order)
        else:
            records.append(record)
    return Reused(records=tuple(records), left=tuple(left))


def neighbours(study: str | Path) -> list[Path]:
    """Other studies in the folder in which a study lies."""
    own = Path(study).resolve()
    with suppress(OSError):
        return [
            path
            for path in sorted(own.parent.iterdir())
            if path.resolve() != own and StudyFolder(path).is_study()
        ]
    return []


def _by_key(folders: Iterable[Path]) -> dict[str, list[tuple[Path, RunRecord]]]:
    """Finished runs of studies by key, with the folder of each."""
    found: dict[str, list[tuple[Path, RunRecord]]] = {}
    for folder in dict.fromkeys(path.resolve() for path in folders):
        for path in sorted(StudyFolder(folder).records.glob("*.json")):
            with suppress(OSError, ValueError, TypeError, AttributeError):  # damaged
                record = RunRecord.decoded(read_bytes(path))
                if record.status == "finished" and _is_of_this_version(record):
                    found.setdefault(record.key, []).append((folder, record))
    return found


def _origin(folder: Path, record: RunRecord, study: StudyFolder) -> str:
    """Where a record comes from, in words: another study, or another run of this one."""
    is_own = folder == study.path.resolve()
    return f"this study ({record.name})" if is_own else str(folder)


def _taken(order: RunOrder, candidates: Iterable[tuple[Path, RunRecord]]) -> RunRecord | None:
    """The first of some records that can be taken over, after it was."""
    study = StudyFolder(order.study)
    for folder, record in candidates:
        if not {test.name for test in order.tests} <= record.scores.keys():
            continue
        with suppress(OSError, RunError), AttemptLog(order).alone():
            taken = replace(
                record,
                name=order.name,
                predictions=_copied_predictions(record, folder, study, order),
                folder="",
                taken_from=record.taken_from or _origin(folder, record, study),
            )
            study.write_record(taken)
            return taken
    return None


def _copied_predictions(
    record: RunRecord, folder: Path, study: StudyFolder, order: RunOrder
) -> dict[str, dict[str, str]]:
    """Paths of the predictions below the study, into which they are copied.

    Raises:
        RunError: if one is missing or damaged; nothing is copied then.
    """
    files = [path for found in record.predictions.values() for path in found.values()]
    for path in files:
        Predictions.read(StudyFolder(folder).inside(path))
    copies = {}
    for path in files:
        copy = study.predictions / study.place(order.name) / Path(path).name
        write_atomically(copy, read_bytes(folder / path))
        copies[path] = str(copy.relative_to(study.path))
    return {
        test: {protocol: copies[path] for protocol, path in found.items()}
        for test, found in record.predictions.items()
    }


def _is_of_this_version(record: RunRecord) -> bool:
    """Whether a run was made by the installed version of the library, as far as it says."""
    with suppress(PackageNotFoundError):
        return bool(record.environment.get("sparring", version("sparring")) == version("sparring"))
    return True
