"""The plan as it was written down before the first run, and what was changed later.

`plan.toml` is the resolved plan; `history.json` holds when it was first written, its hash, every
later change in words with its time and the number of runs that existed by then, the seconds of a
step that equal time was computed from, and the keys of the runs. A changed setting of an arm, of
the images or of the scoring gives its runs other keys: they are made anew, and `current` leaves out
the records of before, whose files stay until the new runs' records replace them.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sparring.config import Tree, read_toml, toml_text
from sparring.errors import ConfigError, RunError
from sparring.files import write_atomically
from sparring.regular_files import read_bytes, read_text
from sparring.studies.configs import placed
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Arm, Study
from sparring.studies.plan_changes import Change, differences
from sparring.studies.records import RunRecord
from sparring.studies.typed_json import from_json

HEADER = (
    "# Plan of a study, written by `sparring compare` before the first run.\n"
    "# Changes are noticed, recorded in history.json and marked in every output.\n\n"
)


@dataclass(frozen=True, kw_only=True)
class History:
    """What `history.json` holds.

    Attributes:
        first_written: when the plan was first written, ISO 8601.
        first_sha256: hash of plan.toml as it was first written.
        sha256: hash of plan.toml as it was last written by the library.
        plan: plan behind that hash, as plain values.
        changes: later changes, the first one first.
        step_seconds: by arm, the seconds of a step and a hash of the settings that were measured.
        keys: key of the run that each place of the plan stands for, by the name of its record.
        cautions: what the plan cannot show, as it was last told.
    """

    first_written: str
    first_sha256: str
    sha256: str
    plan: Tree
    changes: tuple[Change, ...] = ()
    step_seconds: Mapping[str, tuple[str, float]]
    keys: Mapping[str, str] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()


def written(
    folder: StudyFolder,
    study: Study,
    *,
    step_seconds: Mapping[str, float] | None = None,
    cautions: Sequence[str] | None = None,
    orders: Iterable[RunOrder] = (),
) -> tuple[Change, ...]:
    """Write the plan down, or record what has changed since; gives the changes noticed now.

    Call it before the first run, and whenever the study goes on.

    Args:
        folder: folder of the study.
        study: the plan that holds from now on.
        step_seconds: measured seconds of a step, by arm, for equal time; those stored before stay
            as they are, so that lengths do not change when a study goes on.
        cautions: of `plan_checks.cautions`, kept for outputs that are made without the images;
            None: those of before.
        orders: of its runs, whose keys are stored with the plan, so that `current` can tell later,
            without the images, which run each place of the plan stands for.

    Raises:
        RunError: if what the folder holds cannot be read.
        StorageError: if it cannot be written.
    """
    study = placed(study)
    text = plan_text(study)
    keys = {folder.place(one.name): one.key for one in orders}
    if not folder.is_study():
        history = History(
            first_written=_now(),
            first_sha256=_sha256(text),
            sha256=_sha256(text),
            plan=_plain(study),
            step_seconds=_measured({}, study, step_seconds or {}),
            keys=keys,
            cautions=tuple(cautions or ()),
        )
        _write(folder, history, text)
        return ()
    history, found = _read(folder), _found(folder, study)
    seconds = _measured(history.step_seconds, study, step_seconds or {})
    now = replace(
        history,
        sha256=_sha256(text),
        plan=_plain(study),
        changes=(*history.changes, *found),
        step_seconds=seconds,
        keys={**history.keys, **keys},
        cautions=history.cautions if cautions is None else tuple(cautions),
    )
    if now != history:
        _write(folder, now, text)
    return found


def changes(folder: StudyFolder) -> tuple[Change, ...]:
    """All changes of a study's plan since it was first written, the first one first.

    A plan.toml that was edited by hand since, and not yet gone on with, is among them. Empty if the
    folder holds no study.

    Raises:
        RunError: if history.json cannot be read.
    """
    if not folder.is_study() or not folder.history.is_file():
        return ()
    history = _read(folder)
    return (*history.changes, *_by_hand(folder, history))


def read_study(folder: StudyFolder) -> Study:
    """The plan that a folder holds.

    Raises:
        RunError: if it holds no study, or the plan cannot be read.
    """
    folder.require()
    try:
        return Study.build(read_toml(folder.plan))
    except ConfigError as error:
        raise RunError(f"{folder.plan}: {error}; put the plan back") from None


def step_seconds(folder: StudyFolder, study: Study) -> dict[str, float]:
    """Stored seconds of a step by arm; arms whose settings have changed since are left out, and
    have to be measured again."""
    if not folder.history.is_file():
        return {}
    stored, study = _read(folder).step_seconds, placed(study)
    return {
        arm.name: stored[arm.name][1]
        for arm in study.arms
        if arm.name in stored and stored[arm.name][0] == _settings_hash(study, arm)
    }


def cautions(folder: StudyFolder) -> tuple[str, ...]:
    """What the plan cannot show, as it was told when the study last went on; empty if the folder
    holds no study.

    Raises:
        RunError: if history.json cannot be read.
    """
    return _read(folder).cautions if folder.history.is_file() else ()


def current(folder: StudyFolder, records: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    """Records of the runs for which the plan stands now.

    A record of a run with other settings, images or versions, of before a change, is left out until
    the run has been made anew. Records of places that no order has named yet are left in.

    Raises:
        RunError: if history.json cannot be read.
    """
    keys = _read(folder).keys if folder.history.is_file() else {}
    return tuple(one for one in records if keys.get(folder.place(one.name), one.key) == one.key)


def pending(folder: StudyFolder, study: Study) -> tuple[Change, ...]:
    """Changes that `written` would record for this plan, edits of plan.toml by hand first; nothing
    is written. Empty if the folder holds no study.

    Raises:
        RunError: if what the folder holds cannot be read.
    """
    return _found(folder, study) if folder.is_study() else ()


def first_written(folder: StudyFolder) -> tuple[str, str]:
    """When the plan was first written, ISO 8601, and the hash that it had then.

    Raises:
        RunError: if history.json cannot be read.
    """
    history = _read(folder)
    return history.first_written, history.first_sha256


def plan_text(study: Study) -> str:
    """Content of plan.toml, with a table of its own for every arm, contrast and test set."""
    return HEADER + toml_text(_plain(study))


def _plain(study: Study) -> Tree:
    tree: Tree = json.loads(json.dumps(placed(study).tree()))
    return tree


def _found(folder: StudyFolder, study: Study) -> tuple[Change, ...]:
    """Changes since the plan was last written: those by hand, then those of this plan."""
    history = _read(folder)
    by_hand = _by_hand(folder, history)
    before = _tree_now(folder) if by_hand else _complete(history.plan)
    now, count = _now(), _num_records(folder)
    found = differences(before, _plain(study))
    return (*by_hand, *(Change(time=now, what=what, num_records=count) for what in found))


def _by_hand(folder: StudyFolder, history: History) -> tuple[Change, ...]:
    """What was edited in plan.toml itself since the library wrote it."""
    if _sha256(read_text(folder.plan, errors="replace")) == history.sha256:
        return ()
    found = list(differences(_complete(history.plan), _tree_now(folder)))
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(folder.plan.stat().st_mtime))
    return tuple(
        Change(time=when, what=what, num_records=_num_records(folder), by_hand=True)
        for what in found
    )


def _tree_now(folder: StudyFolder) -> Tree:
    """Plan in the folder as plain values, defaults included."""
    return _plain(read_study(folder))


def _complete(plan: Mapping[str, Any]) -> Tree:
    """Stored plan with the defaults of fields that its version did not have."""
    try:
        return _plain(Study.build(plan))
    except ConfigError:
        return dict(plan)


def _measured(
    known: Mapping[str, tuple[str, float]], study: Study, now: Mapping[str, float]
) -> dict[str, tuple[str, float]]:
    """Seconds of a step by arm: the stored ones where they are of these settings, else new ones."""
    found = {name: tuple(pair) for name, pair in known.items()}
    for arm in study.arms:
        own = _settings_hash(study, arm)
        if arm.name in now and found.get(arm.name, ("",))[0] != own:
            found[arm.name] = (own, now[arm.name])
    return found  # type: ignore[return-value]


def _settings_hash(study: Study, arm: Arm) -> str:
    """Hash of what decides how long a step of an arm takes."""
    own = [arm.method, arm.opponent, arm.recipe or study.recipe, arm.settings, study.settings]
    text = json.dumps([*own, study.threads, study.device], sort_keys=True)
    return _sha256(text)[:16]


def _num_records(folder: StudyFolder) -> int:
    return len(list(folder.records.glob("*.json")))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _write(folder: StudyFolder, history: History, text: str) -> None:
    """Both files; the history first, so that a plan without one is never taken for edited."""
    _write_history(folder, history)
    write_atomically(folder.plan, text.encode(errors="surrogateescape"))


def _write_history(folder: StudyFolder, history: History) -> None:
    content = json.dumps(asdict(history), indent=1, sort_keys=True) + "\n"
    write_atomically(folder.history, content.encode(errors="surrogateescape"))


def _read(folder: StudyFolder) -> History:
    try:
        return from_json(History, read_bytes(folder.history))
    except OSError as error:
        raise RunError(
            f"cannot read {folder.history}: {error.strerror or error}; without it nobody can tell "
            "whether the plan was changed. Put it back, or choose another --out"
        ) from None
    except ValueError as error:
        raise RunError(
            f"{folder.history} is damaged ({error}); put it back, or choose another --out"
        ) from None
