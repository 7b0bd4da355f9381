"""Links of Markdown pages: found, slugged as the site and GitHub do, and moved into the site.

Pages are written to be read in the repository. In the site some of them lie elsewhere, and files of
the repository that are no pages are not there at all.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

LINK = re.compile(r"(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)")
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}).*?^(?P=indent)(?P=fence) *$", re.M | re.S)
HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *#*$", re.M)
IS_ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:")


def without_code(markdown: str) -> str:
    """Text of a page without its fenced code blocks."""
    return FENCE.sub("", markdown)


def targets(markdown: str) -> Iterator[str]:
    """Address of every link and picture outside code blocks, in order."""
    for found in LINK.finditer(without_code(markdown)):
        yield found["target"]


def is_external(target: str) -> bool:
    """Whether an address names a scheme such as https: or mailto:."""
    return bool(IS_ELSEWHERE.match(target))


def slug(heading: str) -> str:
    """Anchor of a heading: small letters, no punctuation, hyphens for spaces.

    Example:
        >>> slug("What `sparring plan` says, and why")
        'what-sparring-plan-says-and-why'
    """
    text = LINK.sub(lambda found: found["text"], heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")


def anchors(markdown: str) -> set[str]:
    """Anchors of all headings of a page; a repeated one gets a number, as on GitHub."""
    found: dict[str, int] = {}
    for heading in HEADING.finditer(without_code(markdown)):
        name = slug(heading["text"])
        number = found[name] = found.get(name, -1) + 1
        if number:
            found[f"{name}-{number}"] = 0
    return set(found)


def moved(
    markdown: str, *, origin: Path, page: str, places: Mapping[Path, str], outside: "Outside"
) -> str:
    """A page with links that lead to the same things from its place in the site.

    Args:
        markdown: the page as it stands in the repository.
        origin: its file; links are relative to this.
        page: its place in the site, such as `project/readme.md`.
        places: place in the site of every file that is there.
        outside: what becomes of a link to a file that is not; gets its text and the file.
    """

    def link(found: re.Match[str]) -> str:
        target, _, anchor = found["target"].partition("#")
        if not target or is_external(found["target"]):
            return found[0]
        file = Path(os.path.normpath(origin.parent / target))
        place = places.get(file) or places.get(file / "README.md")
        if place is None:
            return outside(found["text"], file)
        address = os.path.relpath(place, PurePosixPath(page).parent)
        return f"{found['mark']}[{found['text']}]({address}{'#' * bool(anchor)}{anchor})"

    return outside_code(markdown, lambda text: LINK.sub(link, text))


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """A page whose text is changed and whose code blocks stay as they are."""
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


Outside = Callable[[str, Path], str]
"""What becomes of a link to a file that is not in the site."""
