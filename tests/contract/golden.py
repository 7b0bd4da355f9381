"""The first losses of every method at toy size, as `scripts/write-golden` writes them."""

import json
from pathlib import Path

from sparring.contract.toy import Subject

PLACE = Path(__file__).parents[1] / "golden" / "first_losses.json"
STEPS = 6
GENTLE = {"players": {"encoder": {"learning_rate": 3e-4, "clip_norm": None}}}
"""Batch norm over 16 rows amplifies rounding: at the usual rate another processor's sixth loss may
differ by percents."""


def first_losses(method: str) -> list[float]:
    """Losses of a method's first steps."""
    subject = Subject(method)
    game = subject.game(**GENTLE)
    return [subject.play(game, number)["loss"] for number in range(STEPS)]


def golden() -> dict[str, list[float]]:
    """The losses on file, by method."""
    found: dict[str, list[float]] = json.loads(PLACE.read_text())
    return found
