"""Search for the nearest images by cosine: exact, or approximate by faiss for very large sets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from sparring.errors import ConfigError, UsageError, unknown_name
from sparring.measures.knn import nearest
from sparring.seeding import generator

SearchName = Literal["auto", "exact", "faiss"]

MOST_EXACT = 10**12
"""Comparisons of a query with an image up to which `auto` searches exactly: a million images, each
compared with all."""
BLOCK = 4096
"""Queries that are searched together."""
SAMPLED_QUERIES = 256
"""Queries whose approximate neighbours are compared with the exact ones."""
GOOD_RECALL = 0.98
"""Recall in the sample from which on no more lists are looked into."""
_PER_LIST = 40
"""Images per list from which faiss learns the lists' centres."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Nearest rows of each query, nearest first.

    Attributes:
        cosines: of query and row.
        rows: indices.
        recall: share of the true neighbours that were found in a sample of the queries, in [0, 1];
            None for an exact search.
    """

    cosines: Float[Tensor, "queries k"]
    rows: Int64[Tensor, "queries k"]
    recall: float | None = None


def search_sentence(recall: float | None) -> str:
    """How the neighbours were searched, for a reader of the result."""
    if recall is None:
        return "The search is exact."
    return (
        f"The search is approximate: faiss found {100 * recall:.1f} % of the true neighbours of a "
        "sample of the queries."
    )


def require_known(how: str) -> None:
    """Refuse an unknown way to search, before anything is computed.

    Raises:
        ConfigError: naming the nearest known one.
    """
    if how not in get_args(SearchName):
        raise ConfigError(unknown_name("index", how, get_args(SearchName)))


def search(
    features: Float[Tensor, "rows dim"],
    queries: Float[Tensor, "queries dim"],
    num_neighbors: int,
    *,
    own: Int64[Tensor, "queries"] | None = None,
    how: str = "auto",
    progress: Progress | None = None,
) -> Found:
    """Nearest rows of each query by cosine, its own row left out.

    An exact search holds a unit copy of the features and one block of products; that of faiss holds
    two copies.

    Args:
        features: rows to choose from; normalised here.
        queries: rows to look up; normalised here.
        num_neighbors: k >= 1; capped at the number of rows, without the own one if `own` is given.
        own: row that each query is itself, which is none of its neighbours and counts in no recall;
            None: the queries are none of the rows.
        how: `exact`, `faiss`, or `auto`: exact for up to `MOST_EXACT` comparisons.
        progress: told the number of queries done after each block.

    Raises:
        ConfigError: for another `how`.
        UsageError: if faiss is wanted and not installed.
    """
    require_known(how)
    # One more is looked up where a row of its own is among them.
    wanted = min(num_neighbors + (own is not None), len(features))
    is_large = len(features) * len(queries) > MOST_EXACT
    if how == "faiss" or (how == "auto" and is_large):
        return _by_faiss(features, queries, wanted, own, progress, is_asked=how == "faiss")
    return _without_own(_exactly(features, queries, wanted, progress), own)


def _without_own(found: Found, own: Tensor | None) -> Found:
    """Neighbours without each query's own row, one fewer.

    Where the own row is not among the found ones, because equal rows took its place, the last one
    goes.
    """
    if own is None:
        return found
    is_own = found.rows == own[:, None]
    order = is_own.int().argsort(dim=1, stable=True)[:, :-1]
    return Found(
        cosines=found.cosines.gather(1, order),
        rows=found.rows.gather(1, order),
        recall=found.recall,
    )


def _exactly(
    features: Tensor, queries: Tensor, num_neighbors: int, progress: Progress | None
) -> Found:
    blocks = []
    for start in range(0, len(queries), BLOCK):
        blocks.append(nearest(features, queries[start : start + BLOCK], num_neighbors))
        if progress is not None:
            progress(min(start + BLOCK, len(queries)), len(queries))
    if not blocks:
        blocks = [nearest(features, queries, num_neighbors)]
    return Found(
        cosines=torch.cat([block[0] for block in blocks]),
        rows=torch.cat([block[1] for block in blocks]),
    )


def _by_faiss(
    features: Tensor,
    queries: Tensor,
    num_neighbors: int,
    own: Tensor | None,
    progress: Progress | None,
    *,
    is_asked: bool,
) -> Found:
    """Neighbours from the nearest lists of an inverted file; as many lists are looked into as find
    `GOOD_RECALL` of the true neighbours of a sample."""
    index = _inverted_file(_faiss(len(features), is_asked=is_asked), features)
    chosen = torch.randperm(len(queries), generator=generator(0, "recall"))[:SAMPLED_QUERIES]
    sample, own_sample = queries[chosen], None if own is None else own[chosen]
    cosines, rows = nearest(features, sample, num_neighbors)
    truth = _without_own(Found(cosines=cosines, rows=rows), own_sample).cosines
    index.nprobe, recall = 1, 0.0
    while True:
        found = _without_own(_looked_up(index, sample, num_neighbors, None), own_sample)
        # Of equal cosines any may be found; the slack is that of rounding.
        is_true = found.cosines >= truth[:, -1:] - 1e-5
        recall = float(is_true.double().mean()) if is_true.numel() else 1.0
        if recall >= GOOD_RECALL or index.nprobe >= index.nlist:
            break
        index.nprobe = min(2 * index.nprobe, index.nlist)
    found = _looked_up(index, queries, num_neighbors, progress)
    while bool((found.rows < 0).any()):  # lists too short for so many neighbours
        index.nprobe = min(2 * index.nprobe, index.nlist)
        found = _looked_up(index, queries, num_neighbors, progress)
    return _without_own(Found(cosines=found.cosines, rows=found.rows, recall=recall), own)


def _inverted_file(faiss: Any, features: Tensor) -> Any:
    """Index of unit rows, in about twice the square root of their number of lists."""
    count, dim = features.shape
    num_lists = max(1, min(int(2 * count**0.5), count // _PER_LIST))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, num_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter = 0, 8
    learned = torch.randperm(count, generator=generator(0, "lists"))[: _PER_LIST * num_lists]
    index.train(_unit(features[learned]))
    for start in range(0, count, 16 * BLOCK):
        index.add(_unit(features[start : start + 16 * BLOCK]))
    return index


def _looked_up(index: Any, queries: Tensor, num_neighbors: int, progress: Progress | None) -> Found:
    """Rows that an index finds; -1 for places that its lists cannot fill."""
    cosines = torch.empty(len(queries), num_neighbors)
    rows = torch.empty(len(queries), num_neighbors, dtype=torch.int64)
    for start in range(0, len(queries), BLOCK):
        block = slice(start, start + BLOCK)
        found, places = index.search(_unit(queries[block]), num_neighbors)
        cosines[block], rows[block] = torch.from_numpy(found), torch.from_numpy(places)
        if progress is not None:
            progress(min(start + BLOCK, len(queries)), len(queries))
    return Found(cosines=cosines, rows=rows)


def _unit(rows: Tensor) -> np.ndarray:
    return F.normalize(rows, dim=1).contiguous().numpy()


def _faiss(num_images: int, *, is_asked: bool) -> Any:
    """The library.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        import faiss
    except ImportError:
        why = (
            "--index faiss needs faiss"
            if is_asked
            else f"comparing {num_images:,} images with one another exactly takes hours; faiss "
            "takes minutes, and is not installed"
        )
        raise UsageError(f"{why}: pip install 'sparring[index]', or give --index exact") from None
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss
