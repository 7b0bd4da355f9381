"""Contrastive objectives: cross-entropy of finding the positive among negatives.

All take raw embeddings and normalise inside. With several processes the caller passes `JointRows`:
its own rows and those of all processes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparring.distributed import JointRows
from sparring.objectives.debiased import corrects, cross_entropy, log_true_negatives
from sparring.objectives.similarity import cosine, unit_rows


def info_nce(
    query: Float[Tensor, "batch dim"],
    key: Float[Tensor, "batch dim"],
    negatives: Float[Tensor, "bank dim"],
    *,
    temperature: float,
    tau_plus: float | Float[Tensor, ""] = 0.0,
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each query's key among shared negatives.

    mean_i -log( exp(q_i.k_i / t) / (exp(q_i.k_i / t) + sum_j exp(q_i.n_j / t)) ), unit rows q, k, n

    Args:
        query: online embeddings.
        key: row i is the positive of query i.
        negatives: negatives shared by all queries.
        temperature: t > 0; 0.07 to 0.2 in the literature.
        tau_plus: assumed share of false negatives in [0, 1), see `debiased.log_true_negatives`.

    Source: van den Oord et al. 2018, arXiv:1807.03748, eq. 4; He et al. 2020, arXiv:1911.05722, eq.
    1.
    """
    positive = (unit_rows(query) * unit_rows(key)).sum(dim=1, keepdim=True)
    logits = torch.cat([positive, cosine(query, negatives)], dim=1) / temperature
    first = torch.zeros(len(query), dtype=torch.long, device=query.device)
    return cross_entropy(logits, first, tau_plus=tau_plus, temperature=temperature)


def in_batch_info_nce(
    query: Float[Tensor, "batch dim"],
    keys: Float[Tensor, "batch dim"] | JointRows,
    negatives: Float[Tensor, "bank dim"] | None = None,
    *,
    temperature: float,
    tau_plus: float | Float[Tensor, ""] = 0.0,
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each query's key among all keys of the batch and shared negatives.

    mean_i -log( exp(q_i.k_g(i) / t) / (sum_j exp(q_i.k_j / t) + sum_j exp(q_i.n_j / t)) ),
    unit rows q, k, n; g(i) is the own key among those of all processes

    Args:
        query: online embeddings of this process.
        keys: row i is the positive of query i, the other rows are negatives.
        negatives: further negatives shared by all queries; None: the keys are the only ones.
        temperature: t > 0.
        tau_plus: assumed share of false negatives in [0, 1), see `debiased.log_true_negatives`.

    Source: AdCo's released objective (Hu et al. 2021, arXiv:2011.08435).
    """
    keys = keys if isinstance(keys, JointRows) else JointRows(keys, keys)
    cosines = [cosine(query, keys.everyone)]
    if negatives is not None:
        cosines.append(cosine(query, negatives))
    logits = torch.cat(cosines, dim=1) / temperature
    return cross_entropy(logits, keys.positions(), tau_plus=tau_plus, temperature=temperature)


def nt_xent(
    views: Float[Tensor, "views batch dim"] | JointRows,
    *,
    temperature: float,
    tau_plus: float | Float[Tensor, ""] = 0.0,
) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross-entropy over any number of views of each image.

    mean over anchors a of
        -(1/|P(a)|) sum_{p in P(a)} log( exp(z_a.z_p / t) / sum_{c != a} exp(z_a.z_c / t) ),
    unit rows z

    P(a) are the other views of a's image; c runs over all other views of all images. With two views
    this is SimCLR's objective. With `tau_plus`, the sum over the views of other images is corrected
    for false negatives, see `debiased.log_true_negatives`; the other views of a's own image are
    none.

    Args:
        views: embeddings, view by view; those of one process, or joint rows.
        temperature: t > 0; 0.1 to 0.5 in the literature.
        tau_plus: assumed share of false negatives in [0, 1).

    Source: Chen et al. 2020, arXiv:2002.05709, eq. 1; several positives as in Khosla et al. 2020,
    arXiv:2004.11362, eq. 2.
    """
    joint_views = views if isinstance(views, JointRows) else JointRows(views, views)
    anchors, everyone = joint_views.own, joint_views.everyone
    (num_views, batch, _), joint = anchors.shape, everyone.shape[1]
    logits = cosine(anchors.flatten(0, 1), everyone.flatten(0, 1)) / temperature
    # The anchor's own column, and those of its image's other views.
    rows = torch.arange(num_views * batch, device=anchors.device)
    image = joint_views.first + rows % batch
    own = (rows // batch) * joint + image
    others = torch.arange(num_views - 1, device=anchors.device)[None, :].expand(len(rows), -1)
    others = others + (others >= (rows // batch)[:, None])  # counts past the anchor's own view
    positives = others * joint + image[:, None]
    others_logits = logits.scatter(1, own[:, None], -torch.inf)
    if not corrects(tau_plus):
        return -F.log_softmax(others_logits, dim=1).gather(1, positives).mean()
    positive = logits.gather(1, positives)
    true = log_true_negatives(
        torch.logsumexp(others_logits.scatter(1, positives, -torch.inf), dim=1, keepdim=True),
        positive,
        num_negatives=num_views * (joint - 1),
        tau_plus=tau_plus,
        temperature=temperature,
    )
    all_positives = torch.logsumexp(positive, dim=1, keepdim=True)
    return (torch.logaddexp(all_positives, true) - positive).mean()


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Embeddings of views of several sets of images, of one process or of all.

    Attributes:
        embeddings: one row per view of an image.
        images: image number of each row; views of one image share it.
    """

    embeddings: Float[Tensor, "rows dim"]
    images: Int[Tensor, "rows"]


def multi_positive_nt_xent(
    anchors: Anchors,
    everyone: Anchors,
    own: Int[Tensor, "rows"],
    weights: Float[Tensor, "rows"],
    *,
    temperature: float,
    tau_plus: float | Float[Tensor, ""] = 0.0,
) -> Float[Tensor, ""]:
    """Weighted NT-Xent for images with different numbers of views; see `nt_xent`.

    sum_a w_a l(a) / sum_a w_a,
    l(a) = -(1/|P(a)|) sum_{p in P(a)} log( exp(z_a.z_p / t) / sum_{c != a} exp(z_a.z_c / t) )

    P(a) are the other views of a's image.

    Args:
        anchors: views of this process; every image has at least two.
        everyone: views of all processes.
        own: row of `everyone` that is each anchor itself.
        weights: weight of each anchor, >= 0.
        temperature: t > 0.
        tau_plus: assumed share of false negatives in [0, 1), as in `nt_xent`.

    Source: Khosla et al. 2020, arXiv:2004.11362, eq. 2 (log outside the sum).
    """
    logits = cosine(anchors.embeddings, everyone.embeddings) / temperature
    logits = logits.scatter(1, own[:, None], -torch.inf)
    is_own_image = anchors.images[:, None] == everyone.images[None, :]
    is_positive = is_own_image.scatter(1, own[:, None], False)
    if corrects(tau_plus):
        true = log_true_negatives(
            torch.logsumexp(logits.masked_fill(is_own_image, -torch.inf), dim=1, keepdim=True),
            logits.masked_fill(~is_positive, 0.0),
            num_negatives=(~is_own_image).sum(dim=1, keepdim=True),
            tau_plus=tau_plus,
            temperature=temperature,
        )
        positives = logits.masked_fill(~is_positive, -torch.inf)
        log_probability = logits - torch.logaddexp(
            torch.logsumexp(positives, dim=1, keepdim=True), true
        )
    else:
        log_probability = F.log_softmax(logits, dim=1)
    losses = -log_probability.masked_fill(~is_positive, 0.0).sum(dim=1) / is_positive.sum(dim=1)
    return (weights * losses).sum() / weights.sum()


MOST = 1 - 1e-6
"""Largest probability of a wrong image for which log(1 - P) is finite in float32."""


def invariant_spreading(
    views: Float[Tensor, "2 batch dim"] | JointRows, *, temperature: float
) -> Float[Tensor, ""]:
    """Invariant and spreading loss: classify a view as its own image, and as no other image.

    -(1/2B) sum_r [ log P(r, pos(r)) + sum_{c not in {r, pos(r)}} log(1 - P(r, c)) ],
    P(r, c) = exp(z_r.z_c / t) / sum_{c' != r} exp(z_r.z_c' / t),
    unit rows z, no gradient through z_c

    Args:
        views: embeddings of both views of each image; those of one process, or joint rows.
        temperature: t > 0; 0.1 as published.

    Source: Ye et al. 2019, arXiv:1904.03436; as in CLAE's released code, the second view replaces
    the image itself.
    """
    joint_views = views if isinstance(views, JointRows) else JointRows(views, views)
    anchors, everyone = joint_views.own, joint_views.everyone.detach()
    (_, batch, _), joint = anchors.shape, everyone.shape[1]
    logits = cosine(anchors.flatten(0, 1), everyone.flatten(0, 1)) / temperature
    rows = torch.arange(2 * batch, device=anchors.device)
    view, image = rows // batch, joint_views.first + rows % batch
    own, positive = (view * joint + image)[:, None], ((1 - view) * joint + image)[:, None]
    log_probability = F.log_softmax(logits.scatter(1, own, -torch.inf), dim=1)
    spread = torch.log1p(-log_probability.exp().clamp(max=MOST)).scatter(1, positive, 0.0)
    return -(log_probability.gather(1, positive).mean() + spread.sum(dim=1).mean())
