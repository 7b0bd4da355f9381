"""Settings models walked through: what they hold, who reads them, whether they are explained."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

from sparring.config import Settings


def is_section(kind: object) -> bool:
    """Whether a field's type is a settings model of its own."""
    return isinstance(kind, type) and issubclass(kind, Settings)


def models(root: type[Settings]) -> Iterator[type[Settings]]:
    """A settings model and all those inside it."""
    yield root
    for field in root.model_fields.values():
        for kind in get_args(field.annotation) or (field.annotation,):
            if is_section(kind) and kind is not root:
                yield from models(kind)


@contextmanager
def fields_read() -> Iterator[set[str]]:
    """Names of all fields that are read meanwhile, as `Model.field`."""
    seen: set[str] = set()
    original = Settings.__getattribute__

    def watched(self: Settings, name: str) -> Any:
        """Note the field, and read it."""
        if name in type(self).model_fields:
            seen.update(f"{kind.__name__}.{name}" for kind in type(self).__mro__)
        return original(self, name)

    Settings.__getattribute__ = watched  # type: ignore[method-assign,assignment]
    try:
        yield seen
    finally:
        Settings.__getattribute__ = original  # type: ignore[method-assign]


def require_explained(model: type[Settings]) -> None:
    """Refuse a model with a field that nobody explains.

    A field is explained by a docstring below it, by the docstring of the class that lists its
    values, or by being a section of its own. Fields of a base are the base's.
    """
    try:
        (declaration,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    except (OSError, TypeError):  # defined on a command line
        return
    assert isinstance(declaration, ast.ClassDef)
    silent = []
    for node, following in zip(declaration.body, [*declaration.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        name, field = node.target.id, model.model_fields.get(node.target.id)
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if field is None or is_text or is_section(field.annotation):
            continue
        values = get_args(field.annotation)
        if not values or not all(f"`{value}`" in (model.__doc__ or "") for value in values):
            silent.append(name)
    assert not silent, f"{model.__name__}: no docstring explains {', '.join(silent)}"
