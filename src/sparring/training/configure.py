"""Configuration from a user's request: a recipe, then the arguments, then single settings."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sparring.config import Tree, merged, read_toml
from sparring.data.sources.addresses import is_address, stored_address
from sparring.data.sources.shard_paths import absolute_pattern, is_shard_pattern
from sparring.data.sources.source import ImageData
from sparring.errors import ConfigError, unknown_name
from sparring.methods import registry
from sparring.methods.method import Method
from sparring.models.backbones import CUSTOM, require_backbone
from sparring.training.arguments import ArgumentValue, argument_settings
from sparring.training.continuing import with_start_settings
from sparring.training.settings import RunConfig
from sparring.training.strengths import StrengthValue, strength_settings


def recipes() -> dict[str, Path]:
    """Shipped recipes by name."""
    return {
        path.stem: path for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))
    }


def find_recipe(recipe: str | Path) -> Tree:
    """Tree of a recipe: a shipped one by name, or a TOML file.

    Raises:
        ConfigError: if there is no such recipe, with the nearest name.
    """
    shipped = recipes()
    if str(recipe) in shipped:
        return read_toml(shipped[str(recipe)])
    if Path(recipe).suffix == ".toml":
        return read_toml(Path(recipe))
    raise ConfigError(
        unknown_name("recipe", str(recipe), shipped) + "; or name a file ending in .toml"
    )


def configure(
    data: ImageData | None,
    *,
    method: str | type[Method] | None = None,
    opponent: str | type[Method] | Sequence[str | type[Method]] | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    strength: StrengthValue | None = None,
    backbone: nn.Module | str | None = None,
    base: Mapping[str, Any] | None = None,
    report: Callable[[str], None] | None = None,
    **arguments: ArgumentValue,
) -> RunConfig:
    """Configuration of a run from the arguments of `sparring.train`, which are also options of the
    command.

    Of a setting that is given more than once the last wins: `base`, the recipe, the arguments,
    `strength`, `settings`.

    Args:
        data: images; None: not known yet, and those of the recipe, if any.
        settings: further settings as a nested dictionary.
        strength: see `sparring.train`.
        backbone: your own network, or the name of one.
        arguments: values by name, see `sparring.training.arguments`.
        base: settings of another run; None: the defaults.
        report: receives a line about settings that were chosen because of `encoder.weights`.

    Raises:
        ConfigError: for an unknown name or a value that is not accepted.
    """
    network = network_of(backbone)
    if network is not None:
        _require_learning(network)
        arguments["backbone"] = CUSTOM + type(network).__name__
    elif isinstance(backbone, str):
        arguments["backbone"] = backbone
    own = registry.give("method", method) if method is not None else None
    around = [opponent] if isinstance(opponent, str | type) else list(opponent or ())
    names = [registry.give("opponent", name) for name in around]
    shipped = find_recipe(recipe) if recipe is not None else {}
    tree = merged(
        {"method": registry.DEFAULT_METHOD},
        base or {},
        shipped,
        {"data": {"path": stored_path(data)}} if data is not None else {},
        {"method": own} if own is not None else {},
        {"opponent": names} if names else {},
        argument_settings(arguments),
        settings or {},
    )
    if strength is not None:
        (held,) = strength_settings([RunConfig.from_tree(tree)], strength)
        tree = merged(tree, held, settings or {})
    name = RunConfig.from_tree(tree).encoder.backbone
    require_backbone(name)
    if network is not None and not name.startswith(CUSTOM):
        raise ConfigError(
            f"a network was given, and encoder.backbone='{name}' names another; leave one of them "
            "out"
        )
    return RunConfig.from_tree(
        with_start_settings(tree, recipe=shipped, backbone=network, report=report)
    )


def network_of(backbone: nn.Module | str | None) -> nn.Module | None:
    """A network of one's own among the values of the argument `backbone`; None for a name."""
    return backbone if isinstance(backbone, nn.Module) else None


def stored_path(data: ImageData) -> str:
    """Path of images as a configuration stores it; empty for images in memory."""
    if not isinstance(data, str | Path):
        return ""
    if is_address(data):
        return stored_address(str(data))
    if is_shard_pattern(str(data)):
        return absolute_pattern(str(data))
    return str(data) if "\0" in str(data) else str(Path(data).expanduser().resolve())


def _require_learning(network: nn.Module) -> None:
    parameters = list(network.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        raise ConfigError(
            f"backbone: all {len(parameters):,} parameters of {type(network).__name__} are frozen, "
            "so nothing of it would learn; call requires_grad_() on the layers that should"
        )
