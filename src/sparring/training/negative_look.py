"""A look at a method's negatives: how hard, how many in effect, how many likely false.

The monitor makes it on images that it has encoded. It is computed on the CPU, in a fraction of a
step's time, and changes nothing: random play is drawn by names, as all else (`seeding.generator`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparring.measures.knn import nearest
from sparring.measures.negatives import (
    effective_number,
    hardest_places,
    quantiles,
    reciprocal_neighbors,
    same_class_share,
    used_share,
)
from sparring.methods.negatives import Negatives
from sparring.objectives.similarity import cosine

MAX_ANCHORS, MIN_ANCHORS = 256, 32
"""Numbers of anchors between which a look chooses."""
MAX_COSINES = 2**20
"""Cosines of anchors and negatives that a look computes, unless the fewest anchors need more; keeps
a look at any bank far below a second."""
MAX_REFERENCE = 256
"""Most images that are encoded for random play, unless a batch is larger. Quantiles of more random
keys are the same within rounding, and each is a forward pass of the key network."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What a look needs of some images, row by row, on the CPU.

    Attributes:
        query: anchors.
        keys: embeddings of the positives' view, then those of the anchors' view.
        features: of the images as they are.
        labels: class of each image, -1 where unknown; None: there are none.
        batch_size: images of a step.
    """

    query: Float[Tensor, "rows dim"]
    keys: tuple[Float[Tensor, "rows dim"], ...]
    features: Float[Tensor, "rows channels"]
    labels: Int[Tensor, "rows"] | None
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Met:
    """The negatives that each anchor meets; anchors are the first rows of the images.

    Attributes:
        cosines: of each anchor with its negatives.
        images: row of the image that each negative is, or of the other image that a stored vector
            resembles most.
        positive: cosine of each anchor with its positive.
        stored: the same cosines, of stored vectors alone; None without.
    """

    cosines: Float[Tensor, "anchors negatives"]
    images: Int[Tensor, "anchors negatives"]
    positive: Float[Tensor, "anchors"]
    stored: Float[Tensor, "anchors kept"] | None


def num_encoded(negatives: Negatives, *, batch_size: int, available: int) -> int:
    """Number of images that a look encodes: a batch, or as many as are stored if that is more."""
    stored = 0 if negatives.stored is None else len(negatives.stored)
    return min(available, max(batch_size, min(stored + 1, MAX_REFERENCE)))


def looked_at(
    negatives: Negatives, encoded: Encoded, *, draws: torch.Generator
) -> dict[str, float]:
    """Measures by name, see `measures.negatives.NEGATIVE_METRICS`; empty if no anchor meets any.

    Args:
        negatives: the method's declaration.
        encoded: images of at least two rows.
        draws: source of random play.
    """
    met = negatives_met(negatives, encoded, draws=draws)
    if met is None:
        return {}
    own = met.cosines if met.stored is None else met.stored
    found = {
        "number": float(met.cosines.shape[1]),
        "stored": 0.0 if negatives.stored is None else float(len(negatives.stored)),
        "is_played": float(negatives.is_played),
        "effective_number": effective_number(met.cosines, temperature=negatives.temperature),
        "positive": float(met.positive.mean()),
        **quantiles(own),
        **_likely_false(met, encoded),
    }
    if met.stored is not None or negatives.choice != "all":
        random = _random_play(encoded, met, draws=draws)
        found |= {f"random_{name}": value for name, value in quantiles(random).items()}
        if met.stored is not None:
            found |= {"used": used_share(met.stored), "random_used": used_share(random)}
    return {f"negatives/{name}": value for name, value in found.items()}


def negatives_met(negatives: Negatives, encoded: Encoded, *, draws: torch.Generator) -> Met | None:
    """The negatives of the first images as anchors; None if there are none.

    Args:
        negatives: the method's declaration.
        encoded: images.
        draws: source of the choice of `random`.
    """
    batch = min(len(encoded.query), encoded.batch_size)
    anchors = encoded.query[: _num_anchors(negatives, batch)]
    positive = torch.cosine_similarity(anchors, encoded.keys[0][: len(anchors)], dim=1)
    parts = []
    if negatives.stored is not None and len(negatives.stored):
        positive, part = _stored(negatives, encoded, anchors, positive)
        parts.append(part)
    stored = parts[0][0] if parts else None
    if batch > 1:
        parts += [_others(anchors, keys[:batch]) for keys in encoded.keys[: negatives.views]]
    if not parts or not parts[0][0].shape[1]:
        return None
    cosines, images = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
    if negatives.choice == "all":
        return Met(cosines=cosines, images=images, positive=positive, stored=stored)
    places = _chosen(cosines, negatives, draws)
    return Met(
        cosines=cosines.gather(1, places),
        images=images.gather(1, places),
        positive=positive,
        stored=None,
    )


def _num_anchors(negatives: Negatives, batch: int) -> int:
    stored = 0 if negatives.stored is None else len(negatives.stored)
    fitting = MAX_COSINES // (stored + negatives.views * batch + 1)
    return min(batch, MAX_ANCHORS, max(MIN_ANCHORS, fitting))


def _stored(
    negatives: Negatives, encoded: Encoded, anchors: Tensor, positive: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Cosine of the positives; and cosines of the anchors with stored vectors, and the rows of the
    other images that these resemble most."""
    assert negatives.stored is not None
    vectors = negatives.stored.float().cpu()
    cosines = cosine(anchors, vectors)
    first, second = nearest(encoded.keys[0], vectors, 2)[1].T
    rows = torch.arange(len(anchors))[:, None]
    # Never the anchor's own: the vectors nearest to an anchor resemble it because they were chosen.
    images = torch.where(first[None, :] == rows, second[None, :], first[None, :])
    if negatives.positive_by is None:
        return positive, (cosines, images)
    keys = encoded.keys[0][: len(anchors)] if negatives.positive_by == "key" else anchors
    own = cosine(keys, vectors).argmax(dim=1, keepdim=True)
    is_own = torch.zeros(cosines.shape, dtype=torch.bool).scatter_(1, own, True)
    return cosines.gather(1, own)[:, 0], (_without(cosines, is_own), _without(images, is_own))


def _others(anchors: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of the anchors with the other images of the batch, and the rows of these."""
    is_own = torch.eye(len(anchors), len(keys), dtype=torch.bool)
    rows = torch.arange(len(keys)).expand(is_own.shape)
    return _without(cosine(anchors, keys), is_own), _without(rows, is_own)


def _without(values: Tensor, is_left_out: Bool[Tensor, "anchors columns"]) -> Tensor:
    """Values without as many of each row as are left out of every other."""
    return values[~is_left_out].view(len(values), -1)


def _chosen(cosines: Tensor, negatives: Negatives, draws: torch.Generator) -> Tensor:
    """Columns of the candidates that become negatives."""
    skip = min(negatives.skip, cosines.shape[1] - 1)
    count = min(negatives.count, cosines.shape[1] - skip)
    match negatives.choice:
        case "random":
            return torch.rand(cosines.shape, generator=draws).topk(count, dim=1).indices
        case "easiest":
            return (-cosines).topk(count, dim=1).indices
        case _:
            return cosines.topk(skip + count, dim=1).indices[:, skip:]


def _random_play(encoded: Encoded, met: Met, *, draws: torch.Generator) -> Tensor:
    """Cosines of the anchors with keys of random other images: as many as the opponent has, or as
    there are."""
    wanted = (met.cosines if met.stored is None else met.stored).shape[1]
    count, anchors = min(wanted, len(encoded.query) - 1), len(met.cosines)
    rows = torch.randperm(len(encoded.query), generator=draws)[: count + 1]
    is_own = rows[None, :] == torch.arange(anchors)[:, None]
    is_own[:, -1] |= ~is_own.any(dim=1)  # who is not among them leaves out another
    return _without(cosine(encoded.query[:anchors], encoded.keys[0][rows]), is_own)


def _likely_false(met: Met, encoded: Encoded) -> dict[str, float]:
    """Shares of the hardest negatives that are likely false, by what is known."""
    places = hardest_places(met.cosines)
    images, near = met.images.gather(1, places), met.cosines.gather(1, places)
    anchors = torch.arange(len(places))[:, None].expand(places.shape)
    is_mutual = reciprocal_neighbors(encoded.features)[anchors, images]
    found = {
        "above_positive": float((near >= met.positive[:, None]).double().mean()),
        "false_by_neighbours": float(is_mutual.double().mean()),
    }
    if encoded.labels is None:
        return found
    own, other = encoded.labels[anchors], encoded.labels[images]
    is_known = (own >= 0) & (other >= 0)
    chance = same_class_share(encoded.labels)
    if chance is not None and bool(is_known.any()):
        found["false_by_label"] = float((own == other)[is_known].double().mean())
        found["same_class"] = chance
    return found
