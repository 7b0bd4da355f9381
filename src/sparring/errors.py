"""All errors that a user can meet, as one tree, and the message that suggests the nearest valid
name.

    SparringError                 exit 1: the run failed
    |-- CheckpointError           a checkpoint that is damaged or belongs to another configuration
    |-- StorageError              the disk is full or may not be written
    |-- LostProcessError          another process of the run has ended
    |-- TrainingError             the training itself failed
    |   `-- DivergedError         a player's loss, gradient or parameters are not finite
    `-- UsageError (ValueError)   exit 2: the caller can correct it
        |-- ConfigError           a name, key, type or value of the configuration
        |-- DataError             a path without usable images or labels
        `-- RunError              a run folder that is missing, in use or unfinished

The command line prints the message of a `SparringError` as one line and exits with its code.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class SparringError(Exception):
    """Base class of all errors of this library."""

    exit_code = 1


class CheckpointError(SparringError):
    """A checkpoint cannot be read or does not fit the run."""


class StorageError(SparringError):
    """The disk is full or the folder cannot be written."""


class LostProcessError(SparringError):
    """Another process of the run has ended, or an exchange with it failed.

    Args:
        message: one sentence.
        is_told: whether another process prints why.
    """

    def __init__(self, message: str, *, is_told: bool = False) -> None:
        super().__init__(message)
        self.is_told = is_told


class TrainingError(SparringError):
    """Training had to stop, for example at a loss that is not finite."""


class DivergedError(TrainingError):
    """A player's loss, gradient, parameters or outputs are not finite.

    Args:
        message: one sentence.
        player: name of the player.
        step: number of the step that failed; None: the current one.
    """

    def __init__(self, message: str, *, player: str, step: int | None = None) -> None:
        super().__init__(message)
        self.player = player
        self.step = step


class UsageError(SparringError, ValueError):
    """The caller's input is wrong and can be corrected."""

    exit_code = 2


class ConfigError(UsageError):
    """A name, key, type or value of the configuration is wrong."""


class DataError(UsageError):
    """The data cannot be used: no such path, no images, no labels."""


class RunError(UsageError):
    """A run folder is missing, in use, or not what it should be."""


def unknown_name(kind: str, name: str, accepted: Iterable[str]) -> str:
    """Message for an unknown name, with the nearest accepted one.

    Example:
        >>> unknown_name("method", "adoc", ["adco", "simclr"])
        "unknown method 'adoc'; did you mean 'adco'? Accepted: adco, simclr"
    """
    names = sorted(accepted)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {kind} '{name}'{hint} Accepted: {', '.join(names)}"
