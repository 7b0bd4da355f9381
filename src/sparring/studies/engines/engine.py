"""The runs of a study, made on an engine that exists: processes here, dask, or SLURM."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from sparring.config import Settings
from sparring.data.cores import num_cores
from sparring.errors import ConfigError, unknown_name
from sparring.studies.attempts import finished_record
from sparring.studies.engines.options import DaskOptions, LocalOptions, SlurmOptions
from sparring.studies.engines.time_limit import TimeLimit
from sparring.studies.engines.tries import Tries
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunCall, RunOrder
from sparring.studies.records import RunRecord
from sparring.training.listener import Listener

OPTIONS: Mapping[str, type[Settings]] = {
    "local": LocalOptions,
    "dask": DaskOptions,
    "slurm": SlurmOptions,
}
"""Engines by name, and the options of each."""
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an engine has to do.

    Attributes:
        orders: runs to make, in this order as far as workers are free.
        call: makes one of them.
        tries: receives every answer, and says which runs are tried again.
        workers: how many runs at once; None: the engine chooses.
        folder: where the engine may keep files of its own.
        options: the engine's.
        listener: receives what the engine has to say.
        limit: of time for all runs together; None: there is none.
    """

    orders: Sequence[RunOrder]
    call: RunCall
    tries: Tries
    workers: int | None
    folder: Path
    options: Settings
    listener: Listener | None
    limit: TimeLimit | None = None

    @property
    def threads(self) -> int:
        """Threads of each run."""
        return max(order.threads for order in self.orders)

    @property
    def devices(self) -> list[str]:
        """GPUs of this machine on which the runs compute, as CUDA_VISIBLE_DEVICES names them."""
        asked = {str(order.train.get("device") or "auto") for order in self.orders}
        if not asked <= {"auto", "cuda"}:
            return []
        import torch

        count = torch.cuda.device_count()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        named = [name.strip() for name in visible.split(",") if name.strip()]
        return named[:count] if named else [str(number) for number in range(count)]

    @property
    def room(self) -> int:
        """Runs that have a GPU of this machine to themselves, or else `threads` cores."""
        return len(self.devices) or max(1, num_cores() // self.threads)

    @property
    def num_workers(self) -> int:
        """Number of runs at once on this machine: as asked, else as there is room for; never more
        than there are runs."""
        return max(1, min(self.workers or self.room, len(self.orders)))


class Engine(Protocol):
    """A module of this package that makes runs."""

    def run(self, work: Work) -> None:
        """Make all runs, and give every answer to `work.tries`."""

    def require(self, options: Settings) -> None:
        """Refuse to begin where no run could be made."""


def run_orders(
    orders: Sequence[RunOrder],
    *,
    call: RunCall,
    engine: str = "local",
    workers: int | None = None,
    retries: int = 2,
    options: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    listener: Listener | None = None,
    limit: TimeLimit | None = None,
) -> list[RunRecord]:
    """The records of all runs, in the order of their orders; a run that failed has one too.

    With a limit of time, those that have ended within it.

    A run that is finished in its study is not made again. One that fails, or whose process is
    killed, goes on from its checkpoint. Ctrl-C stops all runs, which save first; the same call goes
    on with them.

    Args:
        orders: of the runs, of one study.
        call: function of a module that makes a run.
        engine: `local`, `dask` or `slurm`.
        workers: how many runs at once; None: one per GPU, else as many as there are cores for; with
            slurm as many as the cluster gives.
        retries: how often a run that failed is tried again, unless that cannot mend it.
        options: of the engine; see `engines.options`.
        folder: where the engine may keep files of its own; None: in the study.
        listener: told about every run that ends.
        limit: of time, after which the runs are asked to save and stop; engine `local` only.

    Raises:
        ConfigError: for an unknown engine or option, or an engine that is not installed or takes no
            limit.
        KeyboardInterrupt: after a signal; workers have ended.
    """
    if engine not in OPTIONS:
        raise ConfigError(unknown_name("engine", engine, OPTIONS))
    chosen = OPTIONS[engine].build(options or {}, where=engine)
    if limit is not None:
        require_limited(engine)
    _require_own_places(orders)
    tries = Tries(orders, retries=retries, listener=listener)
    left = []
    for order in orders:
        if (record := finished_record(order)) is None:
            left.append(order)
        else:
            tries.keep(record)
    if left:
        work = Work(
            orders=left,
            call=call,
            tries=tries,
            workers=workers,
            folder=Path(folder) if folder is not None else StudyFolder(left[0].study).attempts,
            options=chosen,
            listener=listener,
            limit=limit,
        )
        module: Engine = import_module(f"sparring.studies.engines.{engine}")
        with _interrupted_by_signals():
            module.run(work)
    return tries.records


def require_engine(engine: str, options: Mapping[str, Any]) -> None:
    """Refuse to begin where an engine could make no run; nothing is written.

    Args:
        engine: `local`, `dask` or `slurm`.
        options: of the engine; see `engines.options`.

    Raises:
        ConfigError: if the engine is not installed, or its scheduler is not there.
    """
    chosen = OPTIONS[engine].build(options, where=engine)
    module: Engine = import_module(f"sparring.studies.engines.{engine}")
    module.require(chosen)


def require_limited(engine: str) -> None:
    """Refuse a limit of time for an engine that takes none.

    Raises:
        ConfigError: for any but `local`.
    """
    if engine != "local":
        instead = "; a job's limit is --slurm minutes=N" if engine == "slurm" else ""
        raise ConfigError(
            f"--minutes belongs to --engine local, and the engine is {engine}{instead}; "
            "leave one out"
        )


def missing_engine(engine: str, package: str) -> ConfigError:
    """Error about an engine whose package is not installed."""
    return ConfigError(
        f"engine {engine} needs the package {package}; pip install 'sparring[{engine}]'"
    )


def thread_variables(threads: int) -> dict[str, str]:
    """Environment variables that give the numeric libraries of a new process so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def _require_own_places(orders: Sequence[RunOrder]) -> None:
    """Refuse runs that would share their files.

    Raises:
        ConfigError: if two runs have one place in their study.
    """
    names: dict[str, RunOrder] = {}
    for order in orders:
        place = StudyFolder(order.study).place(order.name)
        if place in names:
            raise ConfigError(
                f"the runs '{names[place].name}' and '{order.name}' would share the folder "
                f"{place}; give one arm another name"
            )
        names[place] = order


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let requests to end do within the context what Ctrl-C does; a signal that is ignored from
    outside stays ignored. Has an effect in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    found = {number: signal.getsignal(number) for number in _SIGNALS}
    previous = {number: handler for number, handler in found.items() if handler != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
