"""Mining: selection of the negatives of each query. Miners return indices; the loss takes the
cosines at these indices.

`hardest` is the inner player of ACSSL's game: of all sets of `count` candidates it finds the one
with the largest triplet-like loss, exactly, by sorting. The other miners choose equally many in
another way, as controls; `mixed` puts random candidates at some places of the mined ones.

No matrix of all cosines is kept: a few more candidates than needed are found, those that are not
allowed are removed, and the gradient flows through the chosen cosines only.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from sparring import distributed
from sparring.acceleration.largest import falling, largest, largest_products
from sparring.config import Settings
from sparring.errors import ConfigError
from sparring.measures.metric import Metric
from sparring.transfers import sent

WATCHED = 65_536
"""Largest number of chosen pairs reported per query view; enough for a mean, and a bound where all
negatives of a large batch are chosen."""


MINING_METRICS = {
    "mining/hardness": Metric(
        "mean cosine of queries with the negatives that were chosen for them: the mined ones, with "
        "random ones among them where `strength` holds the miner"
    ),
    "mining/hardness_of_all": Metric(
        "mean cosine of queries with all candidates; the gap to mining/hardness is what mining adds"
    ),
    "mining/positive": Metric("mean cosine of queries with their own keys"),
    "mining/false_negatives": Metric(
        "share of mined pairs whose two images are of one class; only where labels exist, which "
        "training never sees"
    ),
}
"""Metrics of a method that mines its negatives."""


class MiningSettings(Settings):
    """Candidates for the negatives of a query, and the number that is chosen."""

    pool: Literal["batch", "batch2", "queue"] = "batch"
    """Candidates of each query. `batch`: the other images' keys of the positive's view; `batch2`:
    those of both views; `queue`: those of both views and a queue of past keys."""
    count: int = Field(default=9, ge=1)
    """Number K of hardest candidates of each query; fewer if there are fewer. With `skip`, the
    default is ranks 2 to 10 as in Wang et al. 2021, arXiv:2104.08760."""
    skip: int = Field(default=1, ge=0)
    """Number r of hardest candidates that are left out: they are mostly of the query's own
    class."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs during which every candidate is a negative."""
    queue_size: int = Field(default=4096, ge=1)
    """Number of past keys in the pool `queue`; every step adds two per image."""

    @property
    def num_kept(self) -> int:
        """Number of past keys that the pool needs."""
        return {"batch": 0, "batch2": 0, "queue": self.queue_size}[self.pool]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Candidates for the negatives of one view's queries. Keys of a query's own image are not
    allowed.

    Image numbers lie on the CPU, whatever the device of the keys, so that numbers of candidates are
    known without reading the device.

    Attributes:
        keys: embeddings of the candidates, unit rows, without gradient.
        images: image number of each candidate; a negative number marks an empty row, which is never
            allowed.
        anchors: image number of each query.
    """

    keys: Float[Tensor, "candidates dim"]
    images: Int[Tensor, "candidates"]
    anchors: Int[Tensor, "batch"]


def allowed(
    anchors: Int[Tensor, "batch"], candidates: Int[Tensor, "candidates"]
) -> Bool[Tensor, "batch candidates"]:
    """Mask of the allowed candidates of each query: those with an image number from 0 on that
    differs from the query's own.

    Args:
        anchors: image number of each query.
        candidates: image number of each candidate; negative: empty.
    """
    return (candidates[None, :] != anchors[:, None]) & (candidates >= 0)[None, :]


def num_available(anchors: Int[Tensor, "joint"], candidates: Int[Tensor, "candidates"]) -> int:
    """Smallest number of allowed candidates over all queries.

    Args:
        anchors: image numbers of the queries of all processes, so that all processes get the same
            result.
        candidates: as in `allowed`.
    """
    real = candidates[candidates >= 0].sort().values
    num_own = torch.searchsorted(real, anchors, right=True) - torch.searchsorted(real, anchors)
    return len(real) - int(num_own.max())


def num_chosen(available: int, *, count: int, skip: int) -> int:
    """Number of candidates to choose: `count`, or fewer if fewer are left after the first `skip`.

    Raises:
        ConfigError: if nothing is left.
    """
    if available <= skip:
        raise ConfigError(
            f"nothing to mine: some query has {available} images beside its own and "
            f"mining.skip={skip} leaves none; "
            "choose a larger training.batch_size, a smaller mining.skip, or mining.pool=batch2"
        )
    return min(count, available - skip)


def cosines(
    query: Float[Tensor, "batch dim"],
    keys: Float[Tensor, "candidates dim"],
    columns: Int[Tensor, "batch columns"],
) -> Float[Tensor, "batch columns"]:
    """Cosine of each query with its candidates of these columns; unit rows."""
    columns = sent(columns, query.device)
    if (
        columns.shape[1] > len(keys) // 16
    ):  # a matrix product costs less than as many copies of keys
        return (query @ keys.T).gather(1, columns)
    return torch.einsum("bd,bcd->bc", query, keys[columns])


@torch.no_grad()
def mean_cosine(query: Float[Tensor, "batch dim"], pool: Pool) -> Float[Tensor, ""]:
    """Mean cosine over all allowed pairs of unit rows. The sum over all pairs is a product of sums,
    from which the pairs that are not allowed are subtracted."""
    is_special = torch.isin(pool.images, pool.anchors) | (pool.images < 0)
    barred = (~allowed(pool.anchors, pool.images[is_special])).nonzero()
    special, rows, columns = (
        sent(indices, query.device) for indices in (is_special.nonzero()[:, 0], *barred.T)
    )
    total = (
        query.sum(dim=0) @ pool.keys.sum(dim=0)
        - (query @ pool.keys[special].T)[rows, columns].sum()
    )
    return total / (len(query) * len(pool.keys) - len(barred))


@torch.no_grad()
def hardest(
    query: Float[Tensor, "batch dim"], pool: Pool, *, count: int, skip: int
) -> Int[Tensor, "batch count"]:
    """Columns of the most similar allowed candidates, from rank skip + 1 on; ties are in any order.

    Args:
        query: unit rows.
        pool: candidates, with at least skip + count allowed ones for each query.
        count: K.
        skip: r.
    """
    num_barred = len(pool.images) - num_available(
        pool.anchors, pool.images
    )  # of the query with the most
    ranked = torch.cat(
        [
            falling(*found)[1]
            for found in largest_products(query, pool.keys, skip + count + num_barred)
        ]
    )
    images, anchors = (sent(numbers, query.device) for numbers in (pool.images, pool.anchors))
    found = images[ranked]
    is_barred = (found == anchors[:, None]) | (found < 0)
    behind = (
        is_barred.to(torch.uint8).sort(dim=1, stable=True).indices
    )  # the allowed ones in their order, then the others
    return ranked.gather(1, behind[:, skip : skip + count])


def easiest(
    query: Float[Tensor, "batch dim"], pool: Pool, *, count: int
) -> Int[Tensor, "batch count"]:
    """Columns of the least similar allowed candidates; nothing is skipped, as there are no false
    negatives among them."""
    return hardest(-query, pool, count=count, skip=0)


def at_random(pool: Pool, *, count: int, generator: torch.Generator) -> Int[Tensor, "batch count"]:
    """Columns of random allowed candidates; each set of `count` is equally likely.

    Args:
        pool: candidates, with at least `count` allowed ones for each query of this process.
        count: K.
        generator: equal in all processes; draws for the rows of all processes, of which this one
            keeps its own.
    """
    batch = len(pool.anchors)
    joint = (distributed.num_processes() * batch, len(pool.images))
    lots = distributed.own_share(torch.rand(joint, generator=generator))
    lots = lots.masked_fill_(~allowed(pool.anchors, pool.images), -torch.inf)
    return falling(*largest(sent(lots, pool.keys.device), count))[1]


@torch.no_grad()
def mixed(
    mined: Int[Tensor, "batch count"],
    random: Int[Tensor, "batch count"],
    share: Float[Tensor, ""],
    *,
    generator: torch.Generator,
) -> Int[Tensor, "batch count"]:
    """Columns of which each is the mined one of its place with probability `share`, else the random
    one.

    A candidate that is both mined and drawn may stand at two places of a query; it is then two of
    its negatives.

    Args:
        mined: columns of mined candidates, the hardest first.
        random: columns of as many random candidates, in random order.
        share: in [0, 1]; 0: the random ones, 1: the mined ones, both exactly.
        generator: equal in all processes; draws for the rows of all processes, of which this one
            keeps its own.
    """
    joint = (distributed.num_processes() * len(mined), mined.shape[1])
    lots = distributed.own_share(torch.rand(joint, generator=generator))
    return torch.where(sent(lots, mined.device) < share, mined, random)


def image_pairs(
    anchors: Int[Tensor, "batch"],
    candidates: Int[Tensor, "candidates"],
    chosen: Int[Tensor, "batch count"],
) -> Int[Tensor, "pairs 2"]:
    """Image numbers (query, chosen candidate) of all processes; only of the first queries of each
    process if there are very many.

    Args:
        anchors: image number of each query, on the CPU.
        candidates: image number of each candidate, on the CPU.
        chosen: columns of the candidates that were chosen.
    """
    rows = chosen[: max(1, WATCHED // chosen.shape[1])]
    anchors, candidates = (sent(numbers, chosen.device) for numbers in (anchors, candidates))
    pairs = torch.stack([anchors[: len(rows), None].expand_as(rows), candidates[rows]], dim=2)
    return distributed.gather(pairs.flatten(0, 1))
