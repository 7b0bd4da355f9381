"""Parts of a set, such as train and test: how they are recognised, and which one is used for what.

Parts are folders (`train/CLASS`, `CLASS/train`), parquet files (`train-00000-of-00001.parquet`,
`test/0000.parquet`) or a column of a list.
"""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sparring.data.sources.image_source import Source, Subset
from sparring.errors import DataError

Use: TypeAlias = Literal["train", "test", "all"]
"""What a part is wanted for: to learn from, to be scored, or every part together."""

PARTS = ("train", "validation", "test")
PART_NAMES = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Part that a name stands for, in lower case."""
GENERIC_WORDS = {"", "image", "images", "img", "imgs", "data", "dataset", "set", "split"}
"""Words that may stand beside the name of a part in a folder, such as `train_images`."""
PART_COLUMNS = ("split", "part", "subset", "partition")
"""Columns of a list that say which part each image belongs to, in any case."""


@dataclass(frozen=True)
class Layout:
    """Parts of a set.

    Attributes:
        parts: part of each image or file, one of `PARTS`; empty for those in none.
        classes: class folder of each image; empty for those in none.
    """

    parts: tuple[str, ...]
    classes: tuple[str, ...] = ()

    @property
    def present(self) -> list[str]:
        """Parts that the set has, in the order of `PARTS`."""
        return [part for part in PARTS if part in self.parts]


def folder_layout(names: Sequence[str]) -> Layout:
    """Parts and classes by the folders of images.

    The first level of folders whose names stand for parts is no level of classes; the class is the
    first other level. Beside train and a second part, other folders at the top belong to no part.

    Args:
        names: paths of images, relative to the folder of the set.
    """
    folders = [name.split(os.sep)[:-1] for name in names]  # noqa: PTH206 - a million names
    level = _level_of_parts(folders)
    if level is None:
        return Layout(("",) * len(names), tuple(path[0] if path else "" for path in folders))
    skipped = level if _is_constant(folders, level) else 0
    parts = tuple(_part(path[level]) if len(path) > level else "" for path in folders)
    rest = [path[skipped:level] + path[level + 1 :] for path in folders]
    classes = [path[0] if part and path else "" for part, path in zip(parts, rest, strict=True)]
    return Layout(parts, tuple(classes))


def _level_of_parts(folders: Sequence[Sequence[str]]) -> int | None:
    """First level of folders that stands for parts; None if there is none."""
    level = 0
    while True:
        names = {path[level] if len(path) > level else "" for path in folders}
        parts = {_part(name) for name in names}
        are_all_parts = "" not in parts
        has_train_and_more = "train" in parts and len(parts - {""}) > 1
        if are_all_parts or (has_train_and_more and _is_constant(folders, level)):
            return level
        if "" in names:
            return None
        level += 1


def _is_constant(folders: Sequence[Sequence[str]], level: int) -> bool:
    """Whether all images are in the same folder down to a level."""
    return len({tuple(path[:level]) for path in folders}) == 1


def _part(name: str) -> str:
    """Part that a folder or a value stands for, such as `Train`, `val2017` or `test_images`; empty
    for any other name, such as `train_station`."""
    words = set(_words(name)) - GENERIC_WORDS
    parts = {PART_NAMES.get(word, "") for word in words}
    return parts.pop() if len(parts) == 1 else ""


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z]+", name.lower())


def file_layout(names: Sequence[str]) -> Layout:
    """Parts of parquet files by their names, and else by their folders, from the inner ones on.

    Example:
        >>> file_layout(["data/train-00000-of-00001.parquet", "plain/test/0000.parquet"]).parts
        ('train', 'test')
    """
    return Layout(tuple(_part_of_file(name) for name in names))


def _part_of_file(name: str) -> str:
    for piece in reversed(PurePath(name).with_suffix("").parts):
        found = {PART_NAMES[word] for word in _words(piece) if word in PART_NAMES}
        if len(found) == 1:
            return found.pop()
    return ""


def require_one_part(root: Path, names: Sequence[str]) -> None:
    """Refuse parquet files of several parts where one set is wanted, such as annotated images.

    Raises:
        DataError: naming the parts.
    """
    layout = file_layout(names)
    if len(layout.present) > 1:
        given = " and ".join(
            f"{part} ({names[layout.parts.index(part)]})" for part in layout.present
        )
        raise DataError(
            f"{root} is split into {given}; give the files of one part, or a folder of them"
        )


def column_layout(values: Sequence[str]) -> Layout:
    """Parts as a column of a list gives them."""
    return Layout(tuple(_part(value) for value in values))


def choose_part(whole: Source, layout: Layout, *, use: Use, where: str) -> Source:
    """The part of a set that suits a use; the whole set if it has fewer than two parts.

    To learn from: train, else validation. To be scored: test, else validation, one with labels if
    the images to learn from have some.

    Args:
        whole: all images.
        layout: part of each image.
        use: what the images are wanted for.
        where: what the set is called in messages.
    """
    present = layout.present
    if len(present) < 2:
        return whole
    parts = np.array(layout.parts)
    learned, *others = present
    if use == "all":
        chosen, rows = "", np.arange(len(whole))
    else:
        chosen = learned if use == "train" else _scored(whole, parts, others[::-1])
        rows = np.flatnonzero(parts == chosen)
    found = Subset(whole, rows) if chosen else whole
    found.part = chosen
    counts = {part: int((parts == part).sum()) for part in present}
    found.notes = (*whole.notes, _note(counts, chosen, where=where), *_left_out(whole, parts, use))
    return found


def _scored(whole: Source, parts: npt.NDArray[np.str_], candidates: Collection[str]) -> str:
    """First of the parts that has labels; the first one if none has."""
    labels = whole.labels()
    labelled = [
        part for part in candidates if labels is not None and (labels[parts == part] >= 0).any()
    ]
    return next(iter([*labelled, *candidates]))


def _note(counts: dict[str, int], chosen: str, *, where: str) -> str:
    listed = " and ".join(f"{part} ({count:,} images)" for part, count in counts.items())
    used = f"only {chosen} is used" if chosen else "all are used"
    advice = "; to use another part, give its own folder, file or list" if chosen else ""
    return f"{where} is split into {listed}: {used} here{advice}"


def _left_out(whole: Source, parts: npt.NDArray[np.str_], use: Use) -> tuple[str, ...]:
    rows = np.flatnonzero(parts == "")
    if not len(rows) or use == "all":
        return ()
    return (
        f"{len(rows):,} images belong to none of the parts and are left out, such as "
        f"{whole.key(int(rows[0]))}",
    )
