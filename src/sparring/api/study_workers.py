"""What makes the runs of a study, and how many of them at the same time."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch

from sparring.errors import ConfigError, unknown_name
from sparring.planning.study_cost import Workers
from sparring.studies.plan import Study
from sparring.training.devices import choose_device

ENGINES: Mapping[str, tuple[str, ...] | None] = {
    "local": (),
    "dask": ("address",),
    "slurm": None,
}
"""Engines by name, and the options that each takes; None: any, as `submitit` knows them."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What makes the runs of a study.

    Attributes:
        name: `local`, `dask` or `slurm`.
        workers: runs at the same time; None: as many as there is room for.
        options: of the engine: `address` of a dask cluster, or parameters of a slurm job.
    """

    name: str = "local"
    workers: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise ConfigError(unknown_name("engine", self.name, ENGINES))
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers must be at least 1, got {self.workers}; 1 or 2 are usual")
        accepted = ENGINES[self.name]
        for name in self.options:
            if accepted is not None and name not in accepted:
                where = next((one for one, names in ENGINES.items() if name in (names or ())), None)
                belongs = f"--engine {where}" if where else "--engine slurm"
                raise ConfigError(
                    f"'{name}' belongs to {belongs}, and the engine is {self.name}; leave one out"
                )

    def with_workers(self, number: int) -> Self:
        """This engine, with a number of workers if none was given."""
        return self if self.workers is not None else replace(self, workers=number)

    def as_workers(self, study: Study) -> Workers:
        """Workers that this machine gives the runs of a study.

        Raises:
            ConfigError: if the device of the study does not exist here.
        """
        cores, gpus = num_cores(), torch.cuda.device_count()
        are_here = self.name == "local" or (self.name == "dask" and not self.options)
        if not are_here:
            count = self.workers or 1
        elif self.workers is not None:
            count = self.workers
        elif choose_device(study.device).type == "cpu":
            count = max(1, cores // study.threads)
        else:
            count = max(1, gpus)
        return Workers(
            count=count,
            are_here=are_here,
            is_given=self.workers is not None,
            num_cores=cores,
            num_gpus=gpus,
        )


def num_cores() -> int:
    """Cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
