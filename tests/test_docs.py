"""What the documentation says holds: doctests, options of commands, links, contracts, the README's
map. What it shows is run by tests/test_snippets.py."""

import doctest
import importlib
import importlib.util
import inspect
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

import site_links
import sparring
from sparring import api
from sparring.api import recipes
from sparring.command import commands as cli
from sparring.config import merged
from sparring.methods import registry

ROOT = Path(__file__).parents[1]
SOURCE = Path(sparring.__file__).parent
PAGES = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
    if path.exists()
]
WITH_DOCTESTS = [
    ".".join(["sparring", *path.relative_to(SOURCE).with_suffix("").parts])
    for path in sorted(SOURCE.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("module", WITH_DOCTESTS)
def test_doctests_hold(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


SHELL = re.compile(r"^```(?:sh|bash)[^\n]*\n(.*?)^```", re.M | re.S)
INDENTED = re.compile(r"^ {4}(.*)$", re.M)
SPARRING = re.compile(r"(?:\w+=\S+ )*sparring (.*?)&?$")


def commands(page: Path) -> list[list[str]]:
    """Every `sparring ...` line in the shell blocks and in the indented blocks of a page."""
    text = page.read_text().replace("\\\n", " ")
    blocks = SHELL.findall(text) + INDENTED.findall(site_links.without_code(text))
    lines = [SPARRING.match(line.strip()) for block in blocks for line in block.splitlines()]
    return [shlex.split(found[1], comments=True) for found in lines if found is not None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_pages_exist_with_these_options(page: Path) -> None:
    import typer.main

    group: Any = typer.main.get_command(cli.app)
    for name, *arguments in commands(page):
        command = group if name.startswith("-") else group.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert name in {*known, *group.commands}
        for argument in arguments:
            if argument.startswith("--"):
                assert argument.partition("=")[0] in known, (
                    f"{page.name}: sparring {name} {argument}"
                )


def test_commands_are_found_in_blocks_of_both_forms() -> None:
    found = commands(ROOT / "docs" / "strength.md") + commands(ROOT / "README.md")
    assert {"train", "compare", "evaluate"} <= {name for name, *_ in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in site_links.targets(page.read_text()):
        if site_links.is_external(link):
            assert link.startswith(("https://", "mailto:")), link
            continue
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in site_links.anchors(file.read_text()), f"{page.name} links to {link}"


def test_anchors_are_those_of_github() -> None:
    text = "# `sparring plan`, and why\n```\n# no heading\n```\n## A [link](x.md)\n## A link\n"
    wanted = {"sparring-plan-and-why", "a-link", "a-link-1"}
    assert site_links.anchors(text) == wanted


def map_of_the_readme() -> tuple[set[str], set[str]]:
    """Names in the README's map: those at the top of the repository, those in src/sparring."""
    section = (ROOT / "README.md").read_text().partition("## Where things are")[2]
    tree = section.partition("```\n")[2].partition("```")[0]
    top = set(re.findall(r"^([^\s/]+)", tree, flags=re.MULTILINE))
    inside = set(re.findall(r"^  ([^\s/]+)", tree, flags=re.MULTILINE))
    return top, inside


def tracked(folder: Path) -> set[str]:
    """What git holds directly in a folder, hidden files left out."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: which files belong to the repository is not known")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    names = {Path(line).parts[0] for line in listed.splitlines()}
    return {name for name in names if not name.startswith(".")}


def test_the_readmes_map_names_every_file_and_folder_at_the_top() -> None:
    assert tracked(ROOT) - map_of_the_readme()[0] == set()


def test_the_readmes_map_names_every_module_and_folder_of_the_package() -> None:
    assert tracked(ROOT / "src" / "sparring") - map_of_the_readme()[1] == set()


def test_what_the_readmes_map_names_exists() -> None:
    top, inside = map_of_the_readme()
    missing = [name for name in sorted(top) if not (ROOT / name).exists()]
    missing += [name for name in sorted(inside) if not (SOURCE / name).exists()]
    assert missing == []


def test_files_named_in_the_readmes_section_on_places_exist() -> None:
    shown = (
        (ROOT / "README.md")
        .read_text()
        .partition("## Where things are")[2]
        .partition("## Licence")[0]
    )
    for name in re.findall(r"\b([a-z_]+\.py)\b", shown):
        places = (SOURCE.rglob(name), ROOT.glob(name), ROOT.glob(f"examples/{name}"))
        assert any(list(found) for found in places), name


def test_every_method_has_a_page_and_a_line_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in registry.shipped("method"):
        assert f"`{name}`" in readme
        assert (ROOT / "docs" / "methods" / f"{name}.md").is_file()


def test_every_opponent_has_a_page_and_a_line_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in registry.shipped("opponent"):
        assert f"`{name}`" in readme
        assert (ROOT / "docs" / "methods" / f"{registry.section_of(name)}.md").is_file()


WRITTEN = PAGES


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_stops_at_column_100(page: Path) -> None:
    lines = page.read_text().splitlines()
    # A row of a table and a picture cannot be wrapped.
    long = [line for line in lines if len(line) > 100 and not line.startswith(("|", "!["))]
    assert long == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_cell_of_a_table_is_at_most_a_short_sentence(page: Path) -> None:
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    # A link's address is not read.
    cells = [
        re.sub(r"\]\([^)]*\)", "]", cell) for row in rows for cell in row.strip("|").split(" | ")
    ]
    assert [cell for cell in cells if len(cell) > 100] == []


REPLACED = re.compile(
    r"\b([Rr]ehears(e|al)\w*|Stage|camp|Learner|Turn|teams|[Cc]ontest(ant)?s?|Material|eyes|look_at"
    r"|Teller|Reporter)\b"
)
"""Words that stood for something which the field has a word for; docs/design.md, section 2."""


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_speaks_in_the_words_of_the_field(page: Path) -> None:
    assert [found.group() for found in REPLACED.finditer(page.read_text())] == []


LOG = ROOT / "docs" / "log"
EXPERIMENTS = sorted(page for page in LOG.glob("*.md") if page.name != "README.md")


@pytest.mark.parametrize("page", EXPERIMENTS, ids=lambda page: page.stem)
def test_a_page_of_the_log_has_question_date_answer_table_command_and_limits(page: Path) -> None:
    text = page.read_text()
    assert re.match(r"# .+\?\n", text)
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", text)
    for part in ("**Answer.**", "\n| ", "**Command", "**Not done.**"):
        assert part in text, part


def test_the_index_of_the_log_lists_every_page() -> None:
    linked = re.findall(r"\]\(([^)]+\.md)\)", (LOG / "README.md").read_text())
    assert sorted(linked) == [page.name for page in EXPERIMENTS]


@pytest.mark.parametrize("name", recipes())
def test_recipe_is_a_configuration_and_its_head_says_what_it_takes(name: str) -> None:
    from sparring.training.settings import RunConfig

    config = RunConfig.from_tree(merged(api.find_recipe(name), {"data": {"path": "photos"}}))
    head = recipes()[name].read_text().partition("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert config.method in registry.shipped("method")
    for word in ("Command:", "Hardware:"):
        assert word in head


SIGNATURES = re.findall(
    r"^```signatures\n(.*?)^```", (ROOT / "docs" / "design.md").read_text(), re.M | re.S
)[0].splitlines()


@pytest.mark.parametrize("line", SIGNATURES)
def test_a_contract_of_the_design_is_that_of_the_code(line: str) -> None:
    place, _, parameters = line.rstrip(")").partition("(")
    parts = place.split(".")
    depth = next(n for n in range(len(parts), 0, -1) if _is_module(".".join(parts[:n])))
    found: Any = importlib.import_module(".".join(parts[:depth]))
    for name in parts[depth:]:
        found = getattr(found, name)
    assert ", ".join(inspect.signature(found).parameters) == parameters


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_the_table_of_layers_is_the_one_that_the_import_rule_enforces() -> None:
    from test_imports import LAYERS

    text = (ROOT / "docs" / "design.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.M)
    shown: dict[int, set[str]] = {}
    for number, names in rows:  # a layer may have several rows
        shown.setdefault(int(number), set()).update(re.findall(r"`(\w+)`", names))
    layers = [{name for name in layer if name[0] != "_"} for layer in LAYERS]
    assert shown == dict(enumerate(layers))


def test_every_public_name_is_listed_and_found() -> None:
    listed = {name for name in dir(sparring) if not name.startswith("_")}
    assert listed == set(sparring.__all__)
    promised = {"train", "resume", "load", "evaluate", "embed", "export", "report", "plan"}
    assert promised | {"list_methods", "list_protocols", "doctor"} <= listed
    assert all(getattr(sparring, name) is not None for name in sparring.__all__)
    # A package that is imported must not hide a function of its name.
    importlib.import_module("sparring.reporting")
    importlib.import_module("sparring.planning")
    assert callable(sparring.report)
    assert callable(sparring.plan)
