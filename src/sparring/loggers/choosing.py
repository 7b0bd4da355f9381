"""Choice of loggers by name: those of this library, and those that installed packages declare.

Importing this file imports no logger's package.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from sparring.errors import ConfigError, unknown_name
from sparring.loggers.logger import RunLogger
from sparring.methods.plugins import import_failure, installed_points

GROUP = "sparring.loggers"
"""Entry points of this group are loggers of installed packages: functions or classes that take the
place as a text, or None, and give a `RunLogger`."""

SHIPPED = {
    "tensorboard": "sparring.loggers.tensorboard:TensorBoardLogger",
    "wandb": "sparring.loggers.wandb:WandbLogger",
    "mlflow": "sparring.loggers.mlflow:MlflowLogger",
}
"""Loggers of this library, each named like the package that it needs and the extra that installs
it."""


@dataclass(frozen=True)
class ChosenLogger:
    """A logger that was asked for.

    Attributes:
        name: what was asked for, by which a resumed run finds its curves again.
        logger: not opened yet.
    """

    name: str
    logger: RunLogger


Logs = str | RunLogger | Iterable[str | RunLogger]
"""Loggers as a user names them: `NAME`, `NAME:PLACE`, or objects."""


def choose_loggers(logs: Logs) -> list[ChosenLogger]:
    """Loggers that are asked for, each once, none of them opened.

    Args:
        logs: names such as `tensorboard`, with a place such as `tensorboard:curves/`, or loggers.

    Raises:
        ConfigError: for an unknown name, with the nearest one, or a package that is missing.
    """
    asked = [logs] if isinstance(logs, str) or not isinstance(logs, Iterable) else list(logs)
    found: dict[str, ChosenLogger] = {}
    for one in asked:
        chosen, number = _chosen(one), 2
        name = chosen.name
        while not isinstance(one, str) and name in found:  # several objects of one class
            name, number = f"{chosen.name} {number}", number + 1
        found[name] = ChosenLogger(name, chosen.logger)
    return list(found.values())


def _chosen(asked: str | RunLogger) -> ChosenLogger:
    if not isinstance(asked, str):
        missing = [name for name in ("open", "log", "close") if not hasattr(asked, name)]
        if missing or isinstance(asked, type):
            raise ConfigError(
                f"log: {asked!r} is no logger; give a name such as 'tensorboard', or an object "
                "with open, log and close (docs/logging.md)"
            )
        kind = type(asked)
        return ChosenLogger(f"{kind.__module__}.{kind.__qualname__}", asked)
    name, _, place = asked.partition(":")
    return ChosenLogger(asked, _maker(name)(place or None))


def _maker(name: str) -> Callable[[str | None], RunLogger]:
    """Function or class that makes the logger of a name."""
    points = installed_points(GROUP)
    if name in SHIPPED:
        _require_package(name)
        module, _, kind = SHIPPED[name].partition(":")
        found: Callable[[str | None], RunLogger] = getattr(import_module(module), kind)
        return found
    if name not in points:
        raise ConfigError(unknown_name("logger", name, [*SHIPPED, *points]))
    try:
        loaded: Callable[[str | None], RunLogger] = points[name].load()
    except (Exception, SystemExit) as error:  # a package's code may raise anything
        raise ConfigError(import_failure("logger", points[name].value, error)) from error
    return loaded


def _require_package(name: str) -> None:
    found = find_spec(name)
    # A folder of this name in the working folder is found too; W&B and MLflow make such folders.
    if found is None or found.origin is None:
        raise ConfigError(f"--log {name} needs the package {name}; pip install 'sparring[{name}]'")
