"""Inspection of settings models: their sections, the fields that are read, and their
explanations."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

from sparring.config import Settings


def is_section(kind: object) -> bool:
    """Whether a field's type is a settings model."""
    return isinstance(kind, type) and issubclass(kind, Settings)


def models(root: type[Settings]) -> Iterator[type[Settings]]:
    """List of a settings model and all models nested in it."""
    yield root
    for field in root.model_fields.values():
        for kind in get_args(field.annotation) or (field.annotation,):
            if is_section(kind) and kind is not root:
                yield from models(kind)


@contextmanager
def fields_read() -> Iterator[set[str]]:
    """Names, as `Model.field`, of all fields that are read within the context."""
    seen: set[str] = set()
    original = Settings.__getattribute__

    def watched(self: Settings, name: str) -> Any:
        """Record the name of the field, and read it."""
        if name in type(self).model_fields:
            seen.update(f"{kind.__name__}.{name}" for kind in type(self).__mro__)
        return original(self, name)

    Settings.__getattribute__ = watched  # type: ignore[method-assign,assignment]
    try:
        yield seen
    finally:
        Settings.__getattribute__ = original  # type: ignore[method-assign]


def require_explained(model: type[Settings]) -> None:
    """Raise an error for a model with a field that is not explained.

    A field is explained by a docstring below it, by a docstring of the class that lists its values,
    or because it is a section. Fields of a base class are checked there.
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
