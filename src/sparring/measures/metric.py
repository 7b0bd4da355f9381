"""What a logged number means. Importing this file does not import torch."""

from typing import NamedTuple


class Metric(NamedTuple):
    """A logged number.

    Attributes:
        meaning: what it says, with its range or unit.
        title: title of its curve in reports; empty: among all that was recorded.
    """

    meaning: str
    title: str = ""
