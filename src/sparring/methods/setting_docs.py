"""Names and docstrings of settings, read from source files without running them.

A setting is explained by the string below it in its class, which Python does not keep. Printed
configurations and the schema of recipes read it here; completion reads the names too, as running
the files would import torch.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from sparring.config import toml_text

if TYPE_CHECKING:
    from pydantic import BaseModel

COMMENT_WIDTH = 100
"""Columns to which comments are wrapped."""
UNSET = "<not set>"
"""Mark in the place of a value that is None."""
NO_SETTINGS = ("ClassVar", "_")
"""Beginnings of annotations and of names that make no setting."""


@dataclass(frozen=True)
class DeclaredField:
    """One setting as its class declares it.

    Attributes:
        types: names in its annotation, such as `float` and `None`.
        doc: its docstring in one line; empty: none.
    """

    types: tuple[str, ...]
    doc: str


@dataclass(frozen=True)
class DeclaredClass:
    """One class of a source file.

    Attributes:
        bases: names of its base classes.
        fields: its own settings by name, in order.
        assigned: names that are the values of its attributes, by attribute.
    """

    bases: tuple[str, ...]
    fields: dict[str, DeclaredField]
    assigned: dict[str, str]


@dataclass(frozen=True)
class SourceFile:
    """Classes of a source file by name, and the modules from which it imports other names."""

    classes: dict[str, DeclaredClass]
    imports: dict[str, str]


@cache
def source_file(path: Path) -> SourceFile:
    """Classes and imports at the top level of a Python file."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = {
        node.name: DeclaredClass(
            bases=tuple(base.id for base in node.bases if isinstance(base, ast.Name)),
            fields=dict(_fields(node)),
            assigned=dict(_assigned(node)),
        )
        for node in body
        if isinstance(node, ast.ClassDef)
    }
    imports = {
        name.asname or name.name: node.module
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
    }
    return SourceFile(classes, imports)


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Attributes of a class that are given another name as their value."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name):
            targets = [each for each in statement.targets if isinstance(each, ast.Name)]
            yield from ((target.id, statement.value.id) for target in targets)


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, DeclaredField]]:
    for statement, following in zip(node.body, [*node.body[1:], None]):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name, annotation = statement.target.id, ast.unparse(statement.annotation)
            parts = [part for part in ast.walk(statement.annotation) if isinstance(part, ast.Name)]
            if not (name.startswith(NO_SETTINGS) or annotation.startswith(NO_SETTINGS)):
                yield name, DeclaredField(tuple(part.id for part in parts), _text(following))


def _text(statement: ast.stmt | None) -> str:
    """A string that stands by itself, in one line; empty if the statement is another."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return " ".join(value.value.split()) if is_text else ""  # type: ignore[union-attr]


def setting_docs(model: type[BaseModel]) -> dict[str, str]:
    """Docstrings of a model's settings by name, inherited ones too; those without are left out."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        found |= {name: field.doc for name, field in _declared(kind).items() if field.doc}
    return {name: found[name] for name in model.model_fields if name in found}


def setting_comments(settings: BaseModel, prefix: str = "") -> dict[str, str]:
    """Docstrings of all settings of a model and of its sections, by full name.

    Args:
        settings: settings.
        prefix: beginning of the full names, with its dot.
    """
    docs = setting_docs(type(settings))
    found = {prefix + name: doc for name, doc in docs.items()}
    for name, value in settings:
        if hasattr(type(value), "model_fields"):
            found |= setting_comments(value, f"{prefix}{name}.")
    return found


def explained_toml(tree: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Nested dictionary as a TOML document with comments above its keys and sections.

    A key whose value is None, which TOML cannot say, is shown as a comment.

    Args:
        tree: values by key.
        comments: explanations by full name, such as those of `setting_comments`.
    """
    lines, section = [], ""
    for line in toml_text(_with_marks(tree)).splitlines():
        header = re.fullmatch(r"\[(.+)\]", line)
        key = line.partition(" = ")[0]
        if header:
            section, place = f"{header[1]}.", header[1]
        else:
            place = section + key
        lines += [f"# {part}" for part in wrap(comments.get(place, ""), COMMENT_WIDTH - 2)]
        lines.append(f"# {key}: not set" if line == f'{key} = "{UNSET}"' else line)
    return "\n".join(lines) + "\n"


def _with_marks(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with a mark in the place of each None."""
    return {
        key: _with_marks(value) if isinstance(value, Mapping) else UNSET if value is None else value
        for key, value in tree.items()
    }


def _declared(kind: type) -> dict[str, DeclaredField]:
    """Settings that a class declares itself; none if its source cannot be had."""
    try:
        path = inspect.getsourcefile(kind)
        classes = source_file(Path(path)).classes if path else {}
    except (OSError, TypeError, SyntaxError):  # defined on a command line, or an edited file
        return {}
    return classes[kind.__name__].fields if kind.__name__ in classes else {}
