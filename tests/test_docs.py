"""What the documentation shows runs: blocks marked `python runnable`, doctests, commands and
links."""

import doctest
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import sparring
from sparring import api
from sparring.api import recipes
from sparring.command import commands as cli
from sparring.config import merged
from sparring.methods.registry import METHODS
from tiny import write_photos

ROOT = Path(__file__).parents[1]
SOURCE = Path(sparring.__file__).parent
PAGES = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
    if path.exists()
]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(
            r"^```python runnable\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL
        )
    )
]
LITTLE_WORK = {
    "encoder": {"width": 0.0625},
    "training": {"batch_size": 16, "max_steps": 2, "monitor_images": 16},
    "bank": {"size": 32},
}


@pytest.fixture
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training as a page writes it, but two steps of a narrow network."""
    whole = api.train

    def train(*arguments: Any, settings: dict[str, Any] | None = None, **named: Any) -> api.Run:
        keep = (
            LITTLE_WORK
            if named.get("method", "adco") == "adco"
            else {k: v for k, v in LITTLE_WORK.items() if k != "bank"}
        )
        return whole(*arguments, settings=merged(settings or {}, keep), **named)

    monkeypatch.setattr(api, "train", train)


@pytest.mark.parametrize("block", BLOCKS)
def test_runnable_block_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, little_work: None
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    exec(compile(block, "block", "exec"), {"__name__": "__main__"})


def test_readme_shows_at_least_one_runnable_block_of_twelve_lines() -> None:
    assert BLOCKS
    block = re.findall(
        r"^```python runnable\n(.*?)^```",
        (ROOT / "README.md").read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )[0]
    assert len([line for line in block.splitlines() if line]) <= 12


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


def commands(page: Path) -> list[list[str]]:
    """Every `sparring ...` line in the shell blocks of a page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("sparring ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_pages_exist_with_these_options(page: Path) -> None:
    import typer.main

    group: Any = typer.main.get_command(cli.app)
    for name, *arguments in commands(page):
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        for argument in arguments:
            if argument.startswith("--"):
                assert argument.partition("=")[0] in known, (
                    f"{page.name}: sparring {name} {argument}"
                )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_of_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_files_named_in_the_readmes_map_exist() -> None:
    shown = (
        (ROOT / "README.md")
        .read_text()
        .partition("## Where things are")[2]
        .partition("## Licence")[0]
    )
    for name in re.findall(r"\b([a-z_]+\.py)\b", shown):
        assert list(SOURCE.rglob(name)), name
    tree = shown.partition("```\n")[2].partition("```")[0]
    for name in re.findall(r"^  ([a-z]+)/", tree, flags=re.MULTILINE):
        assert (SOURCE / name).is_dir(), name


def test_every_method_has_a_page_and_a_line_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in METHODS:
        assert f"`{name}`" in readme
        assert (ROOT / "docs" / "methods" / f"{name}.md").is_file()


@pytest.mark.parametrize("name", recipes())
def test_recipe_is_a_configuration_and_its_head_says_what_it_takes(name: str) -> None:
    from sparring.training.settings import RunConfig

    config = RunConfig.from_tree(merged(api.find_recipe(name), {"data": {"path": "photos"}}))
    head = recipes()[name].read_text().partition("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert config.method in METHODS
    for word in ("Command:", "Hardware:"):
        assert word in head
