"""Findings about a data set: what to know, and what to look into, before any training."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from sparring.data.classes import canonical, listed
from sparring.data.inspection.inspecting import Inspection
from sparring.data.sources.sampling import suited_size

SHOWN = 24
"""Most images of a finding."""
LONG = 4.0
"""Ratio of the sides from which an image counts as long and narrow."""
UNBALANCED = 10.0
"""Ratio of the largest to the smallest class from which the classes count as unbalanced."""
ALIKE_CORRELATION = 0.98
"""Correlation of two thumbnails from which images count as alike."""
BLANK_LEVELS = 1.0
"""Standard deviation of a thumbnail, of 255 levels, below which an image counts as blank."""


@dataclass(frozen=True)
class DataFinding:
    """One finding.

    Attributes:
        name: what was looked at.
        is_fine: False if a user should look into it.
        detail: the finding in a sentence.
        groups: rows of images that show it; those of one group belong together.
    """

    name: str
    is_fine: bool
    detail: str
    groups: tuple[tuple[int, ...], ...] = ()


def findings(seen: Inspection) -> list[DataFinding]:
    """All findings about the images that were looked at.

    Args:
        seen: see `inspect_images`.
    """
    found = [_count(seen)]
    found += [DataFinding("layout", True, note) for note in seen.notes]
    found += [_unreadable(seen)]
    if seen.readable.any():
        equal = equal_images(seen)
        found += [_clipped(seen)] if seen.num_clipped else []
        found += [_sizes(seen), _small_or_narrow(seen), _blank(seen), _grey(seen)]
        found += [_duplicates(seen, equal), _alike(seen, equal)]
        if seen.labels is not None:
            found += [_balance(seen), _conflicts(seen, equal), *_names(seen)]
        else:
            found.append(DataFinding("classes", True, "no labels: training needs none"))
    return found


def equal_images(seen: Inspection) -> list[tuple[int, ...]]:
    """Groups of rows whose images have equal pixels, in the order of their first rows."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, found in enumerate(seen.hashes):
        if found:
            groups[found].append(row)
    return [tuple(rows) for rows in groups.values() if len(rows) > 1]


def similar_images(seen: Inspection, equal: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Groups of rows whose images look alike without being equal, such as a resized copy.

    Candidates share a hash of the signs of 64 horizontal differences; the thumbnails of a group
    correlate with its first by at least `ALIKE_CORRELATION`.
    """
    repeated = {row for rows in equal for row in rows[1:]}
    rows = [row for row in np.flatnonzero(seen.readable).tolist() if row not in repeated]
    if not rows:
        return []
    signs = difference_hashes(seen.thumbnails[rows])
    groups: dict[int, list[int]] = defaultdict(list)
    for row, sign in zip(rows, signs.tolist(), strict=True):
        groups[sign].append(row)
    found = []
    for candidates in groups.values():
        if len(candidates) > 1:
            shapes = seen.thumbnails[candidates].flatten(1).float()
            shapes = F.normalize(shapes - shapes.mean(dim=1, keepdim=True), dim=1)
            near = (shapes[1:] @ shapes[0] >= ALIKE_CORRELATION).tolist()
            alike = [row for row, is_near in zip(candidates[1:], near, strict=True) if is_near]
            found += [(candidates[0], *alike)] if alike else []
    return found


def shared_images(learned: Inspection, scored: Inspection) -> DataFinding:
    """Images of the part to score whose pixels equal those of an image to learn from.

    Args:
        learned: images to learn from.
        scored: images to score.
    """
    places = {content: row for row, content in enumerate(learned.hashes) if content}
    pairs = [(places[one], row) for row, one in enumerate(scored.hashes) if one in places]
    which = scored.source.part or "test"
    if not pairs:
        return DataFinding(
            "shared images", True, f"no image of the {which} part is learned from too"
        )
    first, second = learned.source.key(pairs[0][0]), scored.source.key(pairs[0][1])
    return DataFinding(
        "shared images",
        False,
        f"{_of(len(pairs), scored)} of the {which} part are learned from too, such as {second}, "
        f"which equals {first}: scores on them are too high",
        _single([row for row, _ in pairs]),  # rows of the images to learn from
    )


def difference_hashes(thumbnails: Tensor) -> Int64[Tensor, "images"]:
    """Signs of the differences of neighbouring cells of an 8 x 9 grid, as the bits of a number.

    Source: the difference hash of N. Krawetz, "Kind of like that", 2013.
    """
    grey = thumbnails.float().mean(dim=1, keepdim=True)
    cells = F.interpolate(grey, (8, 9), mode="bilinear", antialias=True)[:, 0]
    bits = (cells[:, :, 1:] > cells[:, :, :-1]).flatten(1).long()
    return (bits << torch.arange(64)).sum(dim=1)


def _count(seen: Inspection) -> DataFinding:
    looked = "" if seen.is_whole else f"; {len(seen.hashes):,} of them were looked at"
    is_fine = seen.num_images >= 2
    return DataFinding("images", is_fine, f"{seen.num_images:,} images{looked}")


def _unreadable(seen: Inspection) -> DataFinding:
    if not seen.reasons:
        return DataFinding("unreadable", True, "every image can be read")
    row, reason = next(iter(seen.reasons.items()))
    return DataFinding(
        "unreadable",
        False,
        f"{_of(len(seen.reasons), seen)} cannot be read, such as {seen.source.key(row)} "
        f"({reason}): left out of scores, replaced in training batches",
    )


def _clipped(seen: Inspection) -> DataFinding:
    return DataFinding(
        "value range",
        False,
        f"{_of(seen.num_clipped, seen)} have values outside the range above: these become black or "
        "white",
    )


def _sizes(seen: Inspection) -> DataFinding:
    sides = seen.sizes[seen.readable]
    longest = sides.max(axis=1)
    typical = int(np.median(longest))
    smallest, largest = (sides[np.argsort(sides.prod(axis=1))[place]] for place in (0, -1))
    spread = (
        f"from {_size(smallest)} to {_size(largest)} pixels, typically {typical} on the longer side"
        if (sides != sides[0]).any()
        else f"all {_size(smallest)} pixels"
    )
    return DataFinding(
        "sizes",
        True,
        f"{spread}: training at {suited_size(typical)} pixels unless --image-size says otherwise",
    )


def _small_or_narrow(seen: Inspection) -> DataFinding:
    size = suited_size(int(np.median(seen.sizes[seen.readable].max(axis=1))))
    short, long = seen.sizes.min(axis=1), seen.sizes.max(axis=1)
    small = seen.readable & (2 * short < size)
    narrow = seen.readable & (long >= LONG * short)
    rows = np.flatnonzero(small | narrow)
    if not len(rows):
        return DataFinding("small or narrow", True, "no image is much smaller than that or narrow")
    return DataFinding(
        "small or narrow",
        False,
        f"{_of(len(rows), seen)} are less than half that size ({int(small.sum()):,}) or at least "
        f"{LONG:.0f} times as long as wide ({int(narrow.sum()):,}): their views are blurred, or "
        "their ends cut off",
        _single(rows.tolist()),
    )


def _blank(seen: Inspection) -> DataFinding:
    deviation = seen.thumbnails.float().std(dim=(2, 3)).amax(dim=1).numpy()
    rows = np.flatnonzero(seen.readable & (deviation < BLANK_LEVELS))
    if not len(rows):
        return DataFinding("blank", True, "no image is of a single colour")
    return DataFinding(
        "blank",
        False,
        f"{_of(len(rows), seen)} are of a single colour, such as {seen.source.key(int(rows[0]))}",
        _single(rows.tolist()),
    )


def _grey(seen: Inspection) -> DataFinding:
    channels = seen.thumbnails.shape[1]
    if channels != 3:
        return DataFinding("colour", True, f"{channels} channel{'s' * (channels > 1)}")
    values = seen.thumbnails.float()
    is_grey = (values.amax(dim=1) - values.amin(dim=1)).amax(dim=(1, 2)).numpy() <= 1
    share = float(is_grey[seen.readable].mean())
    if share < 1:
        return DataFinding("colour", True, f"{1 - share:.0%} of the images have colours")
    return DataFinding(
        "colour", True, "all images are grey: changes of hue and saturation have no effect on them"
    )


def _duplicates(seen: Inspection, equal: Sequence[tuple[int, ...]]) -> DataFinding:
    if not equal:
        return DataFinding("duplicates", True, "no two images are equal")
    first = ", ".join(seen.source.key(row) for row in equal[0][:2])
    return DataFinding(
        "duplicates",
        False,
        f"{_of(sum(len(rows) - 1 for rows in equal), seen)} repeat another to the pixel, such as "
        f"{first}: scores on held-out images are too high if one of a pair is learned from",
        tuple(equal[:SHOWN]),
    )


def _alike(seen: Inspection, equal: Sequence[tuple[int, ...]]) -> DataFinding:
    groups = similar_images(seen, equal)
    if not groups:
        return DataFinding("look alike", True, "no image looks like a copy of another")
    first = ", ".join(seen.source.key(row) for row in groups[0][:2])
    return DataFinding(
        "look alike",
        False,
        f"{_of(sum(len(rows) - 1 for rows in groups), seen)} look like a copy of another at a "
        f"different size, quality or moment, such as {first}",
        tuple(groups[:SHOWN]),
    )


def _balance(seen: Inspection) -> DataFinding:
    assert seen.labels is not None
    labels, counts = np.unique(seen.labels[seen.labels >= 0], return_counts=True)
    if not len(labels):
        return DataFinding("classes", False, "no image has a known class")
    names = [class_name(seen, int(label)) for label in labels]
    low, high = int(counts.argmin()), int(counts.argmax())
    spread = (
        f"from {counts[low]:,} images of '{names[low]}' to {counts[high]:,} of '{names[high]}'"
        if counts[low] < counts[high]
        else f"{counts[low]:,} images of each"
    )
    unknown = int((seen.labels < 0).sum())
    rest = f"; {_of(unknown, seen)} have no class" if unknown else ""
    single = [name for name, count in zip(names, counts, strict=True) if count == 1]
    alone = f"; of {listed(single)} there is a single image, which is never scored"
    return DataFinding(
        "classes",
        len(labels) > 1 and not single and bool(counts.max() < UNBALANCED * counts.min()),
        f"{len(labels):,} class{'es' * (len(labels) > 1)}, {spread}{alone if single else ''}{rest}",
    )


def _conflicts(seen: Inspection, equal: Sequence[tuple[int, ...]]) -> DataFinding:
    labels = seen.labels
    assert labels is not None
    groups = [rows for rows in equal if len({int(labels[row]) for row in rows}) > 1]
    if not groups:
        return DataFinding("labels", True, "no two equal images have different classes")
    one, other = groups[0][0], next(row for row in groups[0] if labels[row] != labels[groups[0][0]])
    return DataFinding(
        "labels",
        False,
        f"{len(groups):,} images stand in several classes, such as {seen.source.key(one)} and "
        f"{seen.source.key(other)}: one of the labels is wrong",
        tuple(groups[:SHOWN]),
    )


def _names(seen: Inspection) -> list[DataFinding]:
    """Class names that a person would take for one name."""
    folded: dict[str, list[str]] = defaultdict(list)
    for name in seen.source.class_names or ():
        folded[" ".join(canonical(name).casefold().replace("_", " ").split())].append(name)
    twins = [names for names in folded.values() if len(names) > 1]
    if not twins:
        return []
    shown = "; ".join(listed(names) for names in twins[:3])
    return [
        DataFinding("class names", False, f"these count as different classes: {shown}; is it so?")
    ]


def class_name(seen: Inspection, label: int) -> str:
    """Name of a class; its number if it has none."""
    names = seen.source.class_names
    return names[label] if names is not None and 0 <= label < len(names) else str(label)


def _single(rows: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    return tuple((row,) for row in rows[:SHOWN])


def _of(count: int, seen: Inspection) -> str:
    """Number of images of those that were looked at."""
    return f"{count:,} of {len(seen.hashes):,} images"


def _size(sides: Sequence[int]) -> str:
    return f"{sides[1]} x {sides[0]}"
