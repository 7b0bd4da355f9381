"""Classes by name: labels as numbers with names, and matching of the classes of two sets.

Whoever meets two sets with classes, be they of images, masks, boxes or domains, matches them here.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparring.errors import DataError

SHOWN_CLASSES = 5
"""Classes that a sentence names before it says how many more there are."""


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


def numbered(
    values: Iterable[object],
) -> tuple[npt.NDArray[np.int64], tuple[str, ...] | None]:
    """Labels as numbers, and their names unless they already are numbers; empty labels are -1."""
    texts = ["" if value is None else str(value).strip() for value in values]
    try:
        return np.array([max(-1, int(text)) if text else -1 for text in texts], np.int64), None
    except ValueError:
        names = tuple(sorted({text for text in texts if text}))
        numbers = {"": -1} | {name: number for number, name in enumerate(names)}
        return np.array([numbers[text] for text in texts], np.int64), names


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
