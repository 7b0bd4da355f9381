"""Engine `dask`: the workers of a `dask.distributed` scheduler, or of a cluster made here.

A run is a task. dask moves it to another worker when its own is lost, and says so when a run has
killed too many workers; attempts are counted in the study, whoever makes them.
"""

import ctypes
import logging
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from sparring.config import Settings
from sparring.errors import ConfigError
from sparring.studies.attempts import KILLED, Failure, attempted, reason_of
from sparring.studies.engines.engine import Work, missing_engine, thread_variables
from sparring.studies.engines.options import DaskOptions
from sparring.studies.orders import RunCall, RunOrder
from sparring.studies.records import RunRecord

CONNECT_SECONDS = 10
"""Time in which a scheduler has to answer."""
LOOK_SECONDS = 1.0
"""Time between two looks of a worker whether its run is still wanted."""
_ONE_RUN_PER_WORKER = {
    "distributed.scheduler.worker-saturation": 1.0,  # so that a death is of one run
    "distributed.scheduler.allowed-failures": 0,  # the engine counts
    "distributed.worker.memory.terminate": False,
    "distributed.worker.memory.pause": False,
}


def run(work: Work) -> None:
    """Make all runs by dask; see `engine.run_orders`.

    Raises:
        ConfigError: if dask is not installed, or no scheduler answers.
    """
    with _client(work) as client:
        orders: dict[Any, RunOrder] = {}
        completed = _distributed().as_completed(loop=client.loop)

        def submit(order: RunOrder) -> None:
            """Hand a run to the scheduler."""
            key = f"{order.name}-{uuid.uuid4().hex}"
            future = client.submit(made_here, order, work.call, key, key=key, pure=False)
            orders[future] = order
            completed.add(future)

        try:
            for order in work.orders:
                submit(order)
            for future in completed:
                order = orders.pop(future)
                if _is_tried_again(work, order, future):
                    submit(order)
        finally:
            client.cancel(list(orders), force=True)


def require(options: Settings) -> None:
    """Refuse to begin where no scheduler would take the runs.

    Args:
        options: of this engine.

    Raises:
        ConfigError: if dask is not installed, or nothing answers at the given address.
    """
    distributed = _distributed()
    assert isinstance(options, DaskOptions)
    if options.address:
        with _connected(distributed, options.address):
            pass


def _is_tried_again(work: Work, order: RunOrder, future: Any) -> bool:
    """Whether a run has to be submitted again, after its task has ended."""
    if future.status == "finished":
        return work.tries.takes(order, future.result())
    error = future.exception() if future.status == "error" else None
    if error is None or isinstance(error, _distributed().KilledWorker):
        # dask counts a death against every run that was given to the worker, begun or not.
        return work.tries.loses(order, KILLED, spares_unbegun=True)
    return work.tries.loses(order, reason_of(error))


@contextmanager
def _client(work: Work) -> Iterator[Any]:
    """A client of the given scheduler, or of a cluster of this machine for as long as it is
    needed."""
    distributed = _distributed()
    assert isinstance(work.options, DaskOptions)
    if work.options.address:
        with _connected(distributed, work.options.address) as client:
            _tell_many_threads(work, client)
            yield client
        return
    import dask

    with (
        dask.config.set(_ONE_RUN_PER_WORKER),
        distributed.LocalCluster(
            n_workers=work.num_workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            scheduler_port=0,
            dashboard_address="127.0.0.1:0",  # what stays of it without a dashboard
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            env=thread_variables(work.threads),
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        if work.devices:
            client.register_plugin(_device_plugin(work.devices))
        yield client


def _connected(distributed: Any, address: str) -> Any:
    """A client of a scheduler.

    Raises:
        ConfigError: if none answers there.
    """
    try:
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError):
        raise ConfigError(
            f"no dask scheduler answers at {address}; start one with `dask scheduler` and give the "
            "address that it prints, such as tcp://node7:8786"
        ) from None


def _tell_many_threads(work: Work, client: Any) -> None:
    threads = client.nthreads()
    if work.listener is not None and any(count > 1 for count in threads.values()):
        work.listener.report(
            "a worker of this dask cluster has several threads, but makes one run at a time; start "
            "the workers with --nthreads 1"
        )


def _device_plugin(devices: list[str]) -> Any:
    """Plugin by which each worker of a cluster made here sees a GPU of its own."""
    from distributed import WorkerPlugin

    class OwnDevice(WorkerPlugin):
        """Chooses the GPU before CUDA starts."""

        def setup(self, worker: Any) -> None:
            """Choose the GPU by the worker's number."""
            os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(worker.name) % len(devices)]

    return OwnDevice()


def made_here(order: RunOrder, call: RunCall, key: str) -> RunRecord | Failure:
    """The run's answer, made in this thread of a worker, until nobody wants it any more.

    Args:
        order: what to do.
        call: makes the run.
        key: of the task.
    """
    is_over = threading.Event()
    worker = _distributed().get_worker()
    arguments = (worker, threading.get_ident(), key, is_over)
    watch = threading.Thread(target=_stop_when_unwanted, args=arguments, daemon=True)
    watch.start()
    try:
        return attempted(order, call=call)
    except KeyboardInterrupt:
        return Failure(reason="stopped, as nobody waits for it")
    finally:
        is_over.set()
        watch.join()


def _stop_when_unwanted(worker: Any, thread: int, key: str, is_over: threading.Event) -> None:
    """Interrupt a thread once the scheduler has cancelled its task, or whoever asked has gone."""
    while not is_over.wait(LOOK_SECONDS):
        task = worker.state.tasks.get(key)
        if task is None or task.state in ("cancelled", "released", "forgotten"):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt)
            )
            return


def _distributed() -> Any:
    """The package `distributed`.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        return import_module("distributed")
    except ImportError:
        raise missing_engine("dask", "distributed") from None
