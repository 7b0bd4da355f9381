"""Engine `local`: one process of this machine per core or GPU, by `concurrent.futures`.

Each worker is a pool of one process, so a process that is killed takes its own run with it and no
other. Processes are kept from run to run, since PyTorch takes seconds to load.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_sentinel
from types import FrameType

from sparring.config import Settings
from sparring.studies.attempts import Failure, attempted, reason_of
from sparring.studies.engines.engine import Work, thread_variables
from sparring.studies.orders import RunCall, RunOrder
from sparring.studies.records import RunRecord

STOP_SECONDS = 60.0
"""Time that a worker has to save its run once it is asked to stop."""
_STOPPED = 75
_FOR_THE_PARENT = (signal.SIGINT, signal.SIGHUP)


class Worker:
    """One process that makes runs, and its successors.

    Args:
        variables: environment variables of its processes.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._pool: ProcessPoolExecutor | None = None
        self.processes: list[multiprocessing.process.BaseProcess] = []

    def submit(self, order: RunOrder, call: RunCall) -> Future[RunRecord | Failure]:
        """The run's answer in the future; starts the process if there is none, or it has died while
        it had nothing to do."""
        before = multiprocessing.active_children()
        with _environment(self._variables), _ignored_signals():
            try:
                future = self._opened().submit(made_here, order, call)
            except BrokenExecutor:
                self.close()
                future = self._opened().submit(made_here, order, call)
        new = [one for one in multiprocessing.active_children() if one not in before]
        self.processes = new or self.processes
        return future

    def _opened(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1, mp_context=multiprocessing.get_context("spawn"), initializer=begin_worker
            )
        return self._pool

    def close(self) -> None:
        """End the process, which has nothing to do or is dead; the next run gets a new one."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def run(work: Work) -> None:
    """Make all runs in processes of this machine; see `engine.run_orders`."""
    workers = [Worker(variables_of(work, number)) for number in range(work.num_workers)]
    is_done = False
    try:
        is_done = _make_all(work, workers)
    finally:
        if not is_done:
            stop(workers)
        for worker in workers:
            worker.close()


def require(options: Settings) -> None:
    """Refuse nothing: processes of this machine can always be started."""


def _make_all(work: Work, workers: Sequence[Worker]) -> bool:
    """Whether no run is under way any more, after all were made, or as many as the limit allows."""
    waiting, free = list(work.orders), deque(workers)
    running: dict[Future[RunRecord | Failure], tuple[Worker, RunOrder]] = {}
    while waiting or running:
        while free and (place := _next_place(work, waiting)) is not None:
            worker, order = free.popleft(), waiting.pop(place)
            running[worker.submit(order, work.call)] = (worker, order)
        left = None if work.limit is None else work.limit.left
        ended = wait(running, left, return_when=FIRST_COMPLETED).done
        if not ended and (not running or _is_over(work)):
            _tell_unfinished(work, [order for _, order in running.values()])
            return not running
        for future in ended:
            worker, order = running.pop(future)
            error = future.exception()
            if error is None:
                is_again = work.tries.takes(order, future.result())
                if work.limit is not None:
                    work.limit.learn(future.result(), beside=len(running) + 1)
            elif isinstance(error, BrokenExecutor):
                worker.close()
                is_again = work.tries.loses(order)
            else:
                is_again = work.tries.loses(order, reason_of(error))
            if is_again:
                waiting.append(order)
            free.append(worker)
    return True


def _next_place(work: Work, waiting: Sequence[RunOrder]) -> int | None:
    """Place of the next run to start; None for none."""
    if work.limit is None or not waiting:
        return 0 if waiting else None
    return work.limit.next_place(waiting, workers=work.num_workers, room=work.room)


def _is_over(work: Work) -> bool:
    """Whether the time of the command is."""
    return work.limit is not None and work.limit.left <= 0


def _tell_unfinished(work: Work, orders: Sequence[RunOrder]) -> None:
    for order in orders:
        if work.listener is not None:
            work.listener.report(
                f"{order.name}: the minutes are over; it is saved, and the next command goes on "
                "with it"
            )


def stop(workers: Sequence[Worker]) -> None:
    """Ask all processes to save and end, and kill those that do not; a second Ctrl-C kills them at
    once."""
    processes = [one for worker in workers for one in worker.processes]
    try:
        for process in processes:
            process.terminate()
        give_up_at = time.monotonic() + STOP_SECONDS
        while any(one.is_alive() for one in processes) and time.monotonic() < give_up_at:
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()


def begin_worker() -> None:
    """Prepare a new process: Ctrl-C and a closed terminal are for the process that started it, with
    which it ends."""
    for number in _FOR_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="sparring-parent", daemon=True).start()


def made_here(order: RunOrder, call: RunCall) -> RunRecord | Failure:
    """The run's answer, made in this worker's process, which ends if it was asked to stop."""
    signal.signal(signal.SIGTERM, _interrupt)  # a training takes it over, and saves
    try:
        return attempted(order, call=call)
    except KeyboardInterrupt:
        os._exit(_STOPPED)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Wait until the process that started this one has ended, then save and end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_sentinel([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS)
        os._exit(_STOPPED)


def variables_of(work: Work, number: int) -> dict[str, str]:
    """Environment variables of a worker: its threads, and its own GPU if the runs use any.

    Args:
        work: of the engine.
        number: of the worker.
    """
    devices = work.devices
    device = {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} if devices else {}
    return {**thread_variables(work.threads), **device}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that a process started meanwhile inherits."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _ignored_signals() -> Iterator[None]:
    """Signals that a process started meanwhile ignores from its first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _FOR_THE_PARENT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
