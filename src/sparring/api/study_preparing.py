"""Whether a study can start or go on, before anything is written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.api import study_parts
from sparring.api.study_parts import Parts
from sparring.api.study_plans import Options, difference, planned, require_labels
from sparring.errors import ConfigError, RunError, StorageError
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Study
from sparring.studies.records import RunName, RunRecord
from sparring.studies.study_lock import holds_anything, require_unheld


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A study that can start or go on.

    Attributes:
        study: its plan.
        folder: its folder; of a new study it does not exist yet, or is empty.
        parts: functions that it is made with.
        is_new: whether nothing of it is written.
        change: what the plan says otherwise than the folder's; empty: nothing.
        cautions: what the plan cannot show.
        records: of its runs so far.
        reuse: other studies, whose finished runs are taken where they are equal.
        stale: finished runs that have to be made again: other images, settings or version.
    """

    study: Study
    folder: StudyFolder
    parts: Parts
    is_new: bool
    change: str = ""
    cautions: tuple[str, ...] = ()
    records: tuple[RunRecord, ...] = ()
    reuse: tuple[Path, ...] = ()
    stale: frozenset[RunName] = frozenset()

    @property
    def finished(self) -> set[RunName]:
        """Runs that have scores and fit the plan."""
        return {one.name for one in self.records if one.status == "finished"} - self.stale

    @property
    def needs_consent(self) -> bool:
        """Whether the study costs what nobody has agreed to yet."""
        return self.is_new or bool(self.change) or bool(self.stale)


def prepare(
    study: Study | str | Path | None,
    *,
    out: str | Path | None,
    options: Options,
    reuse: Sequence[str | Path] = (),
    parts: Parts | None = None,
) -> Prepared:
    """A study that can start or go on; nothing is written.

    Args:
        study: as `compare` takes it.
        out: folder of the study; None: `study` is that folder.
        options: arguments from which a plan is made if `study` is None.
        reuse: folders of other studies, whose finished runs are taken where they are equal.
        parts: functions to make it with; None: the library's.

    Raises:
        UsageError: if the plan is not accepted, its images lack what scores need, or the folder
            holds something else.
    """
    parts = parts or study_parts.load_parts()
    wanted, folder, is_edited = _wanted(study, out, options, parts)
    require_unheld(folder)
    is_new = not folder.is_study()
    if is_new:
        _require_free(folder)
    change = "" if is_new else difference(parts.read_plan(folder.plan), wanted)
    if change and not is_edited:
        raise RunError(
            f"{folder.path} holds a study with another plan ({change}); choose another --out, or "
            f"change {folder.plan} and run `sparring compare {folder.path}`: the change will be "
            "marked"
        )
    if refused := list(parts.refusals(wanted)):
        raise ConfigError(refused[0])
    others = [StudyFolder(path) for path in reuse]
    for other in others:
        other.require()
    if is_new:
        require_labels(wanted)
    records = () if is_new else folder.read_records()
    return Prepared(
        study=wanted,
        folder=folder,
        parts=parts,
        is_new=is_new,
        change=change,
        cautions=tuple(parts.cautions(wanted)),
        records=records,
        reuse=tuple(other.path for other in others),
        stale=_stale(wanted, folder, records, parts) if records else frozenset(),
    )


def _stale(
    study: Study, folder: StudyFolder, records: tuple[RunRecord, ...], parts: Parts
) -> frozenset[RunName]:
    """Finished runs whose key is not that of the plan's order."""
    keys = {order.name: order.key for order in parts.orders(study, folder)}
    return frozenset(
        one.name
        for one in records
        if one.status == "finished" and one.key != keys.get(one.name, one.key)
    )


def _wanted(
    study: Study | str | Path | None, out: str | Path | None, options: Options, parts: Parts
) -> tuple[Study, StudyFolder, bool]:
    """Plan and folder that are asked for, and whether the plan may differ from the folder's."""
    if study is None:
        if out is None:
            raise ConfigError("a new study needs a folder to create: give --out STUDY")
        return planned(options, parts.arms_of), StudyFolder(out), False
    if given := options.given():
        raise ConfigError(
            f"'{given[0]}' belongs to a new plan, and {_called(study)} has one already; leave it "
            "out, or change it in the plan"
        )
    if isinstance(study, Study) or Path(study).suffix == ".toml":
        if out is None:
            raise ConfigError(f"{_called(study)} needs a folder for its runs: give --out STUDY")
        plan = study if isinstance(study, Study) else parts.read_plan(Path(study))
        return plan, StudyFolder(out), True
    folder = StudyFolder(study)
    if out is not None and Path(out).resolve() != folder.path.resolve():
        raise ConfigError(
            f"{folder.path} is where the study is; leave --out {out} out, or name a PLAN.toml"
        )
    folder.require()
    return parts.read_plan(folder.plan), folder, True


def _called(study: Study | str | Path) -> str:
    return "the given study" if isinstance(study, Study) else str(study)


def _require_free(folder: StudyFolder) -> None:
    """Refuse a folder that holds something else, or that cannot be written."""
    if holds_anything(folder):
        raise RunError(f"{folder.path} exists and is not an empty folder; choose another --out")
    above = next(
        path for path in (folder.path.absolute(), *folder.path.absolute().parents) if path.exists()
    )
    if not above.is_dir():
        raise StorageError(f"cannot create {folder.path}: {above} is not a folder")
    if not os.access(above, os.W_OK):
        raise StorageError(f"cannot create {folder.path}: {above} may not be written")
