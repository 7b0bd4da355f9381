"""Files beside a study's page, tables and figures, which are saved from the page too."""

import base64
from html import escape
from pathlib import Path

from sparring.files import write_atomically
from sparring.reporting.sections import section
from sparring.studies.findings import Analysis
from sparring.studies.folder import StudyFolder
from sparring.studies.page.figure_files import figure_files
from sparring.studies.page.tables import table_files
from sparring.studies.page.view import PageView

_TYPES = {".svg": "image/svg+xml"}
"""Kinds of files that are no plain text."""


def files_beside(view: PageView, name: str) -> dict[str, bytes]:
    """Content of every file beside a page by its name, such as `study-arms.csv`: tables, then
    figures.

    Args:
        view: the study.
        name: of the page, without its ending.
    """
    texts = {**table_files(view.analysis, name), **figure_files(view, name)}
    return {file: text.encode("utf-8", "backslashreplace") for file, text in texts.items()}


def names_beside(analysis: Analysis, folder: StudyFolder, name: str) -> list[str]:
    """Names of the files beside the page of a study that is called so."""
    return list(files_beside(PageView(analysis=analysis, folder=folder), name))


def write_beside(view: PageView, page: Path) -> list[Path]:
    """Write all tables and figures beside a page and return their paths.

    Raises:
        StorageError: if one cannot be written.
    """
    written = []
    for name, content in files_beside(view, page.stem).items():
        path = page.with_name(name)
        write_atomically(path, content)
        written.append(path)
    return written


def download_links(view: PageView, name: str) -> str:
    """Section from which all tables and figures are saved; their content is in the page itself."""
    items = "".join(
        f'<li><a download="{escape(file)}" href="data:{_TYPES.get(Path(file).suffix, "text/plain")}'
        f';charset=utf-8;base64,{base64.b64encode(content).decode()}">{escape(file)}</a></li>'
        for file, content in files_beside(view, name).items()
    )
    lead = (
        "The numbers of this page as CSV, Markdown and LaTeX, its main figures as SVG; the same "
        "files lie beside it."
    )
    return section("Tables and figures to take away", f'<ul class="links">{items}</ul>', lead=lead)
