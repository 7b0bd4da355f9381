"""The most similar images of a set for each query."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sparring.errors import ConfigError
from sparring.indexing.indexed_images import IndexedImages
from sparring.indexing.queries import Queries, content_of, joint_features
from sparring.indexing.search import Found, Progress, search

_EQUAL = 0.999
"""Cosine from which the content of a neighbour is compared with that of the query."""


@dataclass(frozen=True)
class Neighbour:
    """A similar image.

    Attributes:
        key: its name in the set.
        similarity: cosine of the features, in [-1, 1].
        label: name of its class; empty if it is unknown.
        row: its number in the set, among the readable images.
    """

    key: str
    similarity: float
    label: str
    row: int = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class QueryNeighbours:
    """A query and its most similar images, the most similar first.

    Attributes:
        key: name of the query, or its path.
        label: name of its class where it is an image of the set; empty if it is unknown.
        neighbours: images of the set, without the query itself.
        num_equal: images of the set with the same content as the query, which are left out.
    """

    key: str
    label: str
    neighbours: tuple[Neighbour, ...]
    num_equal: int = 0


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Answers of `sparring.neighbours`.

    Attributes:
        images: the set that was searched.
        queries: the queries with their images.
        answers: one for each query, in their order.
        recall: of the search, if it is approximate; else None.
    """

    images: IndexedImages = field(repr=False)
    queries: tuple[Queries, ...] = field(repr=False)
    answers: tuple[QueryNeighbours, ...]
    recall: float | None = None

    def tree(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "images": len(self.images),
            "recall": self.recall,
            "queries": [
                {
                    "query": one.key,
                    "label": one.label or None,
                    "equal_images_left_out": one.num_equal,
                    "neighbours": [
                        {
                            "key": found.key,
                            "similarity": round(found.similarity, 6),
                            "label": found.label or None,
                        }
                        for found in one.neighbours
                    ],
                }
                for one in self.answers
            ],
        }

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Columns and rows of the CSV file."""
        columns = ["query", "rank", "key", "similarity", "label"]
        return columns, [
            [one.key, rank, found.key, f"{found.similarity:.6f}", found.label]
            for one in self.answers
            for rank, found in enumerate(one.neighbours, start=1)
        ]


def find_neighbours(
    images: IndexedImages,
    queries: Sequence[Queries],
    *,
    num_neighbors: int,
    how: str = "auto",
    progress: Progress | None = None,
) -> Neighbours:
    """The most similar images of the set for each query, the query itself left out.

    Args:
        images: the set.
        queries: what is asked about.
        num_neighbors: images per query, >= 1; fewer where the set has fewer.
        how: of the search, see `search`.
        progress: told the number of queries done.

    Raises:
        ConfigError: if `num_neighbors` is less than 1.
    """
    if num_neighbors < 1:
        raise ConfigError(f"--k must be at least 1, got {num_neighbors}; 12 is the default")
    wanted, features = num_neighbors + 1, joint_features(queries)
    rows = torch.tensor([row for given in queries for row in given.rows])
    own = rows if bool((rows >= 0).all()) else None
    while True:
        found = search(images.features, features, wanted, own=own, how=how, progress=progress)
        answers = _answers(images, queries, found, num_neighbors)
        is_enough = all(len(one.neighbours) == num_neighbors for one in answers)
        if is_enough or wanted >= len(images):
            break
        wanted = min(len(images), 4 * wanted)  # many images equal the query
    return Neighbours(images=images, queries=tuple(queries), answers=answers, recall=found.recall)


def _answers(
    images: IndexedImages, queries: Sequence[Queries], found: Found, num_neighbors: int
) -> tuple[QueryNeighbours, ...]:
    answers, place = [], 0
    for given in queries:
        for number, own in enumerate(given.rows):
            rows, cosines = found.rows[place], found.cosines[place]
            equal = _equal_rows(images, given, number, rows, cosines)
            kept = [i for i, row in enumerate(rows.tolist()) if row not in equal]
            near = tuple(
                Neighbour(
                    images.key(row), float(cosines[i].clamp(-1, 1)), images.label(row), int(row)
                )
                for i in kept[:num_neighbors]
                for row in [int(rows[i])]
            )
            answers.append(
                QueryNeighbours(
                    key=given.images.key(number),
                    label=given.images.label(number),
                    neighbours=near,
                    num_equal=len(equal - {own}),
                )
            )
            place += 1
    return tuple(answers)


def _equal_rows(
    images: IndexedImages, given: Queries, number: int, rows: Tensor, cosines: Tensor
) -> set[int]:
    """Rows of the query itself: its own, and those with the same content."""
    own = given.rows[number]
    equal = {own} if own >= 0 else set()
    candidates = torch.unique(rows[cosines >= _EQUAL]).tolist()
    if candidates and (content := given.content(number)) is not None:
        equal |= {row for row in candidates if content_of(images, row) == content}
    return equal
