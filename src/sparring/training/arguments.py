"""Arguments of `sparring.train`, `plan` and the command that stand for one setting each.

The only place that says which setting an argument or an option such as `--lr` changes.
"""

from collections.abc import Mapping
from typing import TypeAlias

from sparring.config import Tree, merged, nested
from sparring.errors import ConfigError, unknown_name
from sparring.training.settings import TrainingSettings

ArgumentValue: TypeAlias = int | float | str | None
"""Value of an argument; None: it is not given."""

SHORT_NAMES = {
    "seed": "seed",
    "backbone": "encoder.backbone",
    "weights": "encoder.weights",
    "lr": "players.encoder.learning_rate",
    "workers": "data.workers",
}
"""Settings outside section `training`, by the argument that stands for each."""


def setting_of(argument: str) -> str:
    """Full name of the setting for which an argument stands.

    Raises:
        ConfigError: for an unknown argument, with the nearest one.

    Example:
        >>> setting_of("lr"), setting_of("epochs")
        ('players.encoder.learning_rate', 'training.epochs')
    """
    if argument in SHORT_NAMES:
        return SHORT_NAMES[argument]
    if argument in TrainingSettings.model_fields:
        return f"training.{argument}"
    known = {*SHORT_NAMES, *TrainingSettings.model_fields}
    raise ConfigError(unknown_name("argument", argument, known))


def argument_settings(arguments: Mapping[str, ArgumentValue]) -> Tree:
    """Settings, as a nested dictionary, that the given ones of some arguments stand for.

    Args:
        arguments: values by argument; None: not given.

    Raises:
        ConfigError: for an unknown argument, with the nearest one.

    Example:
        >>> argument_settings({"lr": 0.1, "epochs": None, "workers": 4})
        {'players': {'encoder': {'learning_rate': 0.1}}, 'data': {'workers': 4}}
    """
    places = {setting_of(name): value for name, value in arguments.items()}
    given = {place: value for place, value in places.items() if value is not None}
    return merged({}, *(nested(place, value) for place, value in given.items()))
