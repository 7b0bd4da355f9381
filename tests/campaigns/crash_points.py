"""Crash points: a process that dies at the n-th change of its files, and a disk that then loses
what was not synchronised.

`Disk.install` replaces the functions of `os` and `io` in a child process. Every change below one
folder counts: opening a new file, writing, fsync, rename, link, unlink, mkdir. Each is put down
before it happens. `lose` reads this afterwards and takes back what a loss of power may take: bytes
that were written after the last fsync of their file, and names that were changed after the last
fsync of their folder.
"""

# Paths are those that the replaced functions of os receive.
# ruff: noqa: PTH103, PTH104, PTH108, PTH109, PTH112, PTH113, PTH115, PTH118, PTH120

import builtins
import io
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Loss = Literal["nothing", "bytes", "names and bytes"]


class Disk:
    """Changes below a folder, put down one by one.

    Args:
        root: folder that is watched.
        trace: file outside of it that receives the changes.
        strike: number of the change, from 1, at which the process kills itself: before it, or, if
            bytes are written, after half of them. None: never.
    """

    def __init__(self, root: Path, trace: Path, strike: int | None = None) -> None:
        self._root, self._strike = f"{root.resolve()}/", strike
        self._replaced = trace.with_name(f"{trace.name}.replaced")
        self._replaced.mkdir(exist_ok=True)
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._changes, self._shadows = itertools.count(1), itertools.count()
        self._link, self._open = os.link, io.open

    def note(self, what: str, *values: object) -> None:
        """Put down something that is no change, such as a step that was reported as saved."""
        os.write(self._trace, json.dumps([what, *values]).encode() + b"\n")

    def install(self) -> None:
        """Watch this process from now on."""
        for name in ("rename", "replace", "link"):
            self._watch(name, self._two_names)
        for name in ("unlink", "remove", "rmdir"):
            self._watch(name, self._removed)
        for name, watch in (("mkdir", self._made), ("open", self._opened), ("fsync", self._synced)):
            self._watch(name, watch)
        builtins.open = io.open = self._writing  # type: ignore[assignment]

    def change(self, what: str, *values: object) -> None:
        """Count a change and put it down; the process ends here if this is where it is to."""
        if self.is_due():
            self.die()
        self.note(what, *values)

    def is_due(self) -> bool:
        """Count a change; whether it is the one at which the process is to die."""
        return next(self._changes) == self._strike

    def die(self) -> None:
        """End the process as a loss of power would."""
        self.note("struck")
        os.kill(os.getpid(), signal.SIGKILL)

    def path(self, name: Any, folder: int | None = None) -> str | None:
        """Absolute path of a name or descriptor; None outside the watched folder."""
        if isinstance(name, int):
            found = os.readlink(f"/proc/self/fd/{name}")
        else:
            base = os.getcwd() if folder is None else os.readlink(f"/proc/self/fd/{folder}")
            found = os.path.normpath(os.path.join(base, os.fsdecode(name)))
        return found if f"{found}/".startswith(self._root) else None

    def _watch(self, name: str, watch: Callable[..., None]) -> None:
        real = getattr(os, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            watch(name, *arguments, **named)
            return real(*arguments, **named)

        setattr(os, name, watched)

    def _two_names(self, what: str, source: Any, target: Any, **named: Any) -> None:
        if (path := self.path(target)) is not None:
            kind = "linked" if what == "link" else "moved"
            self.change(kind, self.path(source), path, self._kept(path))

    def _removed(self, what: str, name: Any, *, dir_fd: int | None = None) -> None:
        if (path := self.path(name, dir_fd)) is not None and os.path.lexists(path):
            self.change("removed", path, self._kept(path))

    def _made(self, what: str, name: Any, *mode: Any, dir_fd: int | None = None) -> None:
        if (path := self.path(name, dir_fd)) is not None and not os.path.lexists(path):
            self.change("made", path)

    def _opened(self, what: str, name: Any, flags: int, *mode: Any, **named: Any) -> None:
        if flags & os.O_CREAT:
            self._made(what, name, **named)

    def _synced(self, what: str, number: int) -> None:
        if (path := self.path(number)) is not None:
            state = os.fstat(number)
            self.change("synced", path, state.st_ino, state.st_size)

    def _writing(self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any):
        """`io.open`, with files below the folder that count what is written to them."""
        is_written = bool(set("wxa") & set(mode)) and self.path(file) is not None
        if not is_written:
            return self._open(file, mode, buffering, *rest, **named)
        if not isinstance(file, int):
            self._made("open", file)
        raw = _CountedFile(self, file, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **named)

    def _kept(self, path: str) -> str | None:
        """Another name of a file that is about to lose its own."""
        if not os.path.isfile(path):
            return None
        shadow = self._replaced / str(next(self._shadows))
        self._link(path, shadow)
        return str(shadow)


class _CountedFile(io.FileIO):
    """File whose writes are changes of a disk."""

    def __init__(self, disk: Disk, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self._disk = disk

    def write(self, content: Any) -> int:
        """Write; half of it if the process is to die here."""
        self._disk.note("written", os.fstat(self.fileno()).st_ino)
        if self._disk.is_due():
            with memoryview(content).cast("B") as view:
                super().write(view[: len(view) // 2])
            self._disk.die()
        return super().write(content)


def read_trace(trace: Path) -> list[list[Any]]:
    """What a process put down, in order."""
    return [json.loads(line) for line in trace.read_bytes().splitlines() if line.endswith(b"]")]


def num_changes(notes: list[list[Any]]) -> int:
    """Number of changes, at each of which a process can be struck."""
    return sum(note[0] not in ("saved", "struck") for note in notes)


def lose(root: Path, notes: list[list[Any]], loss: Loss) -> None:
    """Take back what a process left without fsync.

    Args:
        root: folder that was watched.
        notes: what the process put down.
        loss: bytes alone, as file systems that delay them do, or names of files as well.
    """
    if loss == "nothing":
        return
    synced = {note[2]: note[3] for note in notes if note[0] == "synced"}
    written = {note[1] for note in notes if note[0] == "written"}
    for path in [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]:
        state = path.stat()
        if state.st_ino in written and state.st_size > synced.get(state.st_ino, 0):
            os.truncate(path, synced.get(state.st_ino, 0))
    if loss == "names and bytes":
        for what, *values in reversed(_not_synced(notes)):
            _undo(what, *values)


def _not_synced(notes: list[list[Any]]) -> list[list[Any]]:
    """Changes of names after which their folder was not synchronised."""
    pending: list[list[Any]] = []
    for note in notes:
        if note[0] in ("made", "moved", "linked", "removed"):
            pending.append(note)
        elif note[0] == "synced":
            pending = [each for each in pending if os.path.dirname(_place(each)) != note[1]]
    return pending


def _place(note: list[Any]) -> str:
    """The name that a change made or took."""
    return str(note[2] if note[0] in ("moved", "linked") else note[1])


def _undo(what: str, *values: Any) -> None:
    if what in ("made", "linked"):
        path = values[0] if what == "made" else values[1]
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
    elif what == "moved":
        source, target, shadow = values
        if source is not None and os.path.lexists(target) and not os.path.lexists(source):
            os.rename(target, source)
        if shadow is not None and not os.path.lexists(target):
            os.link(shadow, target)
    elif values[1] is not None and not os.path.lexists(values[0]):
        os.makedirs(os.path.dirname(values[0]), exist_ok=True)
        os.link(values[1], values[0])
