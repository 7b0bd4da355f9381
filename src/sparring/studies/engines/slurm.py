"""Engine `slurm`: array jobs of SLURM by `submitit`, which are queued again and go on.

Ahead of a job's time limit SLURM sends a signal. The training saves after its step, and submitit
queues the job again; it then goes on from the checkpoint.
"""

import math
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from sparring.config import Settings
from sparring.errors import ConfigError
from sparring.studies.attempts import Failure, attempted, reason_of
from sparring.studies.engines.engine import Work, missing_engine
from sparring.studies.engines.options import SlurmOptions
from sparring.studies.orders import RunCall, RunOrder
from sparring.studies.records import RunRecord

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

LOOK_SECONDS = 0.5
"""Time between two looks at the jobs; submitit asks SLURM itself more rarely."""


def run(work: Work) -> None:
    """Make all runs as jobs; see `engine.run_orders`.

    Raises:
        ConfigError: if submitit or SLURM is not installed, or an option is unknown to submitit.
    """
    executor = _executor(work.options, work.folder, threads=work.threads, workers=work.workers)
    jobs: list[tuple[Any, RunOrder]] = _submitted(executor, work, work.orders)
    try:
        while jobs:
            ended = [(job, order) for job, order in jobs if job.done()]
            jobs = [one for one in jobs if one not in ended]
            again = [order for job, order in ended if _is_tried_again(work, order, job)]
            if again:
                jobs += _submitted(executor, work, again)
            if not ended:
                time.sleep(LOOK_SECONDS)
    finally:
        for job, _ in jobs:
            job.cancel(check=False)


def require(options: Settings) -> None:
    """Refuse to begin where no job could be submitted.

    Args:
        options: of this engine.

    Raises:
        ConfigError: if submitit or SLURM is not installed, or an option is unknown to submitit.
    """
    _executor(options, Path("jobs"), threads=1, workers=None)


class SavedJob:
    """A run as a job that saves before it is queued again."""

    def __call__(self, order: RunOrder, call: RunCall) -> RunRecord | Failure:
        """The run's answer, made in this job.

        The signal ahead of the time limit goes to the training as the one that SLURM's users know,
        SIGUSR1, for which it saves and stops; outside a training the job is queued again at once.
        """
        queue_again, number = _submitit_handler()
        is_limit_near = False

        def save_first(given: int, frame: FrameType | None) -> None:
            """Ask the training to stop."""
            nonlocal is_limit_near
            is_limit_near = True
            signal.raise_signal(signal.SIGUSR1)

        if number is not None:
            signal.signal(signal.SIGUSR1, queue_again)
            signal.signal(number, save_first)
        try:
            return attempted(order, call=call)
        except KeyboardInterrupt:
            if is_limit_near and number is not None:
                queue_again(number, None)
            raise

    def checkpoint(self, order: RunOrder, call: RunCall) -> "DelayedSubmission":
        """What submitit queues again: the same run, which goes on from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order, call)


def _submitit_handler() -> tuple[Callable[[int, FrameType | None], Any], int | None]:
    """How submitit queues this job again, and the signal at which it does; None outside a job."""
    from submitit.core.job_environment import JobEnvironment

    number = int(getattr(signal, f"SIG{JobEnvironment.USR_SIG}"))
    found = signal.getsignal(number)
    if callable(found):
        return found, number
    return lambda number, frame: None, None


def _executor(options: Settings, folder: Path, *, threads: int, workers: int | None) -> Any:
    """Submitit's executor for jobs of the asked kind; it writes nothing before the first job.

    Raises:
        ConfigError: if submitit or SLURM is not here, or a parameter is unknown.
    """
    assert isinstance(options, SlurmOptions)
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise missing_engine("slurm", "submitit") from None
    is_slurm = options.executor == "slurm"
    if is_slurm and shutil.which("srun") is None:
        raise ConfigError(
            "engine slurm: this machine has no command srun, so it belongs to no SLURM cluster; "
            "start the study on a login node, or give --engine local"
        )
    # A folder of its own: submitit unpickles results, and those of before may be a stranger's.
    jobs = folder / "jobs" / secrets.token_hex(4)
    try:
        if is_slurm:
            return _slurm_executor(options, jobs, threads=threads, workers=workers)
        return _local_executor(options, jobs)
    except (RuntimeError, ValueError, NameError, AssertionError) as error:
        raise ConfigError(f"engine slurm: {reason_of(error)}") from None


def _slurm_executor(
    options: SlurmOptions, folder: Path, *, threads: int, workers: int | None
) -> Any:
    import submitit

    executor = submitit.AutoExecutor(
        folder=folder, cluster="slurm", slurm_max_num_timeout=options.requeues
    )
    parameters = {
        "name": "sparring",
        "timeout_min": math.ceil(options.minutes),
        "cpus_per_task": options.cpus or threads,
        "gpus_per_node": options.gpus,
        "mem_gb": options.memory_gb,
        "slurm_partition": options.partition or None,
        "slurm_signal_delay_s": options.signal_seconds,
        "slurm_array_parallelism": workers,
        "slurm_additional_parameters": {"requeue": True},
    }
    executor.update_parameters(**(parameters | options.further))
    return executor


def _local_executor(options: SlurmOptions, folder: Path) -> Any:
    import submitit

    executor = submitit.LocalExecutor(folder, max_num_timeout=options.requeues)
    parameters = {
        "timeout_min": options.minutes,
        "gpus_per_node": options.gpus,
        "signal_delay_s": options.signal_seconds,
    }
    executor.update_parameters(**(parameters | options.further))
    return executor


def _submitted(executor: Any, work: Work, orders: Sequence[RunOrder]) -> list[tuple[Any, RunOrder]]:
    """Jobs of some runs, as one array."""
    calls = [work.call] * len(orders)
    return list(zip(executor.map_array(SavedJob(), orders, calls), orders, strict=True))


def _is_tried_again(work: Work, order: RunOrder, job: Any) -> bool:
    """Whether a run has to be submitted again, after its job has ended."""
    try:
        return work.tries.takes(order, job.result())
    except Exception as error:  # submitit's, for a job without a result
        lines = str(error).strip().splitlines()
        return work.tries.loses(order, f"its job {job.job_id} ended early: {lines[0]}")
