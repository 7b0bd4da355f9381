"""Pages of the site that do not lie in docs/: files at the top of the repository, and notebooks."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TOP_PAGES = {
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/reporting_vulnerabilities.md",
    "LICENSE": "project/license.md",
}
"""Place in the site of files at the top of the repository; those that do not exist are left out."""

EXECUTED = ROOT / "build" / "notebooks"
"""Folder in which `make notebook` leaves notebooks with their outputs."""


def top_page(file: Path) -> str:
    """Content of a page that is made of a file at the top of the repository."""
    text = file.read_text()
    if file.suffix == ".md":
        return text
    return f"# {file.name.capitalize()}\n\n```text\n{text.strip()}\n```\n"


def notebook_page(file: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name.

    Outputs are those of the executed copy that `make notebook` has left, if it is of this notebook.
    """
    notebook = json.loads(file.read_text())
    executed = EXECUTED / file.name
    found = json.loads(executed.read_text()) if executed.is_file() else notebook
    is_executed = [cell["source"] for cell in found["cells"]] == [
        cell["source"] for cell in notebook["cells"]
    ]
    parts, pictures = [], {}
    for number, cell in enumerate((found if is_executed else notebook)["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for place, output in enumerate(cell["outputs"]):
            if output.get("name") == "stderr":  # of the machine that ran it
                continue
            name = f"{file.stem}-{number}-{place}.png"
            text, picture = _output(output, name)
            parts.append(text)
            if picture is not None:
                pictures[name] = picture
    note = f"The notebook itself: [{file.name}]({file.name}){{ download }}."
    if not is_executed or found is notebook:
        note += " It was not run for this page; `make notebook docs` does that."
    title, *rest = parts
    return "\n\n".join([title, note, *rest]) + "\n", pictures


def _output(output: dict[str, Any], name: str) -> tuple[str, bytes | None]:
    """One output of a cell as Markdown, and its picture if it is one."""
    import base64

    data = output.get("data", {})
    if "image/png" in data:
        return f"![Output of the cell above]({name})", base64.b64decode(data["image/png"])
    text = output.get("text") or data.get("text/plain") or ""
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", "".join(text)).rstrip()
    return f"```text\n{shown}\n```", None
