"""Whether a study can start or go on, before anything is written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.api import study_parts
from sparring.api.study_parts import Parts
from sparring.api.study_plans import Options, planned
from sparring.errors import ConfigError, RunError, StorageError
from sparring.studies import history
from sparring.studies.folder import StudyFolder
from sparring.studies.ordering import orders
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Study
from sparring.studies.plan_checks import cautions, hidden_cautions, require_sound
from sparring.studies.reading import read_plan
from sparring.studies.records import RunName, RunRecord
from sparring.studies.reuse import neighbours
from sparring.studies.study_lock import holds_anything, require_unheld
from sparring.studies.trust import require_data_only


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A study that can start or go on.

    Attributes:
        study: its plan.
        folder: its folder; of a new study it does not exist yet, or is empty.
        parts: functions that it is made with.
        is_new: whether nothing of it is written.
        changes: what the plan says otherwise than before.
        cautions: what the plan cannot show.
        hidden: those of them that only the images tell, to be stored; None: as they were.
        orders: of all runs; None if steps have to be measured first, for equal time.
        records: of its runs so far.
        reuse: other studies, whose finished runs are taken where they are equal.
        stale: finished runs that have to be made again: other images, settings or version.
        known: runs that other studies have finished.
    """

    study: Study
    folder: StudyFolder
    parts: Parts
    is_new: bool
    changes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    hidden: tuple[str, ...] | None = None
    orders: tuple[RunOrder, ...] | None = None
    records: tuple[RunRecord, ...] = ()
    reuse: tuple[Path, ...] = ()
    stale: frozenset[RunName] = frozenset()
    known: frozenset[RunName] = frozenset()

    @property
    def finished(self) -> frozenset[RunName]:
        """Runs that have scores and fit the plan, here or in another study."""
        own = {one.name for one in self.records if one.status == "finished"}
        return frozenset(own - self.stale) | self.known

    @property
    def needs_consent(self) -> bool:
        """Whether the study costs what nobody has agreed to yet."""
        return self.is_new or bool(self.changes) or bool(self.stale) or self.orders is None


def prepare(
    study: Study | str | Path | None,
    *,
    out: str | Path | None,
    options: Options,
    reuse: Sequence[str | Path] = (),
) -> Prepared:
    """A study that can start or go on; nothing is written.

    Args:
        study: as `compare` takes it.
        out: folder of the study; None: `study` is that folder.
        options: arguments from which a plan is made if `study` is None.
        reuse: folders of other studies, whose finished runs are taken where they are equal, besides
            those of the studies beside this one.

    Raises:
        UsageError: if the plan is not accepted, its images lack what scores need, or the folder
            holds something else.
    """
    others = [StudyFolder(path) for path in reuse]
    for other in others:
        other.require()
    wanted, folder, may_differ = _wanted(study, out, options)
    require_unheld(folder)
    is_new = not folder.is_study()
    if is_new:
        _require_free(folder)
    changes = () if is_new else _changes(folder, wanted)
    if changes and not may_differ:
        raise RunError(
            f"{folder.path} holds a study with another plan ({changes[0]}); choose another --out, "
            f"or change {folder.plan} and run `sparring compare {folder.path}`: the change will be "
            "marked"
        )
    if is_new or changes:
        require_sound(wanted)
    records = () if is_new else folder.read_records()
    made = _orders(wanted, folder, is_new=is_new)
    return Prepared(
        study=wanted,
        folder=folder,
        parts=study_parts.load_parts(),
        is_new=is_new,
        changes=changes,
        cautions=tuple(cautions(wanted)) if is_new or changes else (),
        hidden=tuple(hidden_cautions(wanted)) if is_new or changes else None,
        orders=made,
        records=records,
        reuse=tuple(other.path for other in others),
        stale=_stale(made or (), records),
        known=_known(made or (), folder, [other.path for other in others]),
    )


def _wanted(
    study: Study | str | Path | None, out: str | Path | None, options: Options
) -> tuple[Study, StudyFolder, bool]:
    """Plan and folder that are asked for, and whether the plan may differ from the folder's."""
    if study is None:
        if out is None:
            raise ConfigError("a new study needs a folder to create: give --out STUDY")
        return planned(options), StudyFolder(out), False
    if given := options.given():
        raise ConfigError(
            f"'{given[0]}' belongs to a new plan, and {_called(study)} has one already; leave it "
            "out, or change it in the plan"
        )
    if isinstance(study, Study) or Path(study).suffix == ".toml":
        if out is None:
            raise ConfigError(f"{_called(study)} needs a folder for its runs: give --out STUDY")
        plan = study if isinstance(study, Study) else read_plan(study)
        return plan, StudyFolder(out), True
    folder = StudyFolder(study)
    if out is not None and Path(out).resolve() != folder.path.resolve():
        raise ConfigError(
            f"{folder.path} is where the study is; leave --out {out} out, or name a PLAN.toml"
        )
    plan = history.read_study(folder)
    require_data_only(plan, folder)
    return plan, folder, True


def _called(study: Study | str | Path) -> str:
    return "the given study" if isinstance(study, Study) else str(study)


def _require_free(folder: StudyFolder) -> None:
    """Refuse a folder that holds something else, or that cannot be written."""
    if holds_anything(folder):
        raise RunError(f"{folder.path} exists and is not an empty folder; choose another --out")
    place = folder.path.absolute()
    above = next(path for path in (place, *place.parents) if path.exists())
    if not above.is_dir():
        raise StorageError(f"cannot create {folder.path}: {above} is not a folder")
    if not os.access(above, os.W_OK):
        raise StorageError(f"cannot create {folder.path}: {above} may not be written")


def _changes(folder: StudyFolder, study: Study) -> tuple[str, ...]:
    """What a plan says otherwise than the folder's, edits of plan.toml by hand included."""
    return tuple(change.what for change in history.pending(folder, study))


def _orders(study: Study, folder: StudyFolder, *, is_new: bool) -> tuple[RunOrder, ...] | None:
    """Orders of all runs; None if steps have to be measured first."""
    if study.equal != "images":
        known = {} if is_new else history.step_seconds(folder, study)
        if any(arm.name not in known for arm in study.arms):
            return None
    return tuple(orders(study, folder))


def _stale(made: Sequence[RunOrder], records: Sequence[RunRecord]) -> frozenset[RunName]:
    """Finished runs whose key is not that of the plan's order."""
    keys = {order.name: order.key for order in made}
    return frozenset(
        one.name
        for one in records
        if one.status == "finished" and one.key != keys.get(one.name, one.key)
    )


def _known(
    made: Sequence[RunOrder], folder: StudyFolder, others: Sequence[Path]
) -> frozenset[RunName]:
    """Runs that other studies have finished."""
    places = [*others, *neighbours(folder.path)]
    keys = {
        record.key
        for place in places
        for record in StudyFolder(place).readable_records()
        if record.status == "finished"
    }
    return frozenset(order.name for order in made if order.key in keys)
