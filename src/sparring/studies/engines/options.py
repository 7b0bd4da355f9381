"""Options of the engines, as `--address`, `--slurm key=value` or a dictionary gives them."""

from typing import Any, Literal

from pydantic import Field

from sparring.config import Settings


class LocalOptions(Settings):
    """Options of the engine `local`: none."""


class DaskOptions(Settings):
    """Options of the engine `dask`."""

    address: str = ""
    """Address of a scheduler that is running, such as `tcp://node7:8786`; empty: a cluster is made
    on this machine. Start its workers with `--nthreads 1`."""


class SlurmOptions(Settings):
    """Options of the engine `slurm`, with the names that `sbatch` has for them where there are
    any."""

    partition: str = ""
    """Partition of the jobs; empty: the cluster's default."""
    minutes: float = Field(default=240, gt=0)
    """Time limit of a job. A run that needs longer is saved ahead of the limit and queued again."""
    gpus: int = Field(default=0, ge=0)
    """GPUs of a job."""
    cpus: int | None = Field(default=None, ge=1)
    """Cores of a job; None: the threads of a run."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Memory of a job; None: the cluster's default."""
    signal_seconds: int = Field(default=120, ge=1)
    """Seconds before the time limit at which a job saves and is queued again."""
    requeues: int = Field(default=100, ge=0)
    """How often a job that reached its time limit is queued again."""
    further: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of submitit's executor, such as `slurm_account` or `slurm_qos`."""
    executor: Literal["slurm", "local"] = "slurm"
    """Executor of submitit: `slurm`; `local` makes the same jobs on this machine, to try them."""
