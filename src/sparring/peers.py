"""The other processes of a run: whether they live, and why one has ended.

Each process counts upwards in the store by which the processes met, and looks at the next one's
count. So a process that was killed, or whose machine is gone, is found within seconds, also while
this one waits for it on a GPU, where an exchange with it never ends. A process that fails says why
before it ends.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, Store  # mypy sees no others

from sparring import distributed
from sparring.errors import LostProcessError, SparringError, TrainingError
from sparring.rendezvous import connect

BEAT_SECONDS = 1.0
"""Time between two beats of a process."""
SILENT_SECONDS = 20.0
"""Time without a beat after which a process counts as ended."""
LOOK_SECONDS = 3.0
"""Time without a beat after which a process counts as ended once an exchange has failed."""
GRACE_SECONDS = 5.0
"""Time that the main thread has to end by itself once another process has ended."""
_STORE_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True)
class Ended:
    """Processes that have ended before the run was done.

    Attributes:
        ranks: their ranks.
        reason: error with which the first of them ended, which it has printed; empty: unknown.
        exit_code: exit code of the first of them.
    """

    ranks: tuple[int, ...]
    reason: str = ""
    exit_code: int = 1


class _Watch:
    """Watch over the other processes.

    Args:
        store: shared by all processes, for this run alone.
        rank: rank of this process.
        count: number of processes.
    """

    def __init__(self, store: Store, *, rank: int, count: int) -> None:
        self._found: Ended | None = None
        self._store, self._rank, self._count = store, rank, count
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sparring-peers", daemon=True)
        self._beats = 0

    def start(self) -> None:
        """Begin to beat and to watch."""
        self._beat()
        self._thread.start()

    def leave(self, error: BaseException | None) -> None:
        """Stop watching, and tell the others why this process ends, if it fails."""
        self._is_over.set()
        with suppress(RuntimeError):
            if error is None or isinstance(error, LostProcessError):
                self._store.set(f"left/{self._rank}", "")
                return
            code = error.exit_code if isinstance(error, SparringError) else 1
            self._store.set(f"error/{self._rank}", f"{type(error).__name__}: {error}")
            self._claim(Ended((self._rank,), _sentence(error), code))

    def keep(self, sentence: str) -> None:
        """Let every process know what is kept of the run."""
        with suppress(RuntimeError):
            self._store.set("kept", sentence)

    def is_said_by_main(self) -> bool:
        """Whether the main process ends with the same error as this one and prints it."""
        if self._rank == 0:
            return False
        end = time.monotonic() + LOOK_SECONDS
        with suppress(RuntimeError):
            while time.monotonic() < end:
                if self._store.check(["error/0"]):
                    same: bool = self._store.get("error/0") == self._store.get(
                        f"error/{self._rank}"
                    )
                    time.sleep(0.5)  # it prints meanwhile; torchrun ends all when the first exits
                    return same
                time.sleep(0.05)
        return False

    def lost(self) -> LostProcessError | None:
        """Error about the processes that have ended, found by asking all of them; None if all
        live."""
        try:
            found = self._found or self._ended() or self._silent()
        except RuntimeError:  # the store is gone, and with it the process that held it
            found = Ended((0,))
        return None if found is None else self._error(found)

    def _error(self, found: Ended) -> LostProcessError:
        error = LostProcessError(self._line(found), is_told=not self._prints(found))
        error.exit_code = found.exit_code
        return error

    def _line(self, found: Ended) -> str:
        names = " and ".join(map(str, found.ranks))
        who = f"process {names} of {self._count} has ended"
        if len(found.ranks) > 1:
            who = f"processes {names} of {self._count} have ended"
        kept = "nothing had been saved yet"
        with suppress(RuntimeError):
            kept = self._store.get("kept").decode() if self._store.check(["kept"]) else kept
        return f"{who}{f': {found.reason}' if found.reason else ''}; {kept}"

    def _prints(self, found: Ended) -> bool:
        """Whether this process prints it: the first of those that live, if nobody else did."""
        living = [rank for rank in range(self._count) if rank not in found.ranks]
        return not found.reason and living[0] == self._rank

    def _claim(self, found: Ended) -> Ended:
        """What all processes hold for true, which is what the first one found."""
        content = json.dumps([found.ranks, found.reason, found.exit_code])
        return _read(self._store.compare_set("ended", "", content))

    def _ended(self) -> Ended | None:
        return _read(self._store.get("ended")) if self._store.check(["ended"]) else None

    def _silent(self) -> Ended | None:
        """Processes that do not beat for a while."""
        others = [rank for rank in range(self._count) if rank != self._rank]
        before = self._beats_of(others)
        end = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < end:
            time.sleep(BEAT_SECONDS / 4)
            if (found := self._ended()) is not None:
                return found
        now = self._beats_of(others)
        silent = tuple(rank for rank in others if before[rank] == now[rank] and now[rank] != "left")
        return self._claim(Ended(silent)) if silent else None

    def _beats_of(self, ranks: Sequence[int]) -> dict[int, str]:
        found = {}
        for rank in ranks:
            key = f"beat/{rank}"
            found[rank] = self._store.get(key).decode() if self._store.check([key]) else ""
            found[rank] = "left" if self._store.check([f"left/{rank}"]) else found[rank]
        return found

    def _beat(self) -> None:
        self._beats += 1
        self._store.set(f"beat/{self._rank}", str(self._beats))

    def _work(self) -> None:
        """Beat, and watch the next process, until the run is over or a process has ended."""
        following = (self._rank + 1) % self._count
        seen, heard_at, reached_at = "", time.monotonic(), time.monotonic()
        while self._found is None and not self._is_over.wait(BEAT_SECONDS):
            now = time.monotonic()
            try:
                self._beat()
                beat, self._found = self._beats_of([following])[following], self._ended()
                reached_at = now
                if beat != seen or beat == "left":
                    seen, heard_at = beat, now
                elif now - heard_at > SILENT_SECONDS and self._found is None:
                    self._found = self._claim(Ended((following,)))
            except RuntimeError:
                if now - reached_at > SILENT_SECONDS:
                    self._found = Ended((0,))
        if self._found is not None and not self._is_over.wait(GRACE_SECONDS):
            self._exit(self._found)

    def _exit(self, found: Ended) -> None:
        """End this process, whose main thread waits for one that has ended, perhaps on a GPU."""
        if self._prints(found):
            sys.stderr.write(f"error: {self._line(found)}\n")
            sys.stderr.flush()
        os._exit(found.exit_code)


@dataclass
class _State:
    """The watch of the run in progress, or of the last one, and the number of runs so far."""

    watch: _Watch | None = None
    num_runs: int = 0


_state = _State()


@contextmanager
def watched() -> Iterator[None]:
    """Watch the other processes of a run within the context; for a single process, nothing.

    If another process ends meanwhile and this one waits for it in vain, this process is ended too,
    after one line on standard error.

    Raises:
        LostProcessError: naming the process that has ended, in place of the error of the exchange
            that failed.
    """
    if distributed.num_processes() == 1 or "MASTER_PORT" not in os.environ:
        yield
        return
    _state.num_runs += 1
    run = PrefixStore(f"sparring/{_state.num_runs}", connect(_STORE_TIMEOUT))
    watch = _Watch(run, rank=distributed.rank(), count=distributed.num_processes())
    _state.watch = watch
    watch.start()
    try:
        with explained():
            yield
    except BaseException as error:
        watch.leave(error)
        raise
    watch.leave(None)


@contextmanager
def explained() -> Iterator[None]:
    """Context in which the error of a failed exchange becomes one that names the process that has
    ended.

    Raises:
        LostProcessError: see above.
        TrainingError: if all processes live.
    """
    try:
        yield
    except LostProcessError as error:
        watch = _state.watch
        if watch is None or error.__cause__ is None:  # it names the process already
            raise
        raise watch.lost() or TrainingError(str(error)) from None


def keep(sentence: str) -> None:
    """Say what is kept of the run if a process ends from now on."""
    if _state.watch is not None:
        _state.watch.keep(sentence)


def speaker(error: BaseException | None) -> str | None:
    """Beginning of the line in which this process, one of several, prints the error with which it
    ends; None: it prints none, since another process prints it.

    The main process prints its error, and another process one that is its own.
    """
    if isinstance(error, LostProcessError):
        return None if error.is_told else ""
    rank, count = os.environ.get("RANK", "0"), os.environ["WORLD_SIZE"]
    if rank == "0":
        return ""
    if _state.watch is None:
        time.sleep(LOOK_SECONDS)  # before the processes met: torchrun ends all when one exits
    elif _state.watch.is_said_by_main():
        return None
    return f"process {rank} of {count}: "


def linger() -> None:
    """Let the others read why this process ends, if the store ends with it."""
    holds_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True)
    if _state.watch is not None and os.environ.get("RANK") == "0" and holds_store:
        time.sleep(1.5 * BEAT_SECONDS)


def _read(content: bytes) -> Ended:
    ranks, reason, exit_code = json.loads(content)
    return Ended(tuple(ranks), reason, exit_code)


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or "it was stopped"
