"""The house rules that a program can check, on the library and on the files around it."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import sparring
from sparring.methods import registry

SOURCE = Path(sparring.__file__).parent
ROOT = SOURCE.parents[1]
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Documented: TypeAlias = Function | ast.ClassDef | ast.Module

LONGEST_STEP, LONGEST_FUNCTION, LONGEST_FILE = 30, 60, 350
"""Lines of a method's `step`, of a function and of a file, the first two without docstrings."""
NEEDS_DOCSTRING = 4
"""Lines from which on a public function is explained."""
BARE_STARTS = ("Of ", "The same", "As ", "What is ", "Those ", "Who ")
"""Beginnings of a docstring that does not name its subject."""
REPLACED_WORDS = {
    *("camp", "contest", "contestant", "contestants", "eyes", "rehearsal", "rehearse"),
    *("reporter", "teams", "teller"),
}
"""Words that earlier versions used in identifiers where the field has a word of its own."""
REPLACED_NAMES = {
    *("Learner", "Material", "SharedForward", "Stage", "Turn"),
    *("look_at", "narrow_norm", "shared_forward"),
}
"""Identifiers of earlier versions whose single words have other uses."""
CONCRETE_ALLOWED = {
    "command/demo.py": "the demo shows one opponent and its control",
    "methods/registry.py": "DEFAULT_METHOD is the method of a run that names none",
}
"""Files outside methods/, opponents/ and recipes/ that may name a concrete method, and why."""
OTHER_MEANINGS = {
    "contract/processes.py": {"mocov2", "plain"},
    "data/views/view_settings.py": {"byol", "mocov2", "mocov3", "uel"},
    "evaluation/frozen/linear.py": {"adco", "caco"},
    "models/heads.py": {"dino", "mocov2", "mocov3", "plain", "simclr", "simsiam"},
    "objectives/triplet.py": {"hcl"},
}
"""Files in which these names are those of heads, of augmentations, of forms of a loss, or of a
linear probe's recipes, each named after the paper it comes from."""


def sources(folder: Path) -> Iterator[tuple[Path, str]]:
    """Python files of a folder and below, scripts without an ending included."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".py":
            yield path, path.read_text()
        elif path.is_file() and not path.suffix and path.read_bytes().startswith(b"#!"):
            text = path.read_text()
            if "python" in text.splitlines()[0]:
                yield path, text


LIBRARY = {str(path.relative_to(SOURCE)): text for path, text in sources(SOURCE)}
TREES = {name: ast.parse(text) for name, text in LIBRARY.items()}


def functions(tree: ast.AST, *, is_public: bool = True) -> Iterator[tuple[Function, bool]]:
    """Functions of a tree, nested ones too, and whether they and all around them are public."""
    for node in ast.iter_child_nodes(tree):
        inner = is_public
        if isinstance(node, Function | ast.ClassDef):
            inner = is_public and not node.name.startswith("_")
            if isinstance(node, Function):
                yield node, inner
        yield from functions(node, is_public=inner)


def num_lines(function: Function) -> int:
    """Lines of a function from `def` to its end, without its docstring."""
    lines = 1 + (function.end_lineno or function.lineno) - function.lineno
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= 1 + (docstring.end_lineno or docstring.lineno) - docstring.lineno
    return lines


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, those of attributes included."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = getattr(statement, "value", None)
            if (
                isinstance(statement, ast.Expr)
                and isinstance(value, ast.Constant)
                and isinstance(value.value, str)
            ):
                yield statement.lineno, value.value


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a file defines or uses."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            if isinstance(found := getattr(node, field, None), str):
                yield from found.split(".")


def words(identifier: str) -> set[str]:
    """Words of an identifier, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def concrete_names() -> set[str]:
    """Names of all methods and opponents that the library ships."""
    return {*registry.shipped("method"), *registry.shipped("opponent")}


def concrete_literals(tree: ast.AST, names: set[str]) -> set[str]:
    """Those of the names that are string literals of a file."""
    found = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {value for value in found if isinstance(value, str)} & names


def concrete_modules() -> set[str]:
    """Modules that hold a shipped method or an opponent."""
    shipped = (registry.shipped(kind).values() for kind in ("method", "opponent"))
    return {place.partition(":")[0] for entries in shipped for _, place in entries}


def imports(tree: ast.AST) -> set[str]:
    """Dotted names that a file imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def outside() -> Mapping[str, ast.Module]:
    """Files of the library that may not know a concrete method."""
    own = ("methods/", "opponents/")
    return {
        name: tree
        for name, tree in TREES.items()
        if name not in CONCRETE_ALLOWED and not name.startswith(own)
    }


def test_a_step_is_at_most_thirty_lines() -> None:
    kinds = ("method", "opponent")
    places = [place for kind in kinds for _, place in registry.shipped(kind).values()]
    lengths = {}
    for module, owner in (place.split(":") for place in places):
        name = module.removeprefix("sparring.").replace(".", "/") + ".py"
        (owned,) = (
            node
            for node in ast.walk(TREES[name])
            if isinstance(node, ast.ClassDef) and node.name == owner
        )
        (step,) = (function for function, _ in functions(owned) if function.name == "step")
        lengths[name] = num_lines(step)
    assert len(lengths) >= 12
    assert {name: n for name, n in lengths.items() if n > LONGEST_STEP} == {}


def test_no_method_counts_processes() -> None:
    counting = {"rank", "num_processes"}
    found = {
        name: counting & set(identifiers(tree))
        for name, tree in TREES.items()
        if name.startswith("methods/")
    }
    assert len(found) > 10
    assert {name: used for name, used in found.items() if used} == {}


def test_files_are_at_most_350_lines() -> None:
    lengths = {name: len(text.splitlines()) for name, text in LIBRARY.items()}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_functions_are_at_most_60_lines_without_their_docstring() -> None:
    long = {
        f"{name}:{function.lineno} {function.name}": lines
        for name, tree in TREES.items()
        for function, _ in functions(tree)
        if (lines := num_lines(function)) > LONGEST_FUNCTION
    }
    assert long == {}


def test_public_functions_are_explained() -> None:
    silent = [
        f"{name}:{function.lineno} {function.name}"
        for name, tree in TREES.items()
        for function, is_public in functions(tree)
        if is_public
        and num_lines(function) >= NEEDS_DOCSTRING
        and ast.get_docstring(function) is None
    ]
    assert silent == []


def test_docstrings_name_their_subject() -> None:
    bare = [
        f"{name}:{line} {text.splitlines()[0]}"
        for name, tree in TREES.items()
        for line, text in docstrings(tree)
        if text.startswith(BARE_STARTS)
    ]
    assert bare == []


def test_words_that_were_replaced_name_nothing() -> None:
    here = Path(__file__)
    folders = [
        folder
        for name in ("src", "tests", "benchmarks", "scripts", "examples")
        if (folder := ROOT / name).is_dir()
    ]
    found = set()
    for path, text in (each for folder in folders for each in sources(folder)):
        names = {path.stem, *identifiers(ast.parse(text))} if path != here else {path.stem}
        found |= {
            f"{path.relative_to(ROOT)}: {name}"
            for name in names
            if name in REPLACED_NAMES or words(name) & REPLACED_WORDS
        }
    assert sorted(found) == []


def test_only_methods_and_opponents_know_a_concrete_one() -> None:
    names, modules = concrete_names(), concrete_modules()
    found = {
        name: concrete_literals(tree, names - OTHER_MEANINGS.get(name, set()))
        | (imports(tree) & modules)
        for name, tree in outside().items()
    }
    assert {name: known for name, known in found.items() if known} == {}


def test_every_exception_is_needed() -> None:
    names = concrete_names()
    for name in CONCRETE_ALLOWED:
        assert concrete_literals(TREES[name], names), name
    for name, meanings in OTHER_MEANINGS.items():
        assert concrete_literals(TREES[name], meanings) == meanings, name
