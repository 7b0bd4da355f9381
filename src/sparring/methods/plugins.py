"""Objects that someone else wrote, loaded from `FILE.py:NAME` or `package.module:NAME`."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from sparring.errors import ConfigError, unknown_name


def is_reference(text: str) -> bool:
    """Whether a name says where the object is: `FILE.py:NAME` or `package.module:NAME`."""
    return ":" in text


def load_named(text: str, *, what: str) -> object:
    """The object of that name in a file or a module, which is run for it.

    Args:
        text: `FILE.py:NAME` or `package.module:NAME`.
        what: kind of object, for messages, such as "method".

    Raises:
        ConfigError: if the file, the module or the name does not exist, or running it fails.
    """
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise ConfigError(
            f"{what} '{text}': give FILE.py:NAME or package.module:NAME, such as my_file.py:MyClass"
        )
    module = _run(place, text, what=what)
    if not hasattr(module, name):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise ConfigError(f"{what} '{text}': " + unknown_name("name", name, public))
    return getattr(module, name)


def _run(place: str, text: str, *, what: str) -> ModuleType:
    try:
        return _file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except FileNotFoundError:
        raise ConfigError(f"{what} '{text}': there is no file {place}; check the path") from None
    except ModuleNotFoundError as error:
        if error.name and place.split(".")[0] == error.name.split(".")[0]:
            raise ConfigError(
                f"{what} '{text}': there is no module {error.name}; install it, or name its file"
            ) from None
        raise ConfigError(f"{what} '{text}': {place} needs {error.name}; install it") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "no message"
        raise ConfigError(
            f"{what} '{text}': running {place} failed with {type(error).__name__}: {reason}"
        ) from None


def _file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(path)
    name = f"sparring_plugin_{path.stem}_{abs(hash(str(path))):x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
