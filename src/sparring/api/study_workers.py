"""What makes the runs of a study, and how many of them at the same time."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch

from sparring.data.cores import num_cores
from sparring.errors import ConfigError, unknown_name
from sparring.planning.study_cost import Workers
from sparring.studies.engines.engine import OPTIONS, require_engine, require_limited
from sparring.studies.plan import Study
from sparring.training.devices import choose_device


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What makes the runs of a study.

    Attributes:
        name: `local`, `dask` or `slurm`.
        workers: runs at the same time; None: as many as there is room for.
        options: of the engine; see `studies.engines.options`.
        minutes: that the command may take; None: as many as it needs.
        began: when the command began, by `time.monotonic`.
    """

    name: str = "local"
    workers: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.name not in OPTIONS:
            raise ConfigError(unknown_name("engine", self.name, OPTIONS))
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers must be at least 1, got {self.workers}; 1 or 2 are usual")
        for option in self.options:
            owners = [name for name, kind in OPTIONS.items() if option in kind.model_fields]
            if owners and self.name not in owners:
                raise ConfigError(
                    f"'{option}' belongs to --engine {owners[0]}, and the engine is {self.name}; "
                    "leave one out"
                )
        OPTIONS[self.name].build(self.options, where=self.name)
        if self.minutes is not None:
            require_limited(self.name)
            if not (math.isfinite(self.minutes) and self.minutes > 0):
                raise ConfigError(
                    f"minutes must be a positive number, got {self.minutes:g}; give the time that "
                    "this command may take, such as 9 or 0.5"
                )

    def require(self) -> None:
        """Refuse to begin where the engine could make no run; nothing is written.

        Raises:
            ConfigError: if it is not installed, or its scheduler is not there.
        """
        require_engine(self.name, self.options)

    def with_workers(self, number: int) -> Self:
        """This engine, with a number of workers if none was given; slurm's is the cluster's."""
        is_open = self.workers is None and self.name != "slurm" and "address" not in self.options
        return replace(self, workers=number) if is_open else self

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
