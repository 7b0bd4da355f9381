"""Mining: which candidates a query has to meet. Miners return indices; the loss takes the similarities found there.

The inner player of ACSSL's game: of all sets of `count` candidates the hardest is the one that raises a triplet-like loss most, and it is
found exactly, by sorting. The other miners choose as many in another way, to show what the choice is worth.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from sparring import distributed
from sparring.config import Settings
from sparring.errors import ConfigError

WATCHED = 65_536
"""Chosen pairs per query view that are reported; enough for a mean, small where all negatives of a large batch are chosen."""


class MiningSettings(Settings):
    """Whom a query may meet, and how many of them it meets."""

    pool: Literal["batch", "batch2", "queue"] = "batch"
    """batch: the other images' keys of the positive's view; batch2: those of both views; queue: both and a queue of past keys."""
    count: int = Field(default=9, ge=1)
    """K hardest candidates of each query; fewer where there are fewer. Ranks 2 to 10 as in Wang et al. 2021, arXiv:2104.08760."""
    skip: int = Field(default=1, ge=0)
    """r hardest that are left out before: without labels they are mostly of the query's own class."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Until then every candidate is met."""
    queue_size: int = Field(default=4096, ge=1)
    """Past keys in the pool `queue`; two per image and step come in."""

    @property
    def num_kept(self) -> int:
        """Past keys that the pool needs."""
        return {"batch": 0, "batch2": 0, "queue": self.queue_size}[self.pool]


def allowed(anchors: Int[Tensor, "batch"], candidates: Int[Tensor, "candidates"]) -> Bool[Tensor, "batch candidates"]:
    """Which candidates a query may meet: those that show an image (numbers from 0), and another one than its own.

    Args:
        anchors: image number of each query.
        candidates: image number of each candidate; negative: none.
    """
    return (candidates[None, :] != anchors[:, None]) & (candidates >= 0)[None, :]


def num_available(anchors: Int[Tensor, "joint"], candidates: Int[Tensor, "candidates"]) -> int:
    """Candidates of the query that has fewest: as many as all queries can meet.

    Args:
        anchors: image numbers of the queries of all processes, so that all come to one result.
        candidates: as in `allowed`.
    """
    real = candidates[candidates >= 0].sort().values
    num_own = torch.searchsorted(real, anchors, right=True) - torch.searchsorted(real, anchors)
    return len(real) - int(num_own.max())


def num_chosen(available: int, *, count: int, skip: int) -> int:
    """How many are left to choose: `count`, or what there is beyond the first `skip`.

    Raises:
        ConfigError: if nothing is left.
    """
    if available <= skip:
        raise ConfigError(
            f"nothing to mine: some query has {available} images beside its own and mining.skip={skip} leaves none; "
            "choose a larger training.batch_size, a smaller mining.skip, or mining.pool=batch2"
        )
    return min(count, available - skip)


@torch.no_grad()
def hardest(
    similarity: Float[Tensor, "batch candidates"],
    allowed: Bool[Tensor, "batch candidates"],
    *,
    count: int,
    skip: int,
) -> Int[Tensor, "batch count"]:
    """Columns of the most similar allowed candidates, from rank skip + 1 on; among equals any may come first.

    Args:
        similarity: of each query with each candidate.
        allowed: at least skip + count per row.
        count: K.
        skip: r.
    """
    ranked = similarity.masked_fill(~allowed, -torch.inf).topk(skip + count, dim=1).indices
    return ranked[:, skip:]


def easiest(
    similarity: Float[Tensor, "batch candidates"], allowed: Bool[Tensor, "batch candidates"], *, count: int
) -> Int[Tensor, "batch count"]:
    """Columns of the least similar allowed candidates; nothing is skipped, as false negatives are not there."""
    return hardest(-similarity, allowed, count=count, skip=0)


def at_random(allowed: Bool[Tensor, "batch candidates"], *, count: int, generator: torch.Generator) -> Int[Tensor, "batch count"]:
    """Columns of allowed candidates, each set of `count` equally likely.

    Args:
        allowed: at least `count` per row, rows of this process.
        count: K.
        generator: equal in all processes; draws for the rows of all of them, of which this one keeps its own.
    """
    batch, first_row = len(allowed), distributed.rank() * len(allowed)
    lots = torch.rand(distributed.num_processes() * batch, allowed.shape[1], generator=generator)
    return hardest(lots[first_row : first_row + batch].to(allowed.device), allowed, count=count, skip=0)


def image_pairs(
    anchors: Int[Tensor, "batch"], candidates: Int[Tensor, "candidates"], chosen: Int[Tensor, "batch count"]
) -> Int[Tensor, "pairs 2"]:
    """Image numbers (query, chosen candidate) of all processes, of the first queries of each if there are very many."""
    rows = chosen[: max(1, WATCHED // chosen.shape[1])]
    pairs = torch.stack([anchors[: len(rows), None].expand_as(rows), candidates[rows]], dim=2)
    return distributed.gather(pairs.flatten(0, 1))
