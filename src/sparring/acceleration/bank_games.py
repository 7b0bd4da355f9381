"""The games with a learned bank in closed form: losses and gradients of both players from one
softmax over the bank.

Autograd keeps and re-reads (batch, bank) matrices several times. The closed form needs three matrix
products and at most one matrix of weights, see `bank_softmax`. The slow twin,
`objectives.bank_games`, explains every argument and value; tests compare both in float64.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparring.acceleration import bank_softmax
from sparring.acceleration.given_gradient import with_gradient
from sparring.distributed import JointRows


def fused_adversarial_game(
    query: Float[Tensor, "batch dim"],
    keys: JointRows,
    bank: Float[Tensor, "bank dim"],
    *,
    temperatures: tuple[float, float],
    in_batch: bool,
    bank_sees_keys: bool,
) -> dict[str, Tensor]:
    """The values of `objectives.bank_games.BankGame` by name, see `adversarial_bank_game` there.

    dL/dw_k = (a_k - b_k n_k) / (t |w_k|),
    a_k = mean_i p_ik q_i,  b_k = mean_i p_ik q_i.n_k;  the bank steps on -dL/dw

    Args:
        query: raw online embeddings of this process.
        keys: raw teacher embeddings.
        bank: raw stored vectors w; n_k = w_k / |w_k|.
        temperatures: the encoder's and the bank's.
        in_batch: whether keys of other images are negatives too.
        bank_sees_keys: whether keys are in the denominator of the bank's softmax.
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
    losses = [
        (total - own_cosine / t).mean() for total, t in zip(totals, temperatures, strict=True)
    ]
    mass, bank_mass = (
        (bank_part - total).exp() for bank_part, total in zip(of_bank, totals, strict=True)
    )
    query_gradient = reading.picked * (mass / (temperature * batch))[:, None]
    # The bank ascends: its loss is -L, so its gradient is -dL/dw.
    bank_gradient = bank_softmax.tangents(reading, q, w, bank_mass / (-bank_temperature * batch))
    key_probability = (key_cosines / temperature - totals[0][:, None]).exp()
    key_probability[own, positive] -= 1.0
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
) -> dict[str, Tensor]:
    """The values of `objectives.bank_games.SharedBankGame` by name, see `shared_bank_game` there.

    G_k  = -1 / (t |w_k|) * mean_i [ c_ik (q_i - s_ik n_k) ],
    c_ik = 1 - p_ik if k is i's positive, else p_ik;  the bank steps on -G

    p is the softmax at the bank's temperature. With several choices per query, c_ik is the mean
    over them.

    Args:
        query: raw online embeddings of this process.
        positives: indices of the queries' positives in the bank.
        bank: raw stored vectors w; n_k = w_k / |w_k|.
        temperatures: the encoder's and the bank's.
        cooperative: whether positives move; otherwise their coefficient is 0.
        adversarial: whether negatives move; otherwise their coefficient is 0.
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
    role = (1 - probability) if cooperative else torch.zeros_like(probability)
    if adversarial:
        role = role - probability  # `tangents` has treated the positives as negatives
        bank_gradient = bank_softmax.tangents(
            reading, q, w, torch.full_like(totals[1], -1 / (bank_temperature * len(q)))
        )
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


def _unit_rows(rows: Tensor) -> Tensor:
    """Rows divided by their Euclidean norms, like `objectives.similarity.unit_rows`."""
    return F.normalize(rows, dim=1, eps=bank_softmax.TINY)
