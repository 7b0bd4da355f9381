"""What an anchor's negatives are like: how hard, how many in effect, how many of them likely false.

Pure functions of matrices of cosines, a row per anchor.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparring.measures.metric import Metric

HARDEST_SHARE = 0.01
"""Share of an anchor's negatives that counts as the hardest, and of the images that counts as its
neighbours. False negatives are looked for among the most similar, as by Huynh et al. 2022,
arXiv:2011.11765; 1 % is ours."""

NEGATIVE_METRICS: Mapping[str, Metric] = {
    "negatives/number": Metric(
        "negatives of an anchor at this look: stored ones, and other images of a batch"
    ),
    "negatives/effective_number": Metric(
        "effective number of negatives: exponential of the entropy of their softmax weights at the "
        "method's temperature, mean over anchors",
        title="Effective number of negatives",
    ),
    "negatives/stored": Metric("vectors in the bank or queue; 0: none"),
    "negatives/is_played": Metric(
        "1: an opponent moves or chooses these negatives at this look; 0: they come as they are"
    ),
    "negatives/median": Metric(
        "median cosine of an anchor with the opponent's negatives (those of bank or queue, else "
        "all), mean over anchors",
        title="Hardness of the negatives",
    ),
    "negatives/high": Metric("90 % quantile of the same cosines, mean over anchors"),
    "negatives/higher": Metric("99 % quantile of the same cosines, mean over anchors"),
    "negatives/hardest": Metric("largest of the same cosines, mean over anchors"),
    "negatives/random_median": Metric(
        "negatives/median of random play: as many keys of other images, drawn at random"
    ),
    "negatives/random_high": Metric("negatives/high of random play"),
    "negatives/random_higher": Metric("negatives/higher of random play"),
    "negatives/random_hardest": Metric("negatives/hardest of random play"),
    "negatives/positive": Metric("mean cosine of anchors with their positives, at this look"),
    "negatives/above_positive": Metric(
        "share of the hardest 1 % of negatives that are at least as near to the anchor as its "
        "positive"
    ),
    "negatives/false_by_label": Metric(
        "share of the hardest 1 % of negatives that are of the anchor's class; only where labels "
        "exist, which training never sees",
        title="Likely false among the hardest 1 %",
    ),
    "negatives/same_class": Metric(
        "share of pairs of different images that are of one class: what chance gives"
    ),
    "negatives/false_by_neighbours": Metric(
        "share of the hardest 1 % of negatives whose image and the anchor's are among each other's "
        "nearest 1 % by features; needs no labels",
        title="Likely false by features",
    ),
    "negatives/used": Metric(
        "share of the stored vectors that are among the hardest 1 % of any anchor",
        title="Share of the bank in use",
    ),
    "negatives/random_used": Metric("negatives/used of random play"),
}
"""Metrics of the monitor's looks at a method that declares its negatives; see docs/negatives.md."""


def quantiles(cosines: Float[Tensor, "anchors negatives"]) -> dict[str, float]:
    """Quantiles of each anchor's negatives by name, means over anchors; linear between ranks.

    Args:
        cosines: of each anchor with at least one negative.

    Example:
        >>> quantiles(torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.25, 0.5]]))["median"]
        0.375
    """
    at = np.quantile(cosines.numpy().astype(np.float64), (0.5, 0.9, 0.99, 1.0), axis=1)
    names = ("median", "high", "higher", "hardest")
    return {name: float(value) for name, value in zip(names, at.mean(axis=1), strict=True)}


def effective_number(
    cosines: Float[Tensor, "anchors negatives"], *, temperature: float | None
) -> float:
    """Number of negatives that count, between 1 and all, mean over anchors.

    mean_i exp( -sum_j p_ij log p_ij ),   p_i = softmax(s_i / t)

    Args:
        cosines: s, of each anchor with at least one negative.
        temperature: t > 0; None: the loss weighs all alike, so that all count.

    Source: Hill 1973, "Diversity and evenness", order 1; the weights are those of the gradient of
    InfoNCE, Wang & Liu 2021, arXiv:2012.09740, eq. 4.

    Example:
        >>> round(effective_number(torch.zeros(1, 8), temperature=0.2), 6)
        8.0
    """
    if temperature is None:
        return float(cosines.shape[1])
    weights = torch.softmax(cosines.double() / temperature, dim=1)
    return float(torch.special.entr(weights).sum(dim=1).exp().mean())


def hardest_places(
    cosines: Float[Tensor, "anchors negatives"],
) -> Int[Tensor, "anchors hardest"]:
    """Columns of each anchor's hardest 1 % of negatives, at least one."""
    count = max(1, math.ceil(HARDEST_SHARE * cosines.shape[1]))
    return cosines.topk(count, dim=1).indices


def used_share(cosines: Float[Tensor, "anchors entries"]) -> float:
    """Share of the entries that are among the hardest 1 % of at least one anchor."""
    is_used = torch.zeros(cosines.shape[1], dtype=torch.bool)
    is_used[hardest_places(cosines).flatten()] = True
    return float(is_used.double().mean())


def reciprocal_neighbors(
    features: Float[Tensor, "rows channels"],
) -> Bool[Tensor, "rows rows"]:
    """Whether two rows are among each other's nearest 1 % by cosine, at least the nearest one; a
    row is its own neighbour.

    Source: k-reciprocal nearest neighbours, Qin et al. 2011, "Hello neighbor: accurate object
    retrieval with k-reciprocal nearest neighbors", CVPR.
    """
    unit = F.normalize(features, dim=1)
    near = (unit @ unit.T).fill_diagonal_(-torch.inf)
    places = near.topk(math.ceil(HARDEST_SHARE * len(features)), dim=1).indices
    is_near = torch.zeros(near.shape, dtype=torch.bool).scatter_(1, places, True)
    return (is_near & is_near.T).fill_diagonal_(True)


def same_class_share(labels: Int[Tensor, "rows"]) -> float | None:
    """Share of pairs of different rows with equal labels; None for fewer than two known ones.

    Args:
        labels: class of each row; -1 = unknown, left out.
    """
    counts = torch.unique(labels[labels >= 0], return_counts=True)[1].double()
    total = float(counts.sum())
    if total < 2:
        return None
    return float((counts * (counts - 1)).sum()) / (total * (total - 1))
