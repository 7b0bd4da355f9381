"""Classes of masks: which ids mean which class in the masks to learn from and in those to score.

Classes are called by their names where the masks or the settings have any, else by their ids. Two
sets with names are matched by name. The id 255 means "no class" unless it is the only one beside 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from sparring.config import Settings
from sparring.data.classes import canonical, match_classes
from sparring.errors import ConfigError, DataError

IGNORED = 255
"""The id of pixels without a class in VOC's masks and most others."""
VOID_NAMES = ("void", "ignore", "ignored", "unlabelled", "unlabeled")
"""Names, in any case, of a class that means "no class"."""
NUM_IDS = 65_536
"""Ids that masks may have: 0 to this, exclusive."""
_BINARY_NAMES = ("0", str(IGNORED))


class MaskSettings(Settings):
    """How masks are read; part of the settings of every protocol on masks."""

    protocol: ClassVar[str] = "segmentation"

    num_classes: int | None = Field(default=None, ge=2, le=65_536)
    """Ids are 0 .. num_classes - 1; None: as many as there are names, else up to the highest id in
    the masks."""
    class_names: tuple[str, ...] = ()
    """Names of the ids in their order, in both sets; without them those of the masks, else classes
    are called by their ids."""
    ignore_index: int | None = Field(default=None, ge=0, le=65_535)
    """Id of pixels without a class, neither learned nor scored; None: that of a class named void,
    ignored or unlabelled, else 255 unless the masks show nothing but 0 and 255."""
    longer_side: int | None = Field(default=None, ge=16)
    """Larger images are shrunk to this longer side before the network sees them; None: none is.
    Scored are the masks at their own size."""


@dataclass(frozen=True)
class CountedMasks:
    """Masks of a set.

    Attributes:
        names: name of each id, if the masks have any.
        counts: number of pixels of each of the `NUM_IDS` ids.
    """

    names: tuple[str, ...] | None
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MaskClasses:
    """Classes of two sets of masks."""

    names: tuple[str, ...]
    """Classes by number: those of the training masks, then those that only the test masks show."""
    ignore_index: int
    """Number of pixels without a class."""
    ignored_id: int | None
    """Their id in the training masks; None where every id is a class."""
    train_numbers: Int[Tensor, "ids"]
    test_numbers: Int[Tensor, "ids"]
    """Number of each id in the training masks and in the test masks."""
    train_pixels: Int[Tensor, "classes"]
    test_pixels: Int[Tensor, "classes"]
    """Pixels of each class in the training masks and in the test masks."""
    notes: tuple[str, ...]
    """What a user should read about it, a line each."""


def mask_classes(train: CountedMasks, test: CountedMasks, settings: MaskSettings) -> MaskClasses:
    """Classes of the masks to learn from and of those to score.

    Raises:
        ConfigError: names and a number of classes that differ.
        DataError: ids beyond the classes, nothing to learn or to score, or no class in both sets.
    """
    names, others, notes = _names(train, test, settings)
    counts = [train.counts, test.counts]
    is_binary = _is_binary(train.counts + test.counts, names, settings)
    if is_binary:
        names, others = names or _BINARY_NAMES, others or _BINARY_NAMES
        counts = [_recoded(found) for found in counts]
        notes.append(
            f"the masks show nothing but 0 and {IGNORED}: {IGNORED} is taken as a class; set "
            f"{settings.protocol}.ignore_index={IGNORED} if it means no class"
        )
    ignored = _ignored(names, settings)
    classes = _called(names, counts[0] + counts[1], ignored, settings)
    _refuse_unusable(counts[0], "training", ignored, len(classes), settings.protocol)
    first = dict(reversed([(canonical(name), number) for number, name in enumerate(classes)]))
    numbers = torch.arange(NUM_IDS)
    numbers[: len(classes)] = torch.tensor([first[canonical(name)] for name in classes])
    learned = _Numbered(classes, ignored, numbers, numbers)
    if list(map(canonical, names)) == list(map(canonical, others)):
        _refuse_unusable(counts[1], "test", ignored, len(classes), settings.protocol)
    else:
        void = _ignored(others, settings)
        _refuse_unusable(counts[1], "test", void, len(others), settings.protocol)
        shown = {
            place: name for place, name in enumerate(others) if counts[1][place] and place != void
        }
        learned = _by_name(learned, shown)
    train_pixels, test_pixels = (
        _pixels(found, numbers, learned)
        for found, numbers in zip(counts, (learned.train, learned.test), strict=True)
    )
    if is_binary:
        for numbers in (learned.train, learned.test):
            numbers[IGNORED] = numbers[1]
    matched = match_classes(
        _shown(learned.names, train_pixels),
        _shown(learned.names, test_pixels),
        where=("training masks", "test masks"),
    )
    return MaskClasses(
        names=learned.names,
        ignore_index=learned.ignore_index,
        ignored_id=None if is_binary else ignored,
        train_numbers=learned.train,
        test_numbers=learned.test,
        train_pixels=train_pixels,
        test_pixels=test_pixels,
        notes=(*notes, *matched.notes),
    )


class _Numbered(NamedTuple):
    """Classes, and the number of each id of the training masks and of the test masks."""

    names: tuple[str, ...]
    ignore_index: int
    train: Tensor
    test: Tensor


def _by_name(learned: _Numbered, shown: Mapping[int, str]) -> _Numbered:
    """Classes with those of the test masks, whose ids go by their names.

    Args:
        learned: classes of the training masks.
        shown: names of the ids that the test masks show.
    """
    names, ignored = list(learned.names), learned.ignore_index
    known = {canonical(name): number for number, name in reversed(list(enumerate(names)))}
    new = [name for name in dict.fromkeys(shown.values()) if canonical(name) not in known]
    train = learned.train.clone()
    if new and ignored >= len(names):
        train[ignored], ignored = NUM_IDS - 1, NUM_IDS - 1  # out of the way of the new classes
    known |= {canonical(name): len(names) + place for place, name in enumerate(new)}
    test = torch.full((NUM_IDS,), ignored)
    for place, name in shown.items():
        test[place] = known[canonical(name)]
    return _Numbered((*names, *new), ignored, train, test)


def _names(
    train: CountedMasks, test: CountedMasks, settings: MaskSettings
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Names of the ids of both sets, empty without any, and notes."""
    given, number = settings.class_names, settings.num_classes
    if given:
        if number is not None and len(given) != number:
            raise ConfigError(
                f"{settings.protocol}.num_classes is {number} and {settings.protocol}.class_names "
                f"has {len(given)} names; set one of them only"
            )
        return given, given, []
    if train.names and test.names:
        return train.names, test.names, []
    found = train.names or test.names or ()
    if not found:
        return (), (), []
    bare, named = ("test", "training") if train.names else ("training", "test")
    line = f"the {bare} masks name no classes: their ids are taken as those of the {named} masks"
    return found, found, [line]


def _is_binary(counts: npt.NDArray[np.int64], names: Sequence[str], settings: MaskSettings) -> bool:
    """Whether the masks have the ids 0 and 255 alone, nothing says that 255 is no class, and there
    are no more than two names."""
    return (
        np.flatnonzero(counts).tolist() == [0, IGNORED]
        and settings.ignore_index is None
        and settings.num_classes in (None, 2)
        and len(names) in (0, 2)
        and _void(names) is None
    )


def _recoded(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pixels of masks of 0 and 255, as if their ids were 0 and 1."""
    recoded = np.zeros_like(counts)
    recoded[0], recoded[1] = counts[0], counts[IGNORED]
    return recoded


def _void(names: Sequence[str]) -> int | None:
    """Id of the class whose name means "no class"; None without one."""
    lowered = (canonical(name).lower() for name in names)
    return next((place for place, name in enumerate(lowered) if name in VOID_NAMES), None)


def _ignored(names: Sequence[str], settings: MaskSettings) -> int:
    if settings.ignore_index is not None:
        return settings.ignore_index
    void = _void(names)
    return IGNORED if void is None else void


def _called(
    names: Sequence[str], counts: npt.NDArray[np.int64], ignored: int, settings: MaskSettings
) -> tuple[str, ...]:
    """Names of the classes; a class without one is called by its id."""
    number = settings.num_classes
    if number is None and not names:
        ids = np.flatnonzero(counts)
        number = int(max(ids[ids != ignored], default=0)) + 1
    elif number is None:
        number = len(names) - (ignored == len(names) - 1)
    return tuple(names[place] if place < len(names) else str(place) for place in range(number))


def _refuse_unusable(
    counts: npt.NDArray[np.int64], which: str, ignored: int, num_classes: int, protocol: str
) -> None:
    """Check that the masks have the classes that the settings promise."""
    ids = np.flatnonzero(counts)
    known = ids[ids != ignored]
    if len(known) and known[-1] >= num_classes:
        raise DataError(
            f"the {which} masks have the id {known[-1]}, but the classes are 0 to "
            f"{num_classes - 1} (and {ignored}: ignored); "
            f"set {protocol}.num_classes or {protocol}.class_names, or "
            f"{protocol}.ignore_index if that id means no class"
        )
    if not len(known):
        raise DataError(
            f"every pixel of the {which} masks has the id {ignored}, which is ignored; "
            f"set {protocol}.ignore_index to another id"
        )
    if which == "training" and len(known) == 1:
        hint = (
            f"; {ignored} is ignored: use other ids, or set {protocol}.ignore_index"
            if len(ids) > 1
            else ""
        )
        raise DataError(
            f"the training masks show a single class, id {known[0]}, and telling classes "
            f"apart needs at least two{hint}"
        )


def _pixels(counts: npt.NDArray[np.int64], numbers: Tensor, classes: _Numbered) -> Tensor:
    """Number of pixels of each class; those without a class do not count."""
    found = torch.zeros(NUM_IDS, dtype=torch.long)
    found.index_add_(0, numbers, torch.from_numpy(counts))
    found[classes.ignore_index] = 0
    return found[: len(classes.names)]


def _shown(names: Sequence[str], pixels: Tensor) -> list[str]:
    """Names of the classes that have pixels."""
    return [name for name, count in zip(names, pixels.tolist(), strict=True) if count]
