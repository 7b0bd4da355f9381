"""Reading of files that others hand over: regular ones only, and again after a passing fault.

Opening a named pipe waits for a writer, and a device may never end, so both are refused unopened.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from difflib import get_close_matches
from io import FileIO
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

MOST_BYTES = 8 * 2**30
"""Largest file in bytes that is read whole."""
PASSING = frozenset((errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR))
"""Errors by which disks and network file systems report what may be over a moment later."""
PAUSES_SECONDS = (0.05, 0.5)
"""Pauses before a read is tried again."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_regular(path: str | Path) -> None:
    """Refuse what is not a regular file or a link to one, without opening it.

    Raises:
        OSError: for a path that is missing, not a regular file, or no path at all.
    """
    try:
        state = os.stat(path)  # noqa: PTH116 - five times faster than Path, for every image
    except ValueError:  # a NUL, or characters that no name can have
        raise OSError(errno.EINVAL, "not a name that a file can have", str(path)) from None
    _require_regular(state, path)


def open_regular(path: str | Path) -> FileIO:
    """Open a regular file for reading, unbuffered; nothing waits, whatever lies there.

    Raises:
        OSError: like `require_regular`, and if it cannot be opened.
    """
    require_regular(path)
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = FileIO(number, "rb")
    try:
        _require_regular(os.fstat(number), path)  # it may have been exchanged since
    except OSError:
        file.close()
        raise
    return file


def read_once(path: str | Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """Content of a regular file, without another try.

    Args:
        path: the file.
        most_bytes: largest size that is read.

    Raises:
        OSError: like `open_regular`, and for a larger file.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise OSError(errno.EFBIG, f"larger than {most_bytes / 2**30:g} GiB", str(path))
        content = file.readall()
    if content is None:  # a file of the kernel's that waits for something
        raise OSError(errno.EAGAIN, "not a file that can be read at once", str(path))
    return content


def read_bytes(path: str | Path) -> bytes:
    """Content of a regular file of at most `MOST_BYTES`; a passing fault is waited for.

    Raises:
        OSError: like `read_once`.
    """
    return tried_again(lambda: read_once(path))


def read_text(path: str | Path, *, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Text of a regular file, its line ends as they are.

    Raises:
        OSError: like `read_bytes`.
        UnicodeDecodeError: like `bytes.decode`.
    """
    return read_bytes(path).decode(encoding, errors)


def tried_again(read: Callable[[], Found]) -> Found:
    """Result of a read, which is called again after errors of `PASSING`, with a short pause.

    Raises:
        OSError: at once for all other errors, such as a missing file; that of the last try.
    """
    for pause in PAUSES_SECONDS:
        try:
            return read()
        except OSError as error:
            if error.errno not in PASSING:
                raise
        time.sleep(pause)
    return read()


def _require_regular(state: os.stat_result, path: str | Path) -> None:
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(state.st_mode):
        kind = _KINDS.get(stat.S_IFMT(state.st_mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(path))


def near_path(path: str | Path) -> str:
    """Clause that names the most similar name beside a path that is missing; empty without one.

    Example:
        >>> near_path("/nowhere/at/all")
        ''
    """
    missing = Path(path)
    if missing.exists():
        return ""
    while missing != missing.parent and not missing.parent.is_dir():
        missing = missing.parent
    try:
        names = sorted(one.name for one in missing.parent.iterdir() if one.name.isprintable())
    except (OSError, ValueError):
        return ""
    near = get_close_matches(missing.name, names, n=1, cutoff=0.6)
    return f"; did you mean '{missing.parent / near[0]}'?" if near else ""
