"""The frame of every page that the library writes: one HTML file that needs no other and no
network, with its styles and its script inside."""

from html import escape
from importlib.resources import files
from string import Template


def page_html(*, title: str, header: str, body: str, style: str = "") -> str:
    """HTML of a whole page; complete without its script, which adds values on hover and zoom.

    Args:
        title: of the window, as text.
        header: HTML of the page's beginning.
        body: HTML of its sections.
        style: rules besides those of `report.css`.
    """
    folder = files("sparring.reporting")
    common = (folder / "report.css").read_text(encoding="utf-8")
    script = (folder / "report.js").read_text(encoding="utf-8")
    return Template((folder / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=common + style + _light_on_paper(common),
        header=header,
        body=f"{body}<script>{script}</script>",
    )


def _light_on_paper(style: str) -> str:
    """The first rule of the report's style, the light colours, for print."""
    rule = style[style.index(":root") : style.index("}") + 1]
    return f"@media print {{ {rule} }}\n"
