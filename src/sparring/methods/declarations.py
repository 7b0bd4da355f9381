"""Declarations of a file, read without running it, so that a list of methods imports no torch.

A method, an opponent and a protocol each introduce themselves by one call with literal arguments,
`About(name="adco", summary="...")`, in their own file. This file finds these calls.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One declaration: a call with literal arguments that was found in a file.

    Attributes:
        module: dotted name of the file's module.
        owner: class in whose body the call stands; None at the top level of the file.
        value: result of the call.
    """

    module: str
    owner: str | None
    value: Any


def declarations(
    folder: Path, package: str, makers: Mapping[str, Callable[..., Any]], *, wanted: str
) -> Iterator[Declaration]:
    """All declarations of one kind in the files of a folder and its subfolders, in the order of
    paths.

    Args:
        folder: folder to search.
        package: dotted name of the folder.
        makers: callables that a declaration may use, by name.
        wanted: name of the outermost call.
    """
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if f"{wanted}(" not in text:
            continue
        parts = path.relative_to(folder).with_suffix("").parts
        module = ".".join([package, *(part for part in parts if part != "__init__")])
        tree = ast.parse(text)
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for owner, body in [(None, tree.body), *((node.name, node.body) for node in classes)]:
            for statement in body:
                call = getattr(statement, "value", None)
                if _is_call(call, wanted):
                    yield Declaration(module=module, owner=owner, value=_value(call, makers))


def _is_call(node: object, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _value(node: Any, makers: Mapping[str, Callable[..., Any]]) -> Any:
    """Value of a syntax node: a literal, or a call of a maker with such arguments."""
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        given = {part.arg: _value(part.value, makers) for part in node.keywords if part.arg}
        return makers[node.func.id](*(_value(part, makers) for part in node.args), **given)
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(part, makers) for part in node.elts)
    return ast.literal_eval(node)
