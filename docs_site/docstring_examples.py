"""Extension of griffe, which knows `Examples:`: our sections `Example:` are examples too."""

import re
from typing import Any

import griffe


class DocstringExamples(griffe.Extension):
    """Gives examples in docstrings the form of code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section before the docstring is parsed."""
        if obj.docstring is not None:
            named = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = named
