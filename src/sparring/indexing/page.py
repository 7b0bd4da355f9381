"""Frame of a page about an index: one HTML file that needs no other file and no network.

Every text that comes from outside passes `escape`.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from PIL import Image

from sparring.errors import DataError
from sparring.indexing.indexed_images import IndexedImages
from sparring.reporting.gallery import Pixels
from sparring.reporting.page import page_html as framed

SIDE = 128
"""Longer side in pixels of an embedded picture; pages show it at up to 124."""
MOST_PICTURES = 1500
"""Pictures on a page, about 5 kB each: pages stay below 10 MB."""
_KEY_LETTERS = 20
"""Two lines of a caption on a phone."""
_SMALL = 40  # pixels up to which a PNG is as small as a JPEG, and sharper


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section of a page.

    Attributes:
        title: as text; also its line in the contents.
        content: HTML.
        lead: a sentence below the title, as text.
    """

    title: str
    content: str
    lead: str = ""


def page_html(
    *, title: str, facts: Sequence[tuple[str, str]], notes: Sequence[str], parts: Sequence[Part]
) -> str:
    """The whole page.

    Args:
        title: the answer in a sentence.
        facts: names and values above all sections, as text.
        notes: paragraphs about how to read the page, as text.
        parts: sections, listed in a table of contents where there are several.
    """
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts
    )
    paragraphs = "".join(f'<p class="trust">{escape(note)}</p>' for note in notes)
    return framed(
        title=f"{title} - sparring",
        style=(files("sparring.indexing") / "index.css").read_text(encoding="utf-8"),
        header=f'<h1>{escape(title)}</h1>{paragraphs}<dl class="facts">{shown}</dl>',
        body=_contents(parts) + "".join(_section(number, one) for number, one in enumerate(parts)),
    )


def _contents(parts: Sequence[Part]) -> str:
    if len(parts) < 2:
        return ""
    lines = "".join(
        f'<li><a href="#part{number}">{escape(part.title)}</a></li>'
        for number, part in enumerate(parts)
    )
    return f'<nav class="contents" aria-label="Contents"><ol>{lines}</ol></nav>'


def _section(number: int, part: Part) -> str:
    lead = f'<p class="lead">{escape(part.lead)}</p>' if part.lead else ""
    return (
        f'<section id="part{number}" class="shotpart"><h2>{escape(part.title)}</h2>{lead}'
        f"{part.content}</section>"
    )


class Shots:
    """Pictures with their captions, as many as a page bears.

    Args:
        images: the set of which they are.
        most: number of pictures.
    """

    def __init__(self, images: IndexedImages, *, most: int = MOST_PICTURES) -> None:
        self._images, self.left = images, most

    def shot(
        self, row: int, *, text: str, images: IndexedImages | None = None, style: str = ""
    ) -> str:
        """`<li>` with the picture of an image, what is said of it, its class and its key.

        Args:
            row: of the image.
            text: the first line below the picture.
            images: set of the image, if it is another one.
            style: further class of the element.
        """
        of = self._images if images is None else images
        self.left -= 1
        key, label = of.key(row), of.label(row)
        said = ", ".join(part for part in (key, label, text) if part)
        try:
            shown = (
                f'<img src="{thumbnail_uri(of.picture(row))}" alt="{escape(said)}" '
                f'title="{escape(said)}" loading="lazy" decoding="async">'
            )
        except DataError:
            shown = '<span class="gone">cannot be read any more</span>'
        below = f"<b>{escape(text)}</b> " if text else ""
        below += f"<span>{escape(label)}</span>" if label else ""
        kind = f' class="{style}"' if style else ""
        return (
            f"<li{kind}><figure>{shown}<figcaption>{below}<small>{escape(_end(key))}</small>"
            "</figcaption></figure></li>"
        )


def _end(key: str) -> str:
    """The last characters of a long key, which tell images apart."""
    return key if len(key) <= _KEY_LETTERS else "\u2026" + key[1 - _KEY_LETTERS :]


def shots(items: Iterable[str]) -> str:
    """List of pictures in rows that wrap."""
    return f'<ul class="shots pictures">{"".join(items)}</ul>'


def file_list(title: str, keys: Sequence[str]) -> str:
    """Folded list of keys, to be read in full and copied."""
    lines = escape("\n".join(keys))
    return f"<details><summary>{escape(title)}</summary><pre>{lines}</pre></details>"


def thumbnail_uri(image: Pixels) -> str:
    """Data URI of an image reduced to `SIDE`: PNG if it is very small, else JPEG."""
    content, opened = io.BytesIO(), Image.fromarray(image)
    is_small = max(opened.size) <= _SMALL
    if is_small:
        opened.save(content, "PNG", optimize=True)
    else:
        opened.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        opened.save(content, "JPEG", quality=80)
    kind = "png" if is_small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
