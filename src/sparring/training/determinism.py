"""Runs that repeat to the bit on CUDA, for the setting `training.deterministic`.

Everything that is switched here is put back after the run: a library call leaves the user's process
as it was.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import torch
from torch.utils import deterministic as torch_deterministic

from sparring.errors import ConfigError

if TYPE_CHECKING:
    from sparring.training.loop import Training

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

WORKSPACES = ":4096:8"
"""Fixed workspaces for cuBLAS, so that its products add up in one order; NVIDIA's documentation,
"Results reproducibility"."""
_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
_FILLS_MEMORY = "fill_uninitialized_memory"  # which PyTorch does not annotate
_REFUSAL = " does not have a deterministic implementation"


def as_configured(
    work: Callable[Concatenate["Training", Parameters], Result],
) -> Callable[Concatenate["Training", Parameters], Result]:
    """A function of a training that computes deterministically if the training's settings ask for
    it."""

    @wraps(work)
    def done(
        training: "Training", /, *given: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        """The result of the work."""
        if not training.config.training.deterministic:
            return work(training, *given, **named)
        with deterministic():
            return work(training, *given, **named)

    return done


@contextmanager
def deterministic() -> Iterator[None]:
    """Context in which PyTorch takes deterministic algorithms only, on every device.

    Memory that no operation has written is left as it is: PyTorch would fill it, which costs time
    and changes nothing that is read.

    Raises:
        ConfigError: for an operation without a deterministic algorithm on the device.
    """
    cudnn = torch.backends.cudnn
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        getattr(torch_deterministic, _FILLS_MEMORY),
        cudnn.deterministic,
        cudnn.benchmark,
    )
    variable = os.environ.get(_VARIABLE)
    os.environ.setdefault(_VARIABLE, WORKSPACES)
    try:
        _switch(True, False, False, True, False)
        yield
    except RuntimeError as error:
        operation, refusal, _ = str(error).partition(_REFUSAL)
        if not refusal:
            raise
        raise ConfigError(
            f"training.deterministic=true: {operation} has no deterministic algorithm on this "
            "device; set training.deterministic=false, or take another network"
        ) from None
    finally:
        _switch(*before)
        if variable is None:
            del os.environ[_VARIABLE]


def _switch(
    is_on: bool, is_warning: bool, fills_memory: bool, is_cudnn_on: bool, is_searching: bool
) -> None:
    """Set PyTorch's switches: deterministic algorithms, warnings in the place of errors, filling of
    new memory, cuDNN's deterministic algorithms, and its search for the fastest."""
    torch.use_deterministic_algorithms(is_on, warn_only=is_warning)
    setattr(torch_deterministic, _FILLS_MEMORY, fills_memory)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = is_cudnn_on, is_searching
