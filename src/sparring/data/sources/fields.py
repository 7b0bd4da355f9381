"""Fields of annotation files that may be missing, null, or written as another type.

A number may be a text, a mark may be 0, "0" or false, an id may be a number or a text. What has no
single meaning is refused with the file, the field and the value.
"""

import math
import reprlib
from collections.abc import Callable
from typing import TypeVar

from sparring.errors import DataError

Value = TypeVar("Value")

LARGEST = 1e9
"""Largest size of a number of pixels; beyond it a field is damaged."""
_DIGITS = 4000  # Python converts no longer texts to whole numbers
_NO, _YES = ("0", "0.0", "false", "no"), ("1", "1.0", "true", "yes")
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


def field(read: Callable[[object], Value], value: object, *, where: str, key: str) -> Value:
    """Value of a field.

    Args:
        read: `number`, `mark` or `identifier`.
        value: as it stands in the file.
        where: names the file and the entry.
        key: name of the field.

    Raises:
        DataError: if the value has no single meaning.
    """
    try:
        return read(value)
    except ValueError as error:
        raise DataError(f"{where} has '{key}' {shown(value)}; it must be {error}") from None


def number(value: object) -> float | None:
    """Finite number; None for null and an empty text.

    Raises:
        ValueError: for anything else.

    Example:
        >>> number("12.5"), number(3), number(None)
        (12.5, 3.0, None)
    """
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError("a number") from None
    if not abs(found) <= LARGEST:  # also for NaN
        raise ValueError(f"a finite number of at most {LARGEST:g}")
    return found


def mark(value: object) -> bool:
    """Yes or no; null and an empty text are no.

    Raises:
        ValueError: for anything else.

    Example:
        >>> mark("0"), mark(1), mark(None), mark("True")
        (False, True, False, True)
    """
    text = "0" if value is None else str(value).strip().lower() or "0"
    if isinstance(value, list | dict) or text not in (*_NO, *_YES):
        raise ValueError("0 or 1")
    return text in _YES


def identifier(value: object) -> str:
    """Id as a text, so that 7, 7.0 and "7" are equal.

    Raises:
        ValueError: for anything but a number or a text.
    """
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or str(value).strip() == "":
        raise ValueError("a whole number or a text")
    return str(value).strip()


def in_order(ids: list[str]) -> list[str]:
    """Ids in rising order: numbers by their value, before texts.

    Example:
        >>> in_order(["10", "9", "b", "a"])
        ['9', '10', 'a', 'b']
    """

    def place(text: str) -> tuple[bool, int, str]:
        is_number = text.removeprefix("-").isdecimal() and len(text) < _DIGITS
        return not is_number, int(text) if is_number else 0, text

    return sorted(ids, key=place)


def shown(value: object) -> str:
    """Value for a message, cut if it is long."""
    try:
        return _short.repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits
        return f"a {type(value).__name__}"


def clipped(text: str) -> str:
    """Text of an id or a name for a message, cut if it is long."""
    return text if len(text) <= _short.maxstring else f"{text[: _short.maxstring]}..."
