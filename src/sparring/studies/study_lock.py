"""The lock of a study: one process runs it at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sparring.errors import RunError
from sparring.files import is_part, make_folder, not_written, open_without_following
from sparring.studies.folder import StudyFolder

LOCK = ".lock"
"""Name of the file that is locked; it holds nothing."""


@contextmanager
def locked(folder: StudyFolder) -> Iterator[None]:
    """Hold a study, whose folder is made if missing, against other processes.

    If an error ends the work before anything is written, the folder is as it was before.

    Raises:
        RunError: if another process holds it.
        StorageError: if the folder cannot be written.
    """
    is_new = not folder.path.exists()
    path = folder.path / LOCK
    try:
        make_folder(folder.path)
        number = open_without_following(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise not_written(path, error) from None
    try:
        _hold(number, folder)
        try:
            yield
        except BaseException:
            if not holds_anything(folder):
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    if is_new:
                        folder.path.rmdir()
            raise
    finally:
        os.close(number)


def holds_anything(folder: StudyFolder) -> bool:
    """Whether a folder holds more than a lock and what a killed writer left: temporary files, and
    the history of a plan that was not written any more."""
    if not folder.path.is_dir():
        return folder.path.exists()
    nothing = {LOCK} if folder.is_study() else {LOCK, folder.history.name}
    return any(path.name not in nothing and not is_part(path) for path in folder.path.iterdir())


def require_unheld(folder: StudyFolder) -> None:
    """Refuse a study that another process plays now, without holding or writing anything.

    Raises:
        RunError: if there is such a process.
    """
    if is_held(folder):
        raise _in_use(folder)


def is_held(folder: StudyFolder) -> bool:
    """Whether a process plays the study now, as far as this machine knows."""
    return is_locked(folder.path / LOCK)


def is_locked(path: Path) -> bool:
    """Whether a process of this machine holds the lock of a file, which is not written."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(number)
    return False


def _hold(number: int, folder: StudyFolder) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(folder) from None
    except OSError:  # no locks on this file system
        return


def _in_use(folder: StudyFolder) -> RunError:
    return RunError(
        f"{folder.path} is in use by another process; watch it with "
        f"`sparring compare {folder.path} --watch`, or choose another --out"
    )
