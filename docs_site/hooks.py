"""Hooks of mkdocs: pages from outside docs/, links that lead there, generated parts, navigation."""

import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import command_reference
import metric_reference
import settings_reference
import site_links
import site_pages

DOCS = site_pages.ROOT / "docs"
GENERATED = {
    "commands": command_reference.commands,
    "settings": settings_reference.settings,
    "protocol settings": settings_reference.protocol_settings,
    "metrics": metric_reference.metrics,
}
"""What stands in place of `<!-- generated: NAME -->`."""

_places: dict[Path, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every page of a folder in the place of `folder/*` in the navigation."""
    config.nav = [_expanded(entry) for entry in config.nav or []]
    return config


def _expanded(entry: Any) -> Any:
    """An entry of the navigation, its patterns replaced by the pages that they name."""
    if not isinstance(entry, dict):
        return entry
    [(title, content)] = entry.items()
    if not isinstance(content, list):
        return entry
    shown = [_expanded(part) for part in content]
    named = {page for page in _leaves(shown) if "*" not in page}
    expanded = []
    for part in shown:
        if isinstance(part, str) and "*" in part:
            found = sorted(str(path.relative_to(DOCS)) for path in DOCS.glob(part))
            expanded += [page for page in found if page not in named]
        else:
            expanded.append(part)
    return {title: expanded}


def _leaves(entries: list[Any]) -> list[str]:
    """Pages named in a part of the navigation."""
    values = [next(iter(one.values())) if isinstance(one, dict) else one for one in entries]
    return [page for one in values for page in (_leaves(one) if isinstance(one, list) else [one])]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/, and note where every file of the site lies."""
    for file in files:
        _places[DOCS / file.src_uri] = file.src_uri
    for name, place in site_pages.TOP_PAGES.items():
        source = site_pages.ROOT / name
        if source.is_file():
            files.append(File.generated(config, place, content=site_pages.top_page(source)))
            _places[source] = place
    for notebook in sorted(DOCS.glob("notebooks/*.ipynb")):
        content, pictures = site_pages.notebook_page(notebook)
        place = f"notebooks/{notebook.stem}.md"
        files.append(File.generated(config, place, content=content))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
        _places[notebook] = place
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page as the site shows it: generated parts, links, and code blocks without remarks."""
    place = page.file.src_uri
    if place not in _notebooks():
        origin = {where: file for file, where in _places.items()}[place]
        markdown = site_links.moved(
            markdown, origin=origin, page=place, places=_places, outside=_in_the_repository
        )
    markdown = re.sub(
        r"^<!-- generated: ([\w ]+) -->$",
        lambda found: GENERATED[found[1]](),
        markdown,
        flags=re.M,
    )
    markdown = re.sub(
        r"(?<=\| )(\d{4}-\d\d-\d\d)(?= \|)", r'<span class="date">\1</span>', markdown
    )
    # What follows the language is for the tests: `python runnable`.
    return re.sub(r"^( *```\w+) .*$", r"\1", markdown, flags=re.M)


def _notebooks() -> set[str]:
    """Pages that are made of notebooks."""
    return {place for file, place in _places.items() if file.suffix == ".ipynb"}


def on_post_build(config: MkDocsConfig) -> None:
    """List the links that lead out of the site, which nothing fetches, in external-links.txt beside
    it."""
    listed = sorted(
        f"{place}: {target}"
        for file, place in _places.items()
        if file.suffix == ".md"
        for target in site_links.targets(file.read_text())
        if site_links.is_external(target)
    )
    (Path(config.site_dir).parent / "external-links.txt").write_text("\n".join([*listed, ""]))


def _in_the_repository(text: str, file: Path) -> str:
    """A link to a file of the repository, or its name where the repository has no address yet."""
    name = file.relative_to(site_pages.ROOT).as_posix()
    project = tomllib.loads((site_pages.ROOT / "pyproject.toml").read_text())["project"]
    address = project.get("urls", {}).get("Repository")
    if address:
        return f"[{text}]({address}/blob/main/{name})"
    return text if name in text else f"{text} (`{name}`)"
