"""Self-distillation with centring and sharpening: a student's distribution over prototypes follows
the teacher's of the other views; no negatives.

Neither function stops a gradient: the method detaches what the teacher says.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def sharpened(
    scores: Float[Tensor, "*batch prototypes"],
    centre: Float[Tensor, "prototypes"],
    *,
    temperature: float,
) -> Float[Tensor, "*batch prototypes"]:
    """The teacher's distribution over the prototypes: softmax_k((s_ik - c_k) / temperature).

    Without the centre one prototype may serve all images; without a low temperature all prototypes
    may serve alike. Each of the two keeps the other's collapse away.

    Args:
        scores: the teacher's scores of each prototype.
        centre: mean score of each prototype.
        temperature: > 0; 0.04 to 0.07 as published.

    Source: Caron et al. 2021, arXiv:2104.14294, section 3.1.
    """
    return torch.softmax((scores - centre) / temperature, dim=-1)


def self_distillation(
    student: Sequence[Float[Tensor, "batch prototypes"]],
    targets: Sequence[Float[Tensor, "batch prototypes"]],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the student's distribution in a view from the teacher's in another one.

    mean over pairs (t, s), t != s, of mean_i -sum_k P_t[i, k] log softmax_k(S_s[i] / temperature)

    Args:
        student: scores S of all views; row i of each shows image i.
        targets: the teacher's distributions P in the first views, the large ones.
        temperature: > 0; 0.1 as published.

    Source: Caron et al. 2021, arXiv:2104.14294, eq. 3, as a mean instead of a sum.
    """
    total, num_pairs = student[0].new_zeros(()), len(targets) * (len(student) - 1)
    everything = torch.stack(list(targets)).sum(dim=0)
    for view, scores in enumerate(student):
        others = everything - targets[view] if view < len(targets) else everything
        total = total - (others * torch.log_softmax(scores / temperature, dim=1)).sum(dim=1).mean()
    return total / num_pairs


def entropy(probabilities: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """Entropy of each row in nats, from 0 to log(classes)."""
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(dim=-1)


def information(targets: Float[Tensor, "rows classes"]) -> Float[Tensor, ""]:
    """What a row's distribution says about the row, in nats: entropy of the mean distribution minus
    the mean entropy.

    From 0, where all rows have the same distribution, to the smaller of log(rows) and log(classes).
    """
    return entropy(targets.mean(dim=0)) - entropy(targets).mean()
