"""The games with a learned bank in closed form: losses and gradients of both players from one
softmax over the bank.

Autograd keeps and re-reads (batch, bank) matrices several times. The closed form needs three matrix
products and at most one matrix of weights, see `bank_softmax`. The slow twin,
`objectives.bank_games`, explains every argument and value; tests compare both in float64.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparring.acceleration import bank_softmax
from sparring.acceleration.given_gradient import with_gradient
from sparring.distributed import JointRows


class _Terms(NamedTuple):
    """One player's loss of each query, and its derivatives by the logits s / t.

    The loss is total - s+ / t. A negative's derivative is exp(s / t - scale), the positive's is
    `slope`.

    Attributes:
        total: logarithm of the loss's denominator.
        scale: logarithm of the divisor in a negative's derivative; inf: it has none.
        slope: derivative by the positive's logit; None: exp(s+ / t - scale) - 1.
    """

    total: Tensor
    scale: Tensor
    slope: Tensor | None = None


def fused_adversarial_game(
    query: Float[Tensor, "batch dim"],
    keys: JointRows,
    bank: Float[Tensor, "bank dim"],
    *,
    temperatures: tuple[float, float],
    in_batch: bool,
    bank_sees_keys: bool,
    tau_plus: float | Tensor = 0.0,
) -> dict[str, Tensor]:
    """The values of `objectives.bank_games.BankGame` by name, see `adversarial_bank_game` there.

    dL/dw_k = (a_k - b_k n_k) / (t |w_k|),
    a_k = mean_i p_ik q_i,  b_k = mean_i p_ik q_i.n_k;  the bank steps on -dL/dw

    With `tau_plus`, p_ik is exp(q_i.n_k / t) / ((1 - tau_plus) (exp(s_i+ / t) + G_i)), or 0 where
    the bound of G_i holds.

    Args:
        query: raw online embeddings of this process.
        keys: raw teacher embeddings.
        bank: raw stored vectors w; n_k = w_k / |w_k|.
        temperatures: the encoder's and the bank's.
        in_batch: whether keys of other images are negatives too.
        bank_sees_keys: whether keys are in the denominator of the bank's softmax; so with
            `tau_plus`.
        tau_plus: assumed share of false negatives.
    """
    temperature, bank_temperature = temperatures
    unit_query, k = _unit_rows(query), _unit_rows(keys.everyone.detach())
    q, w = unit_query.detach(), bank.detach()
    batch, mine = len(q), slice(keys.first, keys.first + len(q))
    own = torch.arange(batch, device=q.device)
    if in_batch:
        key_cosines, positive = q @ k.T, keys.positions()
    else:
        key_cosines, positive = (q * k[mine]).sum(1, keepdim=True), torch.zeros_like(own)
    reading = bank_softmax.read(q, w, temperatures=temperatures)
    of_bank = reading.log_sums
    of_keys = [torch.logsumexp(key_cosines / t, dim=1) for t in temperatures]
    totals = [
        torch.logaddexp(bank_part, key_part)
        for bank_part, key_part in zip(of_bank, of_keys, strict=True)
    ]
    if not bank_sees_keys:
        totals[1] = of_bank[1]
    own_cosine = key_cosines[own, positive]
    terms = [_Terms(total, total) for total in totals]
    if _corrects(tau_plus):
        terms = _corrected_keys(
            reading, key_cosines, positive, tau_plus=tau_plus, temperatures=temperatures
        )
    losses = [
        (term.total - own_cosine / t).mean() for term, t in zip(terms, temperatures, strict=True)
    ]
    mass, bank_mass = (
        (bank_part - term.scale).exp() for bank_part, term in zip(of_bank, terms, strict=True)
    )
    query_gradient = reading.picked * (mass / (temperature * batch))[:, None]
    # The bank ascends: its loss is -L, so its gradient is -dL/dw.
    bank_gradient = bank_softmax.tangents(reading, q, w, bank_mass / (-bank_temperature * batch))
    key_probability = (key_cosines / temperature - terms[0].scale[:, None]).exp()
    if terms[0].slope is None:
        key_probability[own, positive] -= 1.0
    else:
        key_probability[own, positive] = terms[0].slope
        mass, bank_mass = ((of_bank[player] - totals[player]).exp() for player in (0, 1))
    toward_keys = key_probability @ k if in_batch else key_probability * k[mine]
    query_gradient += toward_keys / (temperature * batch)
    return {
        "loss": with_gradient(losses[0], unit_query, query_gradient),
        "bank_loss": with_gradient(-losses[1], bank, bank_gradient),
        "hardest_cosine": reading.hardest.mean(),
        "mass": mass.mean(),
        "bank_mass": bank_mass.mean(),
        "key_mass": (own_cosine / temperature - totals[0]).exp().mean(),
    }


def fused_shared_game(
    query: Float[Tensor, "batch dim"],
    positives: Int[Tensor, "choices batch"],
    bank: Float[Tensor, "bank dim"],
    *,
    temperatures: tuple[float, float],
    cooperative: bool,
    adversarial: bool,
    tau_plus: float | Tensor = 0.0,
) -> dict[str, Tensor]:
    """The values of `objectives.bank_games.SharedBankGame` by name, see `shared_bank_game` there.

    G_k  = -1 / (t |w_k|) * mean_i [ c_ik (q_i - s_ik n_k) ],
    c_ik = 1 - p_ik if k is i's positive, else p_ik;  the bank steps on -G

    p is the softmax at the bank's temperature. With several choices per query, c_ik is the mean
    over them. With `tau_plus`, c_ik has the derivatives of `_corrected`.

    Args:
        query: raw online embeddings of this process.
        positives: indices of the queries' positives in the bank.
        bank: raw stored vectors w; n_k = w_k / |w_k|.
        temperatures: the encoder's and the bank's.
        cooperative: whether positives move; otherwise their coefficient is 0.
        adversarial: whether negatives move; otherwise their coefficient is 0.
        tau_plus: assumed share of false negatives.
    """
    temperature, bank_temperature = temperatures
    unit_query = _unit_rows(query)
    q, w = unit_query.detach(), bank.detach()
    reading = bank_softmax.read(q, w, temperatures=temperatures)
    totals, norms = reading.log_sums, reading.norms[positives]
    chosen = w[positives] / norms
    own = torch.linalg.vecdot(chosen, q)
    losses = [
        (total - own.mean(dim=0) / t).mean() for total, t in zip(totals, temperatures, strict=True)
    ]
    query_gradient = (reading.picked - chosen.mean(dim=0)) / (temperature * len(q))
    probability = (own / bank_temperature - totals[1]).exp()
    pulled, share = 1 - probability, torch.full_like(totals[1], -1 / (bank_temperature * len(q)))
    if _corrects(tau_plus):
        first, second = (
            _corrected_choices(total, own / t, len(w), tau_plus=tau_plus, temperature=t)
            for total, t in zip(totals, temperatures, strict=True)
        )
        losses = [
            (term.total - own / t).mean()
            for term, t in zip((first, second), temperatures, strict=True)
        ]
        assert first.slope is not None
        assert second.slope is not None
        picked = reading.picked * (totals[0] - first.scale).exp().mean(dim=0)[:, None]
        weights = first.slope - (own / temperature - first.scale).exp()
        query_gradient = (picked + (weights[..., None] * chosen).mean(dim=0)) / (
            temperature * len(q)
        )
        pulled, probability = -second.slope, (own / bank_temperature - second.scale).exp()
        share = share * (totals[1] - second.scale).exp().mean(dim=0)
    role = pulled if cooperative else torch.zeros_like(probability)
    if adversarial:
        role = role - probability  # `tangents` has treated the positives as negatives
        bank_gradient = bank_softmax.tangents(reading, q, w, share)
    else:
        bank_gradient = torch.zeros_like(w)
    pull = (
        (role / (-bank_temperature * own.numel()))[..., None]
        * (q - own[..., None] * chosen)
        / norms
    )
    bank_gradient.index_add_(0, positives.flatten(), pull.flatten(0, 1))
    return {
        "loss": with_gradient(losses[0], unit_query, query_gradient),
        "bank_loss": with_gradient(losses[1], bank, bank_gradient),
        "hardest_cosine": reading.hardest.mean(),
        "positive_cosine": own.mean(),
        "positive_mass": (own / temperature - totals[0]).exp().mean(),
    }


def _corrects(tau_plus: float | Tensor) -> bool:
    """Whether negatives are corrected; like `objectives.debiased.corrects`."""
    return isinstance(tau_plus, Tensor) or tau_plus > 0


def _corrected(
    log_negatives: Tensor,
    positive: Tensor,
    *,
    num_negatives: int,
    tau_plus: float | Tensor,
    temperature: float,
) -> _Terms:
    """Terms of the loss -log(p / (p + G)) whose negatives are corrected for false ones.

    G = max( (S - tau_plus N p) / (1 - tau_plus), N exp(-1 / t) ),   p = exp(s+ / t), S the sum of
    the negatives; G falls by tau_plus N / (1 - tau_plus) per p unless the bound holds

    Args:
        log_negatives: log S.
        positive: log p.
        num_negatives: N.
        tau_plus: assumed share of false negatives.
        temperature: t.

    Source: Chuang et al. 2020, arXiv:2007.00224, eq. 7 and 8; `objectives.debiased` for autograd.
    """
    bound = math.log(num_negatives) - 1 / temperature
    true = 1 - tau_plus
    log_true = true.log() if isinstance(true, Tensor) else math.log(true)
    false = tau_plus * num_negatives * (positive - log_negatives).clamp(max=60.0).exp()
    estimate = log_negatives + torch.log1p(-false.clamp(max=1.0)) - log_true
    is_free = estimate > bound
    total = torch.logaddexp(positive, estimate.clamp(min=bound))
    fall = is_free.to(total) * (tau_plus * num_negatives / true)
    return _Terms(
        total=total,
        scale=torch.where(is_free, total + log_true, torch.inf),
        slope=(positive - total).exp() * (1 - fall) - 1,
    )


def _corrected_keys(
    reading: bank_softmax.Reading,
    key_cosines: Tensor,
    positive: Tensor,
    *,
    tau_plus: float | Tensor,
    temperatures: tuple[float, float],
) -> list[_Terms]:
    """`_corrected` at both temperatures, where the bank and all keys but the own are negatives.

    Args:
        reading: pass over the bank.
        key_cosines: of each query with the keys.
        positive: column of the own key.
        tau_plus: assumed share of false negatives.
        temperatures: the encoder's and the bank's.
    """
    column = positive[:, None]
    own = key_cosines.gather(1, column)[:, 0]
    others = key_cosines.scatter(1, column, -torch.inf)
    return [
        _corrected(
            torch.logaddexp(of_bank, torch.logsumexp(others / t, dim=1)),
            own / t,
            num_negatives=len(reading.norms) + others.shape[1] - 1,
            tau_plus=tau_plus,
            temperature=t,
        )
        for of_bank, t in zip(reading.log_sums, temperatures, strict=True)
    ]


def _corrected_choices(
    total: Tensor,
    positive: Tensor,
    num_entries: int,
    *,
    tau_plus: float | Tensor,
    temperature: float,
) -> _Terms:
    """`_corrected` where the positive is one of the entries that a sum includes.

    Args:
        total: log of the sum over all entries.
        positive: log p of each choice of the positive, a row per choice.
        num_entries: number of entries.
        tau_plus: assumed share of false negatives.
        temperature: t.
    """
    return _corrected(
        total + torch.log1p(-(positive - total).exp().clamp(max=1.0)),
        positive,
        num_negatives=num_entries - 1,
        tau_plus=tau_plus,
        temperature=temperature,
    )


def _unit_rows(rows: Tensor) -> Tensor:
    """Rows divided by their Euclidean norms, like `objectives.similarity.unit_rows`."""
    return F.normalize(rows, dim=1, eps=bank_softmax.TINY)
