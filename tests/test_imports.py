"""The import rule of docs/design.md: a module imports from its own package and from lower layers, a
method never imports a method."""

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import sparring
from sparring.methods import registry

LAYERS = (
    {
        "errors",
        "files",
        "regular_files",
        "config",
        "seeding",
        "rendezvous",
        "distributed",
        "peers",
        "machine_memory",
        "transfers",
        "step_parts",
        "wording",
    },
    {"acceleration"},
    {"objectives", "measures", "models", "data", "optim"},
    {"strength"},
    {"negatives"},
    {"methods"},
    {"opponents"},
    {"training"},
    {"evaluation", "loggers"},
    {"formats", "reporting"},
    {"studies", "indexing"},
    {"api", "command", "contract", "planning", "testing", "__init__", "__main__"},
)
"""The table of docs/design.md, with the small modules of the last layer spelt out."""
SOURCE = Path(sparring.__file__).parent


def package_of(module: str) -> str:
    """First name below `sparring`: a package, or a module of the top level."""
    return module.split(".")[0]


def layer_of(module: str) -> int:
    return next(number for number, packages in enumerate(LAYERS) if package_of(module) in packages)


def may_import(importer: str, imported: str) -> bool:
    """Whether the layers allow it; modules of the bottom and of the top layer count as one package
    each."""
    own, other = layer_of(importer), layer_of(imported)
    is_one_package = package_of(importer) == package_of(imported) or own in (0, len(LAYERS) - 1)
    return other < own or (other == own and is_one_package)


def imported_modules(tree: ast.AST, known: set[str]) -> set[str]:
    """Modules of this library that a file imports, wherever in the file; without the leading
    `sparring.`"""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "sparring":
                found.add(_nearest(name.removeprefix("sparring").lstrip("."), known))
    return found


def _nearest(name: str, known: set[str]) -> str:
    """The module in which an imported name lives."""
    while name not in known:
        if "." not in name:
            return "__init__"
        name = name.rpartition(".")[0]
    return name


def graph_of(files: Mapping[str, str]) -> dict[str, set[str]]:
    """For each module what it imports, from the modules' sources."""
    return {
        name: imported_modules(ast.parse(text), set(files)) - {name} for name, text in files.items()
    }


def violations(graph: Mapping[str, set[str]], methods: set[str]) -> list[str]:
    """Sentences about imports that break the rule."""
    wrong = []
    for importer, imports in graph.items():
        for imported in sorted(imports):
            if not may_import(importer, imported):
                wrong.append(f"{importer} imports {imported}, which is not below it")
            if importer in methods and imported in methods:
                wrong.append(f"method {importer} imports method {imported}")
    return wrong


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules of one cycle, empty if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for imported in sorted(graph.get(name, ())):
            if found := walk(imported, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def library() -> dict[str, str]:
    paths = {path: path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py")}
    names = {
        path: ".".join(part for part in short.parts if part != "__init__") or "__init__"
        for path, short in paths.items()
    }
    return {name: path.read_text() for path, name in names.items()}


METHOD_FILES = {
    place.partition(":")[0].removeprefix("sparring.")
    for _, place in registry.shipped("method").values()
}


def test_every_shipped_method_has_a_file_of_its_own() -> None:
    assert len(METHOD_FILES) == len(registry.shipped("method")) >= 12
    assert library().keys() >= METHOD_FILES


def test_every_package_has_a_layer() -> None:
    known = set().union(*LAYERS)
    assert {package_of(name) for name in library()} <= known


def test_modules_import_downwards_only() -> None:
    assert violations(graph_of(library()), METHOD_FILES) == []


def test_no_import_goes_round_in_a_circle() -> None:
    # The package's own file is left out: it imports `api` when asked for a name of it.
    graph = {
        name: imports - {"__init__"}
        for name, imports in graph_of(library()).items()
        if name != "__init__"
    }
    assert cycle_in(graph) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("models.encoder", "from sparring.methods.adco import AdCo"),
        ("models.encoder", "from sparring.data import views"),
        ("objectives.contrastive", "import sparring.training.loop"),
        (
            "training.loop",
            "def late():\n    from sparring.evaluation.frozen.logistic import linear_probe",
        ),
        ("config", "from sparring import api"),
        ("methods.mocov2", "from sparring.methods.adco import AdCoSettings"),
        ("reporting.report", "from sparring.formats.weights import export_weights"),
    ],
)
def test_checker_sees_an_import_that_breaks_the_rule(module: str, line: str) -> None:
    files = library()
    files[module] += f"\n{line}\n"
    assert len(violations(graph_of(files), METHOD_FILES)) == 1


def test_checker_sees_a_cycle() -> None:
    files = library()
    files["errors"] += "\nfrom sparring.config import Settings\n"
    assert set(cycle_in(graph_of(files)) or ()) == {"config", "errors"}


@pytest.mark.parametrize(
    "module", ["sparring", "sparring.command.commands", "sparring.methods.registry"]
)
def test_light_modules_do_not_import_torch(module: str) -> None:
    heavy = "{'torch', 'timm', 'torchvision', 'numpy', 'matplotlib'}"
    code = (
        f"import {module}, sys; found = {heavy} & set(sys.modules); sys.exit(str(found) if found "
        "else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
