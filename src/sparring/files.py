"""Files and folders that appear whole or not at all, and that follow no link already in place.

Whoever writes works under a temporary name of its own, created exclusively, and holds a lock on it
while it lives. So the leftovers of a killed process are known from work in progress, and the next
writer in the same folder removes them.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sparring.errors import StorageError, UsageError

AGAIN = "free some space and run the command again"
"""What to do about a full disk."""
ABANDONED_SECONDS = 86_400
"""Age from which unfinished work counts as left behind where files cannot be locked."""
_SHOWN = 40
"""Characters of the final name that a temporary one shows."""
_PART = re.compile(r"\..*\.[0-9a-f]{8}\.sparring\.part", re.DOTALL)


def write_atomically(path: Path, content: bytes, *, advice: str = AGAIN) -> None:
    """Write a file atomically: a reader sees the old or the new content, never a part.

    A link in the place of the file is replaced, and what it points to stays as it is.

    Args:
        path: file to write; missing folders are created.
        content: all of it.
        advice: what to do about a full disk.

    Raises:
        StorageError: if the disk is full or read-only, or something that is neither a file nor a
            link is in the way; the old file stays unchanged and nothing is left behind.
    """
    try:
        _require_replaceable(path)
        make_folder(path.parent)
        remove_abandoned(path.parent)
        part, number = _create_part(path)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(number)
                part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise not_written(path, error, advice=advice) from None


def refuse_folders(*places: str | Path | None) -> None:
    """Refuse a folder as the place of a file, before the work whose result it should hold.

    Args:
        *places: files to write later; None for one that is not wanted.

    Raises:
        UsageError: for the first that is a folder.
    """
    for place in places:
        if place is not None and Path(place).is_dir():
            raise UsageError(f"{place} is a folder; give the name of a file, in it or elsewhere")


def link_atomically(source: Path, place: Path, *, advice: str = AGAIN) -> None:
    """Give a file a second name, atomically; it is copied where the file system has no links.

    Args:
        source: file that is on the disk.
        place: its second name, in the same folder; what has this name now is replaced.
        advice: what to do about a full disk.

    Raises:
        StorageError: if the disk is full or read-only; what has the name now keeps it.
    """
    part = _part_name(place)
    try:
        os.link(source, part)
    except OSError:  # a file system without links
        write_atomically(place, source.read_bytes(), advice=advice)
        return
    try:
        part.replace(place)
        part.unlink(missing_ok=True)  # a rename onto the same file leaves both names
        sync_folder(place.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise not_written(place, error, advice=advice) from None


_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""NumPy's words for an array that did not fit on the disk; it gives no number of the error."""


def not_written(path: Path, error: OSError, *, advice: str = AGAIN) -> StorageError:
    """Error for a file that could not be written, with advice for a full disk."""
    is_short = error.errno is None and _SHORT_WRITE.fullmatch(str(error)) is not None
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) or is_short
    why = f"the disk is full; {advice}" if full else (error.strerror or str(error))
    return StorageError(f"cannot write {path}: {why}")


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Empty folder beside `place` for work that `publish` puts there; removed at the end if it is
    still under its temporary name.

    Raises:
        OSError: if it cannot be created.
    """
    make_folder(place.parent)
    remove_abandoned(place.parent)
    while True:
        part = _part_name(place)
        try:
            part.mkdir()
        except FileExistsError:
            continue
        try:
            number = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:  # swept away before it was locked
            continue
        if _holds(number):
            break
        os.close(number)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(number)


def publish(part: Path, place: Path) -> None:
    """Rename a folder of `new_folder` into its place, once all of its content is on the disk.

    Raises:
        OSError: if something other than an empty folder is in its place, or the disk fails.
    """
    for folder, _, names in os.walk(part):
        for name in names:
            sync_file(Path(folder, name))
        sync_folder(Path(folder))
    part.rename(place)
    sync_folder(place.parent)


def open_without_following(path: Path, flags: int) -> int:
    """Descriptor of a file, which is never reached through a link in its place.

    Raises:
        OSError: if it is a link, is not a regular file, or cannot be opened.
    """
    try:
        number = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(
                errno.ELOOP, "it is a link, and links are not followed; remove it"
            ) from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is not a regular file; remove it")
    return number


def make_folder(path: Path) -> None:
    """Create a folder and those above it, which outlast a loss of power.

    Raises:
        OSError: if one cannot be created.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Bring what was written to a file to the disk, by whichever descriptor it was written.

    Raises:
        OSError: if there is no such file, or the disk fails.
    """
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, where the file system can.

    Raises:
        OSError: if the disk fails.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder may be writable only
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(number)


def is_part(path: Path) -> bool:
    """Whether a name is a temporary one of this module."""
    return _PART.fullmatch(path.name) is not None


def remove_abandoned(folder: Path) -> None:
    """Remove what killed writers left in a folder; what vanishes meanwhile is no error."""
    with suppress(OSError):
        for path in [path for path in folder.iterdir() if is_part(path)]:
            with suppress(OSError):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:  # no locks here
            if time.time() - os.fstat(number).st_mtime < ABANDONED_SECONDS:
                return
        if stat.S_ISDIR(os.fstat(number).st_mode):
            shutil.rmtree(path, ignore_errors=True)
        elif stat.S_ISREG(os.fstat(number).st_mode):
            path.unlink()
    finally:
        os.close(number)


def _require_replaceable(path: Path) -> None:
    """Refuse a folder, a device and the like, also behind a link, before a file takes its place."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself
            return
        raise
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file; choose another name")


def _create_part(path: Path) -> tuple[Path, int]:
    """New file beside another, and its descriptor, which holds the lock."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    while True:
        part = _part_name(path)
        try:
            number = os.open(part, flags, 0o666)
        except FileExistsError:
            continue
        if _holds(number):
            return part, number
        os.close(number)


def _part_name(path: Path) -> Path:
    return path.with_name(f".{path.name[:_SHOWN]}.{secrets.token_hex(4)}.sparring.part")


def _holds(number: int) -> bool:
    """Whether the lock on a new file or folder was taken before another process swept it away."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return True
    return os.fstat(number).st_nlink > 0
