"""The site of the documentation: whole, with nothing loaded from elsewhere; its notebook runs."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sparring
import sparring.testing
from test_docs import ROOT

DOCS = ROOT / "docs"
SETTINGS = ROOT / "mkdocs.yml"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))

LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data)=\"?(https?:)?//"
    r"|<link\b(?=[^>]*rel=\"?(?:stylesheet|preload|preconnect|icon|modulepreload))"
    r"[^>]*href=\"?(https?:)?//"
)
"""A part of a page that a browser fetches from another server when the page is opened."""


def navigation() -> list[str]:
    """Pages and patterns that the navigation names."""
    yaml = pytest.importorskip("yaml")
    text = SETTINGS.read_text()
    return leaves(yaml.safe_load(text[text.index("\nnav:") :])["nav"])


def leaves(entries: Any) -> list[str]:
    """Texts in nested lists and dictionaries."""
    if isinstance(entries, dict):
        entries = list(entries.values())
    return [entries] if isinstance(entries, str) else [x for one in entries for x in leaves(one)]


def test_every_page_is_in_the_navigation() -> None:
    listed = {str(page.relative_to(DOCS)) for entry in navigation() for page in DOCS.glob(entry)}
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - listed == set()


def test_every_public_name_is_on_a_page_of_the_reference() -> None:
    text = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: sparring\.(\w+)$", text, flags=re.M))
    assert set(sparring.__all__) - shown == set()


def test_what_the_generated_parts_say_is_read_from_the_code() -> None:
    import command_reference
    import metric_reference
    import settings_reference

    assert "`--batch-size` N" in command_reference.commands()
    assert "| `loss` | what the encoder minimises, at this step |" in metric_reference.metrics()
    settings = settings_reference.settings()
    assert re.search(r"^\| `bank.size` \| `\d+` \| .+ \*Integer, at least", settings, re.M)
    assert re.search(r"^\| `training.max_steps` \| not set \| .* \*Integer", settings, re.M)
    assert "`null`" not in settings
    assert re.search(r"^\| `training.epochs` \| `100` \| Number of passes .*", settings, re.M)


def test_no_setting_of_the_reference_is_without_a_meaning() -> None:
    import settings_reference

    rows = re.findall(r"^\| `([\w.]+)` \| .*? \| (.*) \|$", settings_reference.settings(), re.M)
    assert len(rows) > 100
    silent = {name for name, meaning in rows if re.fullmatch(r"(\*.*\*)?", meaning)}
    assert silent == set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: a warning is an error."""
    pytest.importorskip("mkdocstrings_handlers.python")
    out = tmp_path_factory.mktemp("built") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
def test_no_page_of_the_site_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 80
    assert [page.name for page in pages if LOADED.search(page.read_text())] == []
    styles = [style.read_text() for style in site.rglob("*.css")]
    assert [style for style in styles if re.search(r"url\(\"?(https?:)?//|@import", style)] == []


def test_what_loads_from_elsewhere_is_found() -> None:
    for part in (
        '<script src="https://unpkg.com/iframe-worker/shim"></script>',
        '<link rel="stylesheet" href="https://fonts.googleapis.com/css?family=Roboto">',
        '<img alt="" src="//example.org/picture.png">',
    ):
        assert LOADED.search(part)
    assert not LOADED.search('<a href="https://arxiv.org">a link</a><script src="a.js"></script>')


@pytest.mark.slow
def test_the_sites_reference_has_every_public_name(site: Path) -> None:
    text = "\n".join(page.read_text() for page in (site / "reference").glob("*.html"))
    names = [f"sparring.{name}" for name in sparring.__all__]
    names += [f"sparring.testing.{name}" for name in sparring.testing.__all__ if name[0].islower()]
    assert [name for name in names if f'id="{name}"' not in text] == []


@pytest.mark.slow
def test_links_of_the_site_lead_to_its_files(site: Path) -> None:
    missing = []
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for link in re.findall(r"<a\b[^>]*\bhref=\"([^\"#]+)", page.read_text()):
            if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists():
                missing.append(f"{page.name}: {link}")
    assert missing == []


@pytest.mark.slow
def test_the_site_can_be_searched_from_the_disk(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text()
    assert "AdCo" in index
    assert "iframe-worker.js" in (site / "index.html").read_text()
    assert (site / "assets" / "javascripts" / "iframe-worker.js").is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With little work, in a process of its own: the kernel's warnings are not ours."""
    pytest.importorskip("nbclient")
    monkeypatch.setenv("SPARRING_NOTEBOOK", "little")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "run-notebook"), str(path), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ran = json.loads((tmp_path / path.name).read_text())
    texts = [
        "".join(output.get("text", ""))
        for cell in ran["cells"]
        for output in cell.get("outputs", [])
    ]
    assert any("pairs" in text for text in texts)
