"""Groups of images that repeat one another: equal content, and copies that look the same."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from sparring.data.decode import UnreadableImageError, header, read_content
from sparring.data.sources.image_source import as_bytes
from sparring.errors import ConfigError
from sparring.evaluation.features import FeatureEncoder
from sparring.indexing.copies import copy_cosines, same_picture
from sparring.indexing.equal_images import originality, representatives
from sparring.indexing.indexed_images import IndexedImages, Rows
from sparring.indexing.search import Found, Progress, search
from sparring.seeding import generator

FIRST_LOOK, SECOND_LOOK = 8, 64
"""Neighbours of each image that are looked at, and of one whose first ones are all alike."""
COPIED_IMAGES = 256
"""Images of the set that are copied to find the threshold."""
FOUND_SHARE = 0.95
"""Share of the made copies whose cosine with their image the threshold lets pass."""
MOST_THRESHOLD = 1 - 1e-6
"""Largest threshold: rounding of float32 leaves cosines of equal features this far from 1."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """An image to keep, and those that repeat it.

    Attributes:
        keep: row of the largest in pixels, then in bytes, then by `originality`.
        others: rows of the images that could go, the most similar first.
        similarities: cosine of each with the one to keep.
        are_equal: whether each has the same content as the one to keep.
    """

    keep: int
    others: tuple[int, ...]
    similarities: tuple[float, ...]
    are_equal: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Answer of `sparring.duplicates`.

    Attributes:
        images: the set.
        groups: the largest first; no image is in two of them.
        threshold: cosine from which images may be alike; None for a set of one image.
        is_given: whether the user gave the threshold; the pixels were not compared then.
        recall: of the search, if it is approximate; else None.
    """

    images: IndexedImages = field(repr=False)
    groups: tuple[Group, ...]
    threshold: float | None
    is_given: bool = False
    recall: float | None = None

    @property
    def num_removable(self) -> int:
        """Images that repeat one that is kept."""
        return sum(len(group.others) for group in self.groups)

    @property
    def num_equal(self) -> int:
        """Images among them whose content equals that of the one that is kept."""
        return sum(sum(group.are_equal) for group in self.groups)

    def sentence(self) -> str:
        """How images were found to be alike, for a reader of the result."""
        if self.threshold is None:
            return "A single image repeats none."
        if self.is_given:
            return f"Images are alike from a cosine of {self.threshold:g}, which was given."
        return (
            f"Images are alike from a cosine of {self.threshold:.4f}, which "
            f"{FOUND_SHARE:.0%} of copies of this set's images reach with this encoder "
            "(recompressed, resized, cropped by 3 %), if their pixels agree too."
        )

    def tree(self) -> dict[str, Any]:
        """What `--json` prints."""
        key = self.images.key
        return {
            "images": len(self.images),
            "groups": len(self.groups),
            "removable": self.num_removable,
            "equal": self.num_equal,
            "threshold": self.threshold,
            "recall": self.recall,
            "found": [
                {
                    "keep": key(group.keep),
                    "others": [
                        {"key": key(row), "similarity": round(similarity, 6), "equal": is_equal}
                        for row, similarity, is_equal in _members(group)
                    ],
                }
                for group in self.groups
            ],
        }

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Columns and rows of the CSV file: every image of every group."""
        key, rows = self.images.key, list[list[object]]()
        for number, group in enumerate(self.groups):
            rows.append([number, "keep", key(group.keep), "", ""])
            for row, similarity, is_equal in _members(group):
                kind = "equal" if is_equal else "alike"
                rows.append([number, "remove", key(row), f"{similarity:.6f}", kind])
        return ["group", "suggestion", "key", "similarity", "kind"], rows

    def removable_keys(self) -> list[str]:
        """Keys of the images that could go, in the order of the set."""
        rows = sorted(row for group in self.groups for row in group.others)
        return [self.images.key(row) for row in rows]


def _members(group: Group) -> list[tuple[int, float, bool]]:
    return list(zip(group.others, group.similarities, group.are_equal, strict=True))


def find_duplicates(
    images: IndexedImages,
    encoder: FeatureEncoder,
    *,
    image_size: int,
    device: torch.device,
    threshold: float | None = None,
    how: str = "auto",
    progress: Progress | None = None,
) -> Duplicates:
    """Groups of a set's images that repeat one another.

    Equal content is found for certain. Of the rest, pairs from the threshold on are candidates, and
    those whose pixels agree too are alike (see `same_picture`). Each group holds images that are
    all alike to the one that is kept, so a chain of small changes joins no unlike images.

    Args:
        images: the set.
        encoder: whose features those of the set are.
        image_size: side in pixels of the squares that it sees.
        device: where it is.
        threshold: cosine from which images are alike, whatever their pixels, in (0, 1]; None: what
            `FOUND_SHARE` of made copies reach, and pixels that agree.
        how: of the search, see `search`.
        progress: told the number of images searched.

    Raises:
        ConfigError: if the threshold is out of range.
    """
    require_threshold(threshold)
    first = representatives(images)
    unique = torch.unique(torch.from_numpy(first))
    chosen = threshold
    if chosen is None and len(images) > 1:
        chosen = copy_threshold(images, encoder, image_size=image_size, device=device)
    pairs: dict[int, dict[int, float]] = defaultdict(dict)
    recall = None
    if len(unique) > 1 and chosen is not None:
        found, recall = _alike(images, unique, chosen, how=how, progress=progress)
        if threshold is None:
            found = _confirmed(images, found)
        for one, other, cosine in found:
            pairs[one][other] = pairs[other][one] = cosine
    return Duplicates(
        images=images,
        groups=_groups(images, first, pairs),
        threshold=chosen,
        is_given=threshold is not None,
        recall=recall,
    )


def require_threshold(threshold: float | None) -> None:
    """Refuse a threshold that no cosine is compared with, before anything is computed.

    Raises:
        ConfigError: if it is out of range.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise ConfigError(
            f"--threshold must be above 0 and at most 1, got {threshold:g}; leave it out to find "
            "it for this encoder"
        )


def copy_threshold(
    images: IndexedImages, encoder: FeatureEncoder, *, image_size: int, device: torch.device
) -> float:
    """Cosine that `FOUND_SHARE` of copies of some of the images reach with their images.

    Args:
        images: the set, of which at most `COPIED_IMAGES` are drawn.
        encoder: whose features those of the set are.
        image_size: side in pixels of the squares that it sees.
        device: where it is.
    """
    rows = torch.randperm(len(images), generator=generator(0, "copies"))[:COPIED_IMAGES]
    cosines = copy_cosines(
        [images.image(row) for row in rows.tolist()],
        images.features[rows],
        encoder,
        size=image_size,
        device=device,
    )
    return min(MOST_THRESHOLD, float(torch.quantile(cosines.flatten().double(), 1 - FOUND_SHARE)))


Pair = tuple[int, int, float]
"""Two rows, the smaller first, and the cosine of their features."""


def _alike(
    images: IndexedImages,
    unique: Int64[Tensor, "different"],
    threshold: float,
    *,
    how: str,
    progress: Progress | None,
) -> tuple[list[Pair], float | None]:
    """Pairs of different images from the threshold on, and the recall of the search."""
    threshold = min(threshold, MOST_THRESHOLD)
    features = images.features[unique]
    everyone = torch.arange(len(unique))
    near = search(features, features, FIRST_LOOK, own=everyone, how=how, progress=progress)
    pairs = _pairs(unique, everyone, near, threshold)
    crowded = (near.cosines[:, -1] >= threshold).nonzero()[:, 0]
    if len(crowded) and len(unique) > FIRST_LOOK + 1:
        again = search(features, features[crowded], SECOND_LOOK, own=crowded, how=how)
        pairs |= _pairs(unique, crowded, again, threshold)
    return [(one, other, cosine) for (one, other), cosine in sorted(pairs.items())], near.recall


def _pairs(
    unique: Int64[Tensor, "different"],
    own: Int64[Tensor, "queries"],
    found: Found,
    threshold: float,
) -> dict[tuple[int, int], float]:
    places, ranks = (found.cosines >= threshold).nonzero(as_tuple=True)
    ones, others = unique[own[places]], unique[found.rows[places, ranks]]
    cosines = found.cosines[places, ranks].clamp(max=1)
    low, high = torch.minimum(ones, others), torch.maximum(ones, others)
    return {
        (int(one), int(other)): float(cosine)
        for one, other, cosine in zip(low, high, cosines, strict=True)
        if one != other
    }


def _confirmed(images: IndexedImages, pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs whose pixels agree."""
    return [
        pair
        for pair, is_same in zip(
            pairs, same_picture(images, [(one, other) for one, other, _ in pairs]), strict=True
        )
        if is_same
    ]


def _groups(
    images: IndexedImages, first: Rows, pairs: dict[int, dict[int, float]]
) -> tuple[Group, ...]:
    """Groups around the images to keep, the most preferable first; the largest groups first."""
    copies: dict[int, list[int]] = defaultdict(list)
    for row, one in enumerate(first.tolist()):
        if row != one:
            copies[one].append(row)
    groups, taken = [], set[int]()
    for keep in sorted({*copies, *pairs}, key=lambda row: _preference(images, row)):
        if keep in taken:
            continue
        members = [(row, 1.0, True) for row in copies[keep]]
        near = {other: cosine for other, cosine in pairs[keep].items() if other not in taken}
        for other, cosine in near.items():
            members += [(row, cosine, False) for row in (other, *copies[other])]
        taken |= {keep, *near}
        members = _once(images, keep, members)
        if members:
            members.sort(key=lambda one: (not one[2], -one[1], one[0]))
            rows, cosines, equal = zip(*members, strict=True)
            groups.append(Group(keep=keep, others=rows, similarities=cosines, are_equal=equal))
    return tuple(sorted(groups, key=lambda group: (-len(group.others), group.keep)))


def _once(
    images: IndexedImages, keep: int, members: list[tuple[int, float, bool]]
) -> list[tuple[int, float, bool]]:
    """Members that are images of their own, each once: a list may name one file twice, a link may
    lead to another file of the set, and a file that is kept must not go."""
    identity = images.source.identity
    found = {identity(member[0]): member for member in members[::-1]}
    found.pop(identity(keep), None)
    return list(found.values())


def _preference(images: IndexedImages, row: int) -> tuple[int, int, tuple[int, int]]:
    """Smaller for an image that is rather kept: more pixels, then more bytes, then the original."""
    own = originality(images.source, row)
    try:
        content = read_content(images.source.read, row)
        found = header(content)
    except UnreadableImageError:
        return (0, 0, own)
    return (-found.height * found.width, -len(as_bytes(content)), own)
