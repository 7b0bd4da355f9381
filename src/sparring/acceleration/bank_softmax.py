"""Softmax of many queries over a large bank, chunk by chunk in two passes.

Holds the arithmetic of `bank_games`.

The first pass needs two matrix products per chunk (cosines, and the mean bank vector under a
query's softmax), the second one (the mean query under a bank vector's weights). All other
operations are in place, in memory that stays in cache: fresh pages cost as much as a matrix
product. Exponentials are powers of two, which halves their cost, and are computed once: the second
pass reuses those of the first.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sparring.acceleration.working_memory import scratch

TINY = 1e-12
"""Smallest norm of a bank vector, as in `unit_rows`."""

CHUNK = 1024
"""Bank vectors processed at once: enough for full-speed products, few enough to stay in cache."""

KEPT = 1 << 24
"""Weights kept from the first pass for the second, 64 MiB of floats; recomputing the others costs a
fourth product."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Result of one pass over the bank.

    Unit rows q of queries and n of the bank, temperatures t and u.

    Attributes:
        log_sums: log sum_k exp(q_i.n_k / t), and the same at u.
        hardest: max_k q_i.n_k.
        picked: sum_k p_ik n_k, with p the softmax over the bank at t.
        norms: norms of the bank's raw vectors.
        columns: scaled queries: the product with a unit row n is the exponent q_i.n / (u log 2) of
            that pair's weight, a power of two.
        references: value subtracted from the exponents of each chunk; it never decreases from chunk
            to chunk.
        weights: weights of the first rows of the bank; the next pass overwrites them.
        sums: sums of all weights, relative to the last reference.
    """

    log_sums: tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]
    hardest: Float[Tensor, "batch"]
    picked: Float[Tensor, "batch dim"]
    norms: Float[Tensor, "bank 1"]
    columns: Float[Tensor, "dim batch"]
    references: Float[Tensor, "chunks batch"]
    weights: Float[Tensor, "kept batch"]
    sums: Float[Tensor, "batch"]


@torch.no_grad()
def read(
    q: Float[Tensor, "batch dim"],
    bank: Float[Tensor, "bank dim"],
    *,
    temperatures: tuple[float, float],
) -> Reading:
    """Sums over the bank at both temperatures, and the mean bank vector at the first.

    The sums are relative to the largest cosine so far (an online softmax, Milakov & Gimelshein
    2018, arXiv:1805.02867), so no temperature overflows and no query loses all of its weights.

    Args:
        q: unit rows.
        bank: raw vectors w; n_k = w_k / |w_k|.
        temperatures: t and u, > 0.
    """
    first, second = temperatures
    slower = second / first
    kept = scratch("weights of a bank", min(len(bank), KEPT // len(q)), len(q), like=q)
    unit_space, weight_space, spare = (
        _chunk_space("unit vectors", q.shape[1], q),
        _chunk_space("weights", len(q), q),
        _chunk_space("spare", len(q), q),
    )
    columns, norms = (q / (second * math.log(2.0))).T, q.new_empty(len(bank), 1)
    highest, references = (
        q.new_full((len(q),), -torch.inf),
        q.new_empty(len(_chunks(len(bank))), len(q)),
    )
    sums, picked = (torch.zeros_like(highest), torch.zeros_like(highest)), torch.zeros_like(q)
    for chunk, reference in zip(_chunks(len(bank)), references, strict=True):
        vectors = bank[chunk]
        # The root of a dot product is four times as fast as a norm along rows.
        torch.clamp_min(
            torch.linalg.vecdot(vectors, vectors).sqrt_()[:, None], TINY, out=norms[chunk]
        )
        unit = torch.div(vectors, norms[chunk], out=unit_space[: len(vectors)])
        exponents = torch.mm(unit, columns, out=weight_space[: len(unit)])
        torch.maximum(highest, exponents.amax(dim=0), out=reference)
        fall, highest = highest - reference, reference
        exponents -= reference
        weights = torch.exp2(
            exponents, out=kept[chunk] if chunk.stop <= len(kept) else spare[: len(unit)]
        )
        sums[1].mul_(fall.exp2()).add_(weights.sum(dim=0))
        weights, shrink = exponents.mul_(slower).exp2_(), (fall * slower).exp2_()
        sums[0].mul_(shrink).add_(weights.sum(dim=0))
        picked.mul_(shrink[:, None]).addmm_(weights.T, unit)
    hardest = highest * (second * math.log(2.0))
    return Reading(
        log_sums=(hardest / first + sums[0].log(), hardest / second + sums[1].log()),
        hardest=hardest,
        picked=picked / sums[0][:, None],
        norms=norms,
        columns=columns,
        references=references,
        weights=kept,
        sums=sums[1],
    )


@torch.no_grad()
def tangents(
    reading: Reading,
    q: Float[Tensor, "batch dim"],
    bank: Float[Tensor, "bank dim"],
    share: Float[Tensor, "batch"],
) -> Float[Tensor, "bank dim"]:
    """Tangential part of each bank vector's weighted mean query.

    sum_i s_i p_ik (q_i - q_i.n_k n_k) / |w_k|

    p is the softmax over the bank at the second temperature.

    Args:
        reading: result of the last `read`, with the same queries and bank.
        q: unit rows.
        bank: raw vectors w.
        share: s, the weight of each query.
    """
    unit_space, weight_space = (
        _chunk_space("unit vectors", q.shape[1], q),
        _chunk_space("weights", len(q), q),
    )
    found = torch.empty_like(bank)
    for chunk, reference in zip(_chunks(len(bank)), reading.references, strict=True):
        vectors, norms, tangent = bank[chunk], reading.norms[chunk], found[chunk]
        if chunk.stop <= len(reading.weights):
            weights = reading.weights[chunk]
        else:
            unit = torch.div(vectors, norms, out=unit_space[: len(vectors)])
            weights = (
                torch.mm(unit, reading.columns, out=weight_space[: len(unit)])
                .sub_(reference)
                .exp2_()
            )
        to_shares = (reference - reading.references[-1]).exp2_() * share / reading.sums
        torch.mm(weights, q * to_shares[:, None], out=tangent)
        radial = torch.linalg.vecdot(tangent, vectors)[:, None] / norms.square()
        tangent.addcmul_(radial, vectors, value=-1.0).div_(norms)
    return found


def _chunks(count: int) -> list[slice]:
    """Slices of CHUNK consecutive rows."""
    return [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def _chunk_space(purpose: str, columns: int, like: Tensor) -> Tensor:
    """Reused memory for one chunk.

    Allocated anew for each chunk, it would leave holes: 145 MiB at 262,144 vectors.
    """
    return scratch(f"{purpose} of a chunk", CHUNK, columns, like=like)
