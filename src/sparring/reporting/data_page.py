"""The page of `sparring doctor --data`: findings about a data set with the images that show them.

One HTML file that needs no other and no network.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from sparring.data.inspection.findings import DataFinding, class_name
from sparring.data.inspection.inspecting import Inspection
from sparring.files import write_atomically
from sparring.reporting.figures import picture
from sparring.reporting.gallery import pixels
from sparring.reporting.page import page_html
from sparring.reporting.sections import section

CLASSES, PER_CLASS = 24, 8
"""Most classes, and most images of each, that the page shows."""


def write_data_page(
    seen: Inspection, findings: Sequence[DataFinding], *, name: str, out: str | Path
) -> Path:
    """Write the page and return its path.

    Args:
        seen: what was seen of the images.
        findings: what follows from it.
        name: the data, as a user calls them.
        out: HTML file to write; missing folders are created.

    Raises:
        StorageError: if the file cannot be written.
    """
    path = Path(out)
    write_atomically(path, data_html(seen, findings, name=name).encode())
    return path


def data_html(seen: Inspection, findings: Sequence[DataFinding], *, name: str) -> str:
    """HTML of the page."""
    open_points = sum(not finding.is_fine for finding in findings)
    headline = {0: "nothing to look into", 1: "one finding to look into"}.get(
        open_points, f"{open_points} findings to look into"
    )
    rows = "".join(_row(finding) for finding in findings)
    shown = "".join(
        section(finding.name.capitalize(), _pictures(seen, finding), lead=finding.detail)
        for finding in findings
        if finding.groups
    )
    return page_html(
        title=f"{name} - sparring doctor",
        header=f"<h1>{escape(name)}: {headline}</h1>",
        body=section("Findings", f'<table class="plain"><tbody>{rows}</tbody></table>')
        + shown
        + _examples(seen),
    )


def _row(finding: DataFinding) -> str:
    mark = "fine" if finding.is_fine else "<strong>look</strong>"
    short = "".join(
        f'<td style="white-space:nowrap">{text}</td>' for text in (mark, escape(finding.name))
    )
    return f"<tr>{short}<td>{escape(finding.detail)}</td></tr>"


def _pictures(seen: Inspection, finding: DataFinding) -> str:
    groups = "".join(
        '<div class="negative"><div class="groups">'
        + "".join(_picture(seen, row) for row in group[:PER_CLASS])
        + f"</div><small>{escape(_caption(seen, group))}</small></div>"
        for group in finding.groups
    )
    return f'<div class="groups">{groups}</div>'


def _caption(seen: Inspection, group: Sequence[int]) -> str:
    """Classes of the images of a group, or the key of a single one."""
    if seen.labels is not None and len(group) > 1:
        return ", ".join(dict.fromkeys(class_name(seen, int(seen.labels[row])) for row in group))
    return seen.source.key(group[0]) if len(group) == 1 else ""


def _examples(seen: Inspection) -> str:
    """Images of every class, or of the whole set without labels."""
    rows = np.flatnonzero(seen.readable)
    if seen.labels is None:
        chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), CLASSES)).astype(int)]
        content = "".join(_picture(seen, int(row)) for row in chosen) if len(rows) else ""
        return section("Examples", f'<div class="groups">{content}</div>')
    present = [int(label) for label in np.unique(seen.labels[rows]) if label >= 0]
    lines = []
    for label in present[:CLASSES]:
        own = rows[seen.labels[rows] == label]
        strip = "".join(_picture(seen, int(row)) for row in own[:PER_CLASS])
        title = escape(f"{class_name(seen, label)}, {len(own):,} images")
        lines.append(
            f'<div class="line"><span class="who">{title}</span><div class="strip">{strip}</div>'
            "</div>"
        )
    more = len(present) - CLASSES
    lead = f"The first {CLASSES} classes; {more} more are not shown." if more > 0 else ""
    return section("Examples", f'<div class="lines">{"".join(lines)}</div>', lead=lead)


def _picture(seen: Inspection, row: int) -> str:
    bands = seen.thumbnails[row]
    shown = bands[:3] if len(bands) >= 3 else bands[:1].expand(3, -1, -1)
    return picture(pixels(shown), text=seen.source.key(row))
