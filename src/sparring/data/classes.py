"""Classes by name: labels as numbers with names, and matching of the classes of two sets.

Whoever meets two sets with classes, be they of images, masks, boxes or domains, matches them here.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sparring.data.names import shown
from sparring.errors import DataError

Labels: TypeAlias = npt.NDArray[np.int64]
"""Class of each image; -1 is unknown."""

LABEL_COLUMNS = (
    *("label", "labels", "class", "target", "class_name", "class_label", "label_name"),
    *("category", "fine_label", "class_id", "label_id", "category_id"),
)
"""Columns of a table that are taken as labels, in any case, the first of them that is there."""
SHOWN_CLASSES = 5
"""Classes that a sentence names before it says how many more there are."""

_INTEGER = re.compile(r"(-?[1-9][0-9]*|-?0)(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_A_NUMBER = {"nan", "none", "null", "na", "<na>", "n/a"}
"""How tables write that a number is missing, in lower case."""
_LARGEST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Matching:
    """Classes of a set to score, by those of a set that was learned from.

    Attributes:
        targets: number of each class to score among those learned from; the number of those classes
            where it has no counterpart, so that it is never predicted.
        notes: what a user should read about it, a line each.
    """

    targets: tuple[int, ...]
    notes: tuple[str, ...] = ()


def canonical(name: str) -> str:
    """Name of a class as it is compared: composed (Unicode NFC), without spaces around it.

    Example:
        >>> canonical(" cafe\\u0301 ") == "caf\\u00e9"
        True
    """
    return unicodedata.normalize("NFC", name).strip()


def label_columns(columns: Iterable[str]) -> list[str]:
    """Columns of a table that may hold labels, the one to take first.

    Example:
        >>> label_columns(["image", "Coarse", "fine_label", "Label"])
        ['Label', 'fine_label']
    """
    found = {name.strip().lower(): name for name in columns}
    return [found[name] for name in LABEL_COLUMNS if name in found]


def numbered(
    values: Iterable[object], *, where: str = "the labels"
) -> tuple[Labels, tuple[str, ...] | None]:
    """Labels as numbers, and their names unless they already are numbers.

    Whole numbers of any type, also written as text, are class numbers: 3, 3.0, "3". Anything else
    is a name, such as "03"; names are numbered in their order. Empty, null, NaN and negative labels
    are -1, unknown.

    Args:
        values: a label each.
        where: what holds them, for messages.

    Raises:
        DataError: for fractions, and for values that are neither numbers nor text.
    """
    found = [_plain(value, where) for value in values]
    if any(isinstance(value, str) for value in found):
        found = _from_texts(["" if value is None else str(value) for value in found], where)
    elif any(value is not None and value > _LARGEST for value in found):  # type: ignore[operator]
        found = [None if value is None else str(value) for value in found]
    if not any(isinstance(value, str) for value in found):
        numbers = [-1 if value is None else max(-1, int(value)) for value in found]
        return np.array(numbers, np.int64), None
    return named(found)


def named(names: Sequence[object]) -> tuple[Labels, tuple[str, ...]]:
    """Number of each name in the order of the names, -1 for None, and the names.

    Names that are equal when compared, see `canonical`, are one class.
    """
    texts = [None if name is None else canonical(shown(str(name))) for name in names]
    classes = tuple(sorted({text for text in texts if text}))
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers.get(text or "", -1) for text in texts], np.int64), classes


def joined(
    parts: Sequence[tuple[Labels, tuple[str, ...] | None]], *, where: Sequence[str]
) -> tuple[Labels, tuple[str, ...] | None]:
    """Labels and names of several parts of one set, matched by name.

    Parts whose names differ, or stand in another order, are numbered anew.

    Args:
        parts: labels of each part, and the names of its numbers.
        where: what holds each part, for messages.

    Raises:
        DataError: if one part names its classes and another one numbers them.
    """
    known = [
        (part, place) for part, place in zip(parts, where, strict=True) if (part[0] >= 0).any()
    ]
    spoken = {names for (_, names), _ in known}
    if len(spoken) < 2:
        return np.concatenate([labels for labels, _ in parts]), next(iter(spoken), None)
    if None in spoken:
        bare = next(place for (_, names), place in known if names is None)
        told = next((names, place) for (_, names), place in known if names is not None)
        raise DataError(
            f"{told[1]} names its classes ({listed(told[0])}) and {bare} numbers them; give both "
            "the same names"
        )
    names = tuple(dict.fromkeys(canonical(name) for (_, names), _ in known for name in names or ()))
    numbers = {name: number for number, name in enumerate(names)}
    moved = [
        np.array([*(numbers[canonical(name)] for name in own or ()), -1], np.int64)[labels]
        if (labels >= 0).any()
        else labels
        for labels, own in parts
    ]
    return np.concatenate(moved), names


def complete_names(labels: Labels, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Names of all labels: a label beyond the names given is named by its number."""
    if names is None or not len(labels) or (highest := int(labels.max())) < len(names):
        return names
    if highest > len(names) + len(labels):  # numbers of another kind than those that are named
        return None
    return (*names, *map(str, range(len(names), highest + 1)))


def match_classes(
    learned: Sequence[str],
    scored: Sequence[str],
    *,
    where: tuple[str, str] = ("training images", "test images"),
) -> Matching:
    """Classes of two sets matched by name.

    Args:
        learned: classes that the set to learn from shows; a class without a name as its number.
        scored: classes that the set to score shows.
        where: what the two sets are called in messages.

    Raises:
        DataError: if no class is in both sets, such as names against numbers.
    """
    numbers = {canonical(name): number for number, name in enumerate(learned)}
    targets = tuple(numbers.get(canonical(name), len(learned)) for name in scored)
    if scored and all(target == len(learned) for target in targets):
        raise DataError(
            f"no class is in both sets: the {where[0]} show {listed(learned)}, the {where[1]} "
            f"{listed(scored)}; give both the same names"
        )
    new = [name for name, target in zip(scored, targets, strict=True) if target == len(learned)]
    absent = [name for number, name in enumerate(learned) if number not in targets]
    notes = []
    if new:
        notes.append(
            f"the {where[0]} do not show {listed(new)}: the {where[1]} of it count as errors"
        )
    if absent:
        notes.append(f"the {where[1]} do not show {listed(absent)}")
    return Matching(targets, tuple(notes))


def listed(names: Sequence[str]) -> str:
    """Names for a sentence, cut after `SHOWN_CLASSES`.

    Example:
        >>> listed(["cat", "dog"]), listed(list("abcdefgh"))
        ("'cat', 'dog'", "'a', 'b', 'c', 'd', 'e' and 3 more")
    """
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN_CLASSES])
    more = len(names) - SHOWN_CLASSES
    return f"{shown} and {more} more" if more > 0 else shown


def _plain(value: object, where: str) -> int | str | None:
    """A label as a whole number or as text; None if it is unknown."""
    if hasattr(value, "item"):  # of NumPy and PyTorch
        value = value.item()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # of pandas
        return None
    if isinstance(value, bool | str):
        return str(value).strip() or None
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape").strip() or None
    if isinstance(value, int):
        return value
    if isinstance(value, float | Decimal):
        if value != value:
            return None
        if abs(value) != float("inf") and value == int(value):
            return int(value)
        raise _fraction(value, where)
    raise DataError(
        f"{where} hold values of type {type(value).__name__}, such as {str(value)[:40]}; a label "
        "is a whole number or a name"
    )


def _from_texts(texts: Sequence[str], where: str) -> list[int | str | None]:
    """Numbers if all texts are whole numbers as a program writes them; otherwise names."""
    distinct = {text for text in texts if text}
    numeric = {text for text in distinct if text.lower() not in _NOT_A_NUMBER}
    if numeric and all(_NUMBER.fullmatch(text) for text in numeric):
        for text in sorted(numeric):
            if not float(text).is_integer():
                raise _fraction(text, where)
        if all(_INTEGER.fullmatch(text) for text in numeric):
            values = {text: int(text.partition(".")[0]) for text in numeric}
            if max(values.values()) <= _LARGEST:
                return [values.get(text) for text in texts]
    return [None if _is_negative(text) else text or None for text in texts]


def _is_negative(text: str) -> bool:
    return text.startswith("-") and _INTEGER.fullmatch(text) is not None


def _fraction(value: object, where: str) -> DataError:
    return DataError(
        f"{where} hold {value}, which is neither a class number nor a name; give whole numbers or "
        "names"
    )
