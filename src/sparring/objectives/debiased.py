"""Contrastive objectives that correct the negatives: for false ones, and towards hard ones.

They take similarities, so that a method says which pairs are positive and which negative;
`pairs_of_views` gives those of two views of a batch. `log_true_negatives` corrects the denominator
of every other contrastive objective.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparring.distributed import JointRows
from sparring.objectives.similarity import cosine

HIGHEST = 60.0
"""Largest exponent computed: exp of it is finite in float32, and the lower bound holds long
before."""


class Pairs(NamedTuple):
    """Cosines of each anchor with its positive and with its negatives."""

    positive: Float[Tensor, "anchors"]
    negative: Float[Tensor, "anchors all"]


def pairs_of_views(views: Float[Tensor, "2 batch dim"] | JointRows) -> Pairs:
    """Cosines of each of the 2B embeddings with its other view and with the 2N - 2 others.

    B images of this process ask, the N images of all processes answer.

    Args:
        views: embeddings of both views of each image; of one process, or joint.
    """
    joint_views = views if isinstance(views, JointRows) else JointRows(views, views)
    anchors, everyone = joint_views.own, joint_views.everyone
    (_, batch, _), joint = anchors.shape, everyone.shape[1]
    cosines = cosine(anchors.flatten(0, 1), everyone.flatten(0, 1))
    image = joint_views.positions().repeat(2)
    other_view = joint * (1 - torch.arange(2, device=cosines.device).repeat_interleave(batch))
    positive = cosines.gather(1, (image + other_view)[:, None])[:, 0]
    # Each row leaves out two columns, `image` and `joint + image`, by counting past them.
    columns = torch.arange(2 * joint - 2, device=cosines.device)[None, :]
    is_past_first, is_past_second = columns >= image[:, None], columns >= joint - 1 + image[:, None]
    return Pairs(positive, cosines.gather(1, columns + is_past_first + is_past_second))


def importance_weights(
    negative: Float[Tensor, "anchors all"], *, beta: float, temperature: float
) -> Float[Tensor, "anchors all"]:
    """Weight of each negative among all of its anchor; the weights of an anchor sum to one.

    w_ik = exp(beta s_ik / t) / sum_l exp(beta s_il / t)

    Args:
        negative: cosines of each anchor with all its negatives.
        beta: hardness; 0 weighs all alike.
        temperature: t > 0.

    Source: Robinson et al. 2021, arXiv:2010.04592, eq. 4 and 5, in the released code's form, which
    divides the exponent by t.
    """
    return torch.softmax(beta * (negative / temperature), dim=1)


def estimated_negatives(
    positive: Float[Tensor, "anchors"],
    negative: Float[Tensor, "anchors all"],
    *,
    beta: float,
    tau_plus: float,
    temperature: float,
) -> tuple[Float[Tensor, "anchors"], Float[Tensor, "anchors"]]:
    """Estimate of what the true negatives add to the denominator, and its lower bound.

    N (sum_k w_ik n_ik - tau_plus p_i) / ((1 - tau_plus) p_i)   and   N exp(-1 / t) / p_i,
    p_i = exp(s_i+ / t), n_ik = exp(s_ik / t), N negatives of weights w_ik

    Both are divided by p_i: differences of logits overflow much later than exp(s / t) itself. The
    larger of the two is g(x) of the paper, N times.

    Args:
        positive: cosine of each anchor with its positive.
        negative: cosines of each anchor with all its negatives.
        beta: hardness of the weights, see `importance_weights`; 0 weighs all alike.
        tau_plus: assumed share of false negatives in [0, 1); 0 corrects nothing.
        temperature: t > 0.

    Source: Chuang et al. 2020, arXiv:2007.00224, eq. 7 and 8; Robinson et al. 2021,
    arXiv:2010.04592, eq. 4 and 5, and released code.
    """
    num_negatives = negative.shape[1]
    own, others = positive / temperature, negative / temperature
    log_reweighted = (
        torch.logsumexp((1 + beta) * others, dim=1)
        - torch.logsumexp(beta * others, dim=1)
        + math.log(num_negatives)
    )
    estimate = (torch.exp(log_reweighted - own) - tau_plus * num_negatives) / (1 - tau_plus)
    return estimate, num_negatives * torch.exp(-1 / temperature - own)


def hcl(
    positive: Float[Tensor, "anchors"],
    negative: Float[Tensor, "anchors all"],
    *,
    beta: float,
    tau_plus: float,
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE whose negatives weigh more the harder they are, corrected for false ones.

    mean_i -log( p_i / (p_i + G_i) ),   p_i = exp(s_i+ / t),   n_ik = exp(s_ik / t),
    G_i = N max( (sum_k w_ik n_ik - tau_plus p_i) / (1 - tau_plus), exp(-1 / t) ),
    w_ik = n_ik^beta / sum_l n_il^beta

    beta 0 is the debiased loss of Chuang et al.; beta 0 and tau_plus 0 is InfoNCE.

    Args:
        positive: cosine of each anchor with its positive.
        negative: cosines of each anchor with all N negatives.
        beta: hardness; 0 weighs all alike.
        tau_plus: assumed share of false negatives in [0, 1); 0 corrects nothing.
        temperature: t > 0.

    Source: Robinson et al. 2021, arXiv:2010.04592, section 4 and released code.
    """
    estimate, bound = estimated_negatives(
        positive, negative, beta=beta, tau_plus=tau_plus, temperature=temperature
    )
    return torch.log1p(torch.maximum(estimate, bound)).mean()


def corrects(tau_plus: float | Tensor) -> bool:
    """Whether an assumed share of false negatives changes a loss; a tensor always counts as one
    that does, since its value is not read.

    Example:
        >>> corrects(0.0), corrects(0.1)
        (False, True)
    """
    return isinstance(tau_plus, Tensor) or tau_plus > 0


def log_true_negatives(
    log_negatives: Float[Tensor, "*#anchors"],
    positive: Float[Tensor, "*#anchors"],
    *,
    num_negatives: int | Int[Tensor, "*#anchors"],
    tau_plus: float | Float[Tensor, ""],
    temperature: float,
) -> Float[Tensor, "*anchors"]:
    """Logarithm of the estimate of what the true negatives add to the denominator.

    log max( (sum_k exp(s_k / t) - tau_plus N exp(s+ / t)) / (1 - tau_plus), N exp(-1 / t) )

    With G the maximum, the loss is -log( exp(s+ / t) / (exp(s+ / t) + G) ). Where the bound, the
    second term, holds, G has no gradient.

    Args:
        log_negatives: log sum_k exp(s_k / t) over the N negatives.
        positive: s+ / t.
        num_negatives: N.
        tau_plus: assumed share of false negatives in [0, 1); 0 corrects nothing.
        temperature: t > 0.

    Source: Chuang et al. 2020, arXiv:2007.00224, eq. 7 and 8.
    """
    if isinstance(num_negatives, Tensor):
        num_negatives = num_negatives.to(positive)
    false = tau_plus * num_negatives * (positive - log_negatives).clamp(max=HIGHEST).exp()
    is_above = false < 1
    log_rest = torch.log1p(-torch.where(is_above, false, torch.zeros_like(false)))
    log_kept = torch.log1p(-tau_plus) if isinstance(tau_plus, Tensor) else math.log1p(-tau_plus)
    estimate = torch.where(is_above, log_negatives + log_rest - log_kept, -torch.inf)
    if isinstance(num_negatives, Tensor):
        return torch.maximum(estimate, num_negatives.log() - 1 / temperature)
    return estimate.clamp(min=math.log(num_negatives) - 1 / temperature)


def cross_entropy(
    logits: Float[Tensor, "anchors columns"],
    positive: Int[Tensor, "anchors"],
    *,
    tau_plus: float | Float[Tensor, ""],
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each anchor's positive among its negatives, corrected for false
    ones.

    mean_i -log( exp(s_i+ / t) / (exp(s_i+ / t) + G_i) ),   G of `log_true_negatives`

    Args:
        logits: s / t of each anchor with its positive and with its negatives.
        positive: column of each anchor's positive; all others are negatives.
        tau_plus: assumed share of false negatives in [0, 1); 0.0: the plain cross-entropy.
        temperature: t > 0, by which the similarities have been divided.

    Source: Chuang et al. 2020, arXiv:2007.00224, eq. 7 and 8.
    """
    if not corrects(tau_plus):
        return F.cross_entropy(logits, positive)
    column = positive[:, None]
    own = logits.gather(1, column)[:, 0]
    others = logits.scatter(1, column, -torch.inf)
    true = log_true_negatives(
        torch.logsumexp(others, dim=1),
        own,
        num_negatives=logits.shape[1] - 1,
        tau_plus=tau_plus,
        temperature=temperature,
    )
    return (torch.logaddexp(own, true) - own).mean()
