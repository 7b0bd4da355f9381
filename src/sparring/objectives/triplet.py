"""Triplet-like objectives: one positive pair and a few mined negative pairs per query.

All take similarities instead of embeddings: a miner selects the pairs, and these objectives weigh
them. They are the forms of our reconstruction of ACSSL (Zhu et al. 2022, arXiv:2202.13072; only its
abstract was available, so none is verified as the paper's). Each form names the published work that
it is taken from.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from sparring.config import Settings
from sparring.objectives.debiased import cross_entropy, hcl

Form: TypeAlias = Literal["linear", "hinge", "soft", "topk_nce", "byol_plus", "hcl"]
Objective: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Function from similarities of the positive pairs and of the negative pairs to a scalar loss."""


class TripletSettings(Settings):
    """Constants of the triplet-like forms; each form reads its own."""

    gamma: float = Field(default=2.0, gt=0)
    """Weight of the positive relative to the negatives, for `linear`; the value of Wang et al.
    2021. With 1, the embeddings of a short toy run contracted."""
    margin: float | None = Field(default=None, ge=-2, le=2)
    """Margin by which the positive's cosine should exceed a negative's, for `hinge`, `soft` and
    `byol_plus`; None: 0.2 for hinge, 0 for the other two (ours)."""
    temperature: float | None = Field(default=None, gt=0)
    """Temperature, the divisor of similarities, for `soft`, `topk_nce`, `byol_plus` and `hcl`;
    None: 0.5 for hcl (Robinson et al. 2021), 0.2 for the others."""
    weight: float = Field(default=0.5, ge=0)
    """Weight lambda of the negatives' term, for `byol_plus`; 0 is BYOL (ours)."""
    beta: float = Field(default=1.0, ge=0)
    """Exponent by which harder negatives gain weight, for `hcl`; 1 was the best of 0.5, 1, 2 and 6
    in Robinson et al. 2021."""
    tau_plus: float = Field(default=0.1, ge=0, lt=1)
    """Assumed share of false negatives, for `hcl`; the value of Robinson et al. 2021."""
    topk_tau_plus: float = Field(default=0.0, ge=0, lt=1)
    """Assumed share of false ones among the mined negatives, for `topk_nce`; 0: none. It is larger
    among the hardest than among all."""


def triplet_objective(form: Form, settings: TripletSettings) -> Objective:
    """Objective of the given form, with its constants filled in."""
    s = settings
    margin = s.margin if s.margin is not None else {"hinge": 0.2}.get(form, 0.0)
    temperature = s.temperature if s.temperature is not None else {"hcl": 0.5}.get(form, 0.2)
    objectives: dict[Form, Objective] = {
        "linear": partial(linear, gamma=s.gamma),
        "hinge": partial(hinge, margin=margin),
        "soft": partial(soft, margin=margin, temperature=temperature),
        "topk_nce": partial(topk_nce, temperature=temperature, tau_plus=s.topk_tau_plus),
        "byol_plus": partial(byol_plus, weight=s.weight, margin=margin, temperature=temperature),
        "hcl": partial(hcl, beta=s.beta, tau_plus=s.tau_plus, temperature=temperature),
    }
    return objectives[form]


def weights_temperature(form: Form, settings: TripletSettings) -> float | None:
    """Temperature of the softmax by which a form weighs its negatives; None: all alike.

    The weights of `soft` and `byol_plus` are sigmoids, which are such a softmax while the positive
    is well ahead; those of `hinge` are all alike or none.
    """
    if form in ("linear", "hinge"):
        return None
    if form == "hcl":
        return (0.5 if settings.temperature is None else settings.temperature) / (1 + settings.beta)
    return 0.2 if settings.temperature is None else settings.temperature


def linear(
    positive: Float[Tensor, "batch"], negative: Float[Tensor, "batch chosen"], *, gamma: float
) -> Float[Tensor, ""]:
    """Mean similarity of the negatives minus gamma times that of the positive, doubled.

    mean_i ( -2 gamma s_i+ + 2 mean_k s_ik )

    This is the truncated triplet of distances -2 s without the constant of its margin (100), which
    is always active.

    Args:
        positive: cosine of each query with its key.
        negative: cosines of each query with its chosen candidates.
        gamma: weight of the positive; above 1 the pull stays stronger than the push.

    Source: Wang et al. 2021, arXiv:2104.08760, released code.
    """
    return 2 * negative.mean() - 2 * gamma * positive.mean()


def hinge(
    positive: Float[Tensor, "batch"], negative: Float[Tensor, "batch chosen"], *, margin: float
) -> Float[Tensor, ""]:
    """Mean shortfall of the positive's lead over each negative: the classical triplet on cosines.

    mean_ik max(0, margin - s_i+ + s_ik)

    Args:
        positive: cosine of each query with its key.
        negative: cosines of each query with its chosen candidates.
        margin: wanted difference of the positive's and a negative's cosine.
    """
    return F.relu(margin - positive[:, None] + negative).mean()


def soft(
    positive: Float[Tensor, "batch"],
    negative: Float[Tensor, "batch chosen"],
    *,
    margin: float,
    temperature: float,
) -> Float[Tensor, ""]:
    """Smooth form of `hinge`; with one negative and no margin it is t times InfoNCE.

    mean_ik t log(1 + exp((margin - s_i+ + s_ik) / t))

    Args:
        positive: cosine of each query with its key.
        negative: cosines of each query with its chosen candidates.
        margin: wanted difference of the positive's and a negative's cosine.
        temperature: t > 0, width of the corner.
    """
    return temperature * F.softplus((margin - positive[:, None] + negative) / temperature).mean()


def topk_nce(
    positive: Float[Tensor, "batch"],
    negative: Float[Tensor, "batch chosen"],
    *,
    temperature: float,
    tau_plus: float | Float[Tensor, ""] = 0.0,
) -> Float[Tensor, ""]:
    """Cross-entropy of finding the positive among the chosen negatives; with all negatives it is
    InfoNCE.

    mean_i -log( exp(s_i+ / t) / (exp(s_i+ / t) + sum_k exp(s_ik / t)) )

    Args:
        positive: cosine of each query with its key.
        negative: cosines of each query with its chosen candidates.
        temperature: t > 0; 0.07 to 0.2 in the literature.
        tau_plus: assumed share of false ones among the chosen negatives in [0, 1), see
            `debiased.log_true_negatives`.

    Source: van den Oord et al. 2018, arXiv:1807.03748, eq. 4; with all negatives, Chen et al. 2021
    (MoCo v3), arXiv:2104.02057, eq. 1.
    """
    logits = torch.cat([positive[:, None], negative], dim=1) / temperature
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return cross_entropy(logits, first, tau_plus=tau_plus, temperature=temperature)


def byol_plus(
    positive: Float[Tensor, "batch"],
    negative: Float[Tensor, "batch chosen"],
    *,
    weight: float,
    margin: float,
    temperature: float,
) -> Float[Tensor, ""]:
    """BYOL's squared distance of unit rows plus a weighted `soft`.

    mean_i (2 - 2 s_i+) + weight * soft

    Args:
        positive: cosine of each query with its key.
        negative: cosines of each query with its chosen candidates.
        weight: weight of the negatives' term; 0 is BYOL.
        margin: margin of `soft`.
        temperature: temperature of `soft`.

    Source: Grill et al. 2020, arXiv:2006.07733, eq. 2, for the first part.
    """
    return (2 - 2 * positive).mean() + weight * soft(
        positive, negative, margin=margin, temperature=temperature
    )
