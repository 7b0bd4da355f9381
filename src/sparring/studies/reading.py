"""Plans of studies from TOML files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparring.config import Tree, read_toml
from sparring.data.sources.addresses import is_address
from sparring.data.sources.public_sets import is_public_set
from sparring.errors import ConfigError, unknown_name
from sparring.methods.plugins import is_reference
from sparring.studies.arms import arms_of
from sparring.studies.plan import Study
from sparring.studies.trust import require_no_command

SHORTHAND = ("methods", "twins", "controls")
"""Keys of a plan's file from which arms are made, besides the fields of `Study`."""


def read_plan(path: str | Path) -> Study:
    """Study of a plan's file.

    Besides the fields of `Study` it takes `methods = ["adco", "mocov2"]` in place of arms, or
    before further ones, with `twins` and `controls` as `arms_of` takes them. Paths are relative to
    the file.

    Args:
        path: TOML file.

    Raises:
        ConfigError: if it cannot be read, or for a key or value that is not accepted; the message
            names the file, and the nearest key.
    """
    path = Path(path)
    tree = read_toml(path)
    try:
        study = Study.build(with_arms(_placed(tree, path.absolute().parent)))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    require_no_command(study, path)
    return study


def with_arms(tree: Mapping[str, Any]) -> Tree:
    """Tree of a plan in which `methods`, `twins` and `controls` are spelt out as arms.

    Args:
        tree: fields of `Study`, and those keys.

    Raises:
        ConfigError: for an unknown key or name.
    """
    known = [*Study.model_fields, *SHORTHAND]
    for key in tree:
        if key not in known:
            raise ConfigError(unknown_name("setting", key, known))
    rest = {key: value for key, value in tree.items() if key not in SHORTHAND}
    if "methods" not in tree:
        for key in ("twins", "controls"):
            if key in tree:
                raise ConfigError(f"{key} needs methods, whose {key} are added; name some")
        return rest
    arms = arms_of(
        _texts("methods", tree["methods"]),
        twins=_twins(tree.get("twins", False)),
        controls=bool(tree.get("controls", False)),
        recipe=tree.get("recipe"),
        epochs=tree.get("epochs"),
    )
    own = [arm.model_dump(mode="json") for arm in arms]
    return {**rest, "arms": [*own, *rest.get("arms", ())]}


def _texts(key: str, value: object) -> list[str]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(text, str) for text in found):
        raise ConfigError(f"{key}: should be a name or a list of names, got {value!r}")
    return list(found)


def _twins(value: object) -> bool | list[str]:
    return value if isinstance(value, bool) else _texts("twins", value)


def _placed(tree: Mapping[str, Any], folder: Path) -> Tree:
    """Tree whose relative paths are those below a folder."""
    found = dict(tree)
    for key, where in (("data", _data), ("recipe", _recipe)):
        if isinstance(found.get(key), str):
            found[key] = where(found[key], folder)
    if isinstance(methods := found.get("methods"), list | tuple):
        found["methods"] = [_code(name, folder) for name in methods]
    if isinstance(tests := found.get("tests"), list | tuple):
        found["tests"] = [_with(one, ("data", "train_data"), _data, folder) for one in tests]
    if isinstance(arms := found.get("arms"), list | tuple):
        found["arms"] = [_placed_arm(one, folder) for one in arms]
    return found


def _placed_arm(arm: object, folder: Path) -> object:
    arm = _with(_with(arm, ("recipe",), _recipe, folder), ("method",), _code, folder)
    if isinstance(arm, dict):
        if isinstance(opponents := arm.get("opponent"), list | tuple):
            arm = {**arm, "opponent": [_code(name, folder) for name in opponents]}
        if "tuning" in arm:
            arm = {**arm, "tuning": _with(arm["tuning"], ("images",), _if_there, folder)}
    return arm


def _with(part: object, keys: tuple[str, ...], place: Any, folder: Path) -> object:
    if not isinstance(part, Mapping):
        return part
    return {
        key: place(value, folder) if key in keys and isinstance(value, str) else value
        for key, value in part.items()
    }


def _data(text: str, folder: Path) -> str:
    if not text or is_address(text) or is_public_set(text):
        return text
    return str(folder / Path(text).expanduser())


def _if_there(text: str, folder: Path) -> str:
    """Path of images, which in words may also be described."""
    path = folder / text
    return str(path) if text and not is_address(text) and path.exists() else text


def _recipe(text: str, folder: Path) -> str:
    return str(folder / text) if text.endswith(".toml") else text


def _code(text: object, folder: Path) -> object:
    """FILE.py:CLASS with the whole path of the file."""
    if not isinstance(text, str) or not is_reference(text):
        return text
    file, _, name = text.rpartition(":")
    return f"{folder / file}:{name}" if file.endswith(".py") else text
