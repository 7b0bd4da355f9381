"""Loading of an object from a user's file or from any importable module, by `FILE_OR_MODULE:NAME`.

Methods, opponents and protocols that are not part of the library are given this way. Importing
this file does not import torch.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from hashlib import blake2b
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from sparring.errors import ConfigError

_FILES: dict[Path, ModuleType] = {}
"""Modules imported from files, by resolved path, so that a file is executed once per process."""


def installed_points(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group that installed packages declare, by name in its order, none imported.

    All are `importlib.metadata.EntryPoint`: once another library has imported the
    `importlib_metadata` package, the interpreter's own function answers with that package's class.
    """
    declared = sorted((point.name, point.value) for point in entry_points(group=group))
    return {name: EntryPoint(name, value, group) for name, value in declared}


def is_reference(text: str) -> bool:
    """Whether a text refers to an object: `FILE.py:NAME` or `package.module:NAME`."""
    return ":" in text


def load_named(text: str, *, what: str) -> object:
    """Object that a text names, such as `my_file.py:NAME` or `package.module:NAME`.

    Args:
        text: a path that ends in `.py`, or the dotted name of a module; a colon; a name in it.
        what: kind of the object for messages, such as `protocol`.

    Raises:
        ConfigError: if the text has another form, the file or module is missing, its import fails,
            or it lacks the name.
    """
    where, _, name = text.rpartition(":")
    if not where or not name.isidentifier():
        raise ConfigError(f"{what} '{text}': write FILE.py:NAME or package.module:NAME")
    module = load_module(where, what=what)
    if not hasattr(module, name):
        names = _public_names(module)
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        raise ConfigError(
            f"{what} '{text}': {where} has no '{name}'{hint} It has: {', '.join(names) or '-'}"
        )
    return getattr(module, name)


def load_module(where: str, *, what: str) -> ModuleType:
    """Module of a file or of a dotted name; a file is imported once, under a name of its own.

    Args:
        where: a path that ends in `.py`, or the dotted name of a module.
        what: kind of object to take from it, for messages.

    Raises:
        ConfigError: if there is no such file or module, or its import fails.
    """
    if where.endswith(".py"):
        return _load_file(where, what=what)
    try:
        return import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise ConfigError(import_failure(what, where, error)) from error
        raise ConfigError(
            f"{what}: no module named '{where}' can be imported; install it, or give a file: "
            "FILE.py:NAME"
        ) from None
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise ConfigError(import_failure(what, where, error)) from error


def import_failure(what: str, where: str, error: BaseException) -> str:
    """Message for an exception raised while code from outside the library is imported.

    Example:
        >>> import_failure("protocol", "mine.py", ZeroDivisionError("division by zero"))
        'protocol: importing mine.py fails with ZeroDivisionError: division by zero'
    """
    reason = " ".join(str(error).split())
    kind = type(error).__name__
    return f"{what}: importing {where} fails with {kind}{f': {reason}' if reason else ''}"


def _load_file(where: str, *, what: str) -> ModuleType:
    """Module of a file, from the cache if it was imported before."""
    if "\0" in where:
        raise ConfigError(f"{what}: no such file: {where!r}")
    path = Path(where).expanduser().resolve()
    if path in _FILES:
        return _FILES[path]
    if not path.is_file():
        raise ConfigError(f"{what}: no such file: {where}{_nearest_file(path)}")
    # The name contains the whole path, so that two files `mine.py` are two modules, and neither
    # hides an installed module.
    name = f"sparring_file_{path.stem}_{blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # user code may raise anything
        del sys.modules[name]
        raise ConfigError(import_failure(what, where, error)) from error
    _FILES[path] = module
    return module


def _nearest_file(path: Path) -> str:
    """Hint that names the Python file, in the same folder, whose name is nearest to a missing
    one."""
    near = get_close_matches(path.name, [file.name for file in path.parent.glob("*.py")], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _public_names(module: ModuleType) -> list[str]:
    """Names that a module defines itself: neither modules nor classes and functions of other
    modules."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and (not hasattr(value, "__qualname__") or value.__module__ == module.__name__)
    )
