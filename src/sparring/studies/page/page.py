"""The page of a study: one HTML file that needs no other file and no network, with its tables
and figures beside it."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from sparring.errors import RunError
from sparring.files import write_atomically
from sparring.reporting.page import page_html
from sparring.studies import history
from sparring.studies.findings import Analysis
from sparring.studies.folder import StudyFolder
from sparring.studies.page import (
    curves,
    disagreements,
    dose_response,
    negatives,
    provenance,
    variance,
)
from sparring.studies.page.arm_table import arms
from sparring.studies.page.beside import download_links, write_beside
from sparring.studies.page.contrasts import contrasts
from sparring.studies.page.heading import heading
from sparring.studies.page.looks import looks
from sparring.studies.page.view import PageView
from sparring.studies.page.waterfall import waterfalls


def write_study_page(analysis: Analysis, folder: StudyFolder | str | Path, out: str | Path) -> Path:
    """Write the page of a study, its tables and figures beside it, and return the page's path.

    Args:
        analysis: what was found.
        folder: of the study; pictures and negatives need its runs, all else is in the records.
        out: HTML file to write; missing folders are created. Tables and figures are called
            after it.

    Raises:
        StorageError: if a file cannot be written; older ones stay as they are.
    """
    path = Path(out)
    opened = folder if isinstance(folder, StudyFolder) else StudyFolder(folder)
    view = PageView(analysis=analysis, folder=opened)
    page = study_html(view, name=path.stem)
    write_beside(view, path)
    write_atomically(path, page.encode("utf-8", "backslashreplace"))
    return path


def study_html(view: PageView, *, name: str = "study") -> str:
    """HTML of a study's page.

    Args:
        view: the study.
        name: beginning of the names under which tables and figures are saved from the page.
    """
    page = files("sparring.studies.page")
    own = "".join(
        (page / name).read_text(encoding="utf-8") for name in ("study.css", "evidence.css")
    )
    contents, body = _with_contents([html for html in _sections(view, name) if html])
    return page_html(
        title=f"{view.study.name or 'Study'} - sparring study",
        header=heading(view, _changes(view.folder)) + contents,
        body=body,
        style=own,
    )


def _sections(view: PageView, name: str) -> Iterator[str]:
    yield arms(view)
    yield contrasts(view)
    yield dose_response.section(view)
    yield looks(view)
    yield waterfalls(view)
    for section in (curves.section, variance.section, disagreements.section):
        yield section(view)
    yield negatives.section(view)
    yield provenance.section(view)
    yield download_links(view, name)


def _changes(folder: StudyFolder) -> list[str]:
    """Changes of the plan since it was written down, in words."""
    try:
        return [str(change) for change in history.changes(folder)]
    except RunError as error:
        return [f"whether and how is not known, as {error}"]


def _with_contents(sections: list[str]) -> tuple[str, str]:
    """Links to all sections by their titles, and the sections with the names they link to."""
    links, body = [], []
    for number, html in enumerate(sections, start=1):
        title = re.search(r"<h2>(.*?)</h2>", html)
        if title is not None:
            links.append(f'<li><a href="#part{number}">{title[1]}</a></li>')
        body.append(html.replace("<section>", f'<section id="part{number}">', 1))
    return (
        f'<nav aria-label="Sections of this page"><ul>{"".join(links)}</ul></nav>',
        "".join(body),
    )
