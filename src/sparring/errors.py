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


OTHER_NAMES = {
    "amp": "precision",
    "arch": "backbone",
    "base_lr": "learning_rate",
    "bs": "batch_size",
    "clip_grad": "clip_norm",
    "crop_size": "image_size",
    "dtype": "precision",
    "ema": "teacher_momentum",
    "embedding_dim": "dim",
    "eps": "epsilon",
    "hidden_dim": "hidden",
    "img_size": "image_size",
    "learningrate": "learning_rate",
    "lr": "learning_rate",
    "max_epochs": "epochs",
    "model": "backbone",
    "num_epochs": "epochs",
    "num_workers": "workers",
    "opt": "optimizer",
    "out_dim": "dim",
    "pretrained": "weights",
    "proj_dim": "dim",
    "queue_size": "size",
    "resolution": "image_size",
    "scheduler": "schedule",
    "t": "temperature",
    "tau": "temperature",
    "temp": "temperature",
    "threads": "workers",
    "warmup": "warmup_epochs",
    "wd": "weight_decay",
}
"""Last parts of settings by names that other libraries and papers give them."""

MOST_NAMED = 4
"""Number of settings that an answer to an unknown one names."""


def unknown_setting(key: str, siblings: Iterable[str], every: Iterable[str] = ()) -> str:
    """Message for an unknown setting, with the full names of those that it may mean.

    Settings that end in the given name come first, wherever they stand, then those that end in its
    last part or in what this library calls it; without any the nearest of the same section.

    Args:
        key: full name as it was given.
        siblings: full names of the settings of the section in which it was looked for.
        every: full names of all settings that there are.

    Example:
        >>> unknown_setting("lr", ["bank", "seed"], ["seed", "players.encoder.learning_rate"])
        "unknown setting 'lr'; did you mean 'players.encoder.learning_rate'?"
    """
    meant = full_names(key, every)
    if not meant:
        return unknown_name("setting", key, siblings)
    *others, last = [f"'{name}'" for name in meant[:MOST_NAMED]]
    listed = f"{', '.join(others)} or {last}" if others else last
    more = len(meant) - MOST_NAMED
    rest = f" ({more} more end in that)" if more > 0 else ""
    return f"unknown setting '{key}'; did you mean {listed}?{rest}"


def full_names(key: str, every: Iterable[str]) -> list[str]:
    """Settings that a partial or a foreign name may mean, in their order.

    Example:
        >>> full_names("train.lr", ["players.encoder.learning_rate", "players.bank.learning_rate"])
        ['players.encoder.learning_rate', 'players.bank.learning_rate']
    """
    names, (*sections, last) = list(every), key.split(".")
    own = OTHER_NAMES.get(last.lower(), last)
    ends = [name for name in names if name.endswith(f".{key}")]
    if ends:
        return ends
    ends = [name for name in names if name.rpartition(".")[2] == own and name != key]
    near = [name for name in ends if set(sections) & set(name.split(".")[:-1])]
    return near or ends
