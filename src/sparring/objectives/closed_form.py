"""The games of banks in closed form: both sides' losses and gradients from one softmax over the
bank and its means.

Autograd keeps and re-reads (batch, bank) matrices several times; written out, the same numbers need
three matrix products and one matrix of weights at most, see `bank_softmax`. Tests hold every value
to autograd in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparring.acceleration import bank_softmax
from sparring.distributed import JointRows
from sparring.objectives.similarity import unit_rows


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor, gradient: Tensor) -> Tensor:
        """The value."""
        ctx.gradient = gradient
        return value.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[None, Tensor, None]:
        """The gradient, scaled by what stands around the value."""
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError(
                "a value with a given gradient can be differentiated once; compute it again"
            )
        return None, gradient.mul_(outer), None


def with_gradient(
    value: Float[Tensor, ""], source: Float[Tensor, "*shape"], gradient: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Scalar that has the given value, and the given gradient with respect to `source`.

    It can be differentiated once: that scales the gradient where it lies, as a copy of a large
    bank's costs a tenth of a look at it.

    Args:
        value: detached.
        source: what the gradient reaches.
        gradient: handed over, so it must be nobody else's.
    """
    result: Tensor = _WithGradient.apply(value, source, gradient)
    return result


@dataclass(frozen=True, kw_only=True)
class BankGame:
    """Both sides of one look at the bank.

    Attributes:
        loss: what the encoder minimises; its gradient reaches the query only.
        bank_loss: what the bank minimises; its gradient reaches the bank only.
        hardest_cosine: mean over queries of their largest cosine with the bank.
        mass: mean probability that falls on the bank at the encoder's temperature.
        bank_mass: the same at the bank's temperature.
        key_mass: mean probability of the true key at the encoder's temperature.
    """

    loss: Float[Tensor, ""]
    bank_loss: Float[Tensor, ""]
    hardest_cosine: Float[Tensor, ""]
    mass: Float[Tensor, ""]
    bank_mass: Float[Tensor, ""]
    key_mass: Float[Tensor, ""]


def adversarial_bank_game(
    query: Float[Tensor, "batch dim"],
    keys: Float[Tensor, "batch dim"] | JointRows,
    bank: Float[Tensor, "bank dim"],
    *,
    temperature: float,
    bank_temperature: float,
    in_batch: bool = True,
    bank_sees_keys: bool = True,
) -> BankGame:
    """The encoder descends, and the bank ascends, one cross-entropy at two temperatures.

    L(t) = mean_i -log softmax_j([q_i.k_1 .. q_i.k_joint, q_i.n_1 .. q_i.n_bank] / t)[own key],
    unit rows q, k, n

    min over the encoder of L(temperature);   max over the bank of L(bank_temperature)

    dL/dw_k = (a_k - b_k n_k) / (t |w_k|),  a_k = mean_i p_ik q_i,  b_k = mean_i p_ik q_i.n_k;
    the bank steps on -dL/dw.

    Args:
        query: raw online embeddings of this process.
        keys: raw teacher embeddings, row i is the positive of query i; no gradient.
        bank: raw stored vectors w; n_k = w_k / |w_k|.
        temperature: the encoder's, > 0.
        bank_temperature: the bank's, > 0; smaller means a sharper adversary.
        in_batch: keys of other images are negatives too; otherwise the own key and the bank are the
            only columns.
        bank_sees_keys: keys stand in the denominator of the bank's softmax, as in L; otherwise the
            bank shares out all of its probability among its own vectors and ascends mean_i log
            sum_k exp(q_i.n_k / t).

    Source: Hu et al. 2021, arXiv:2011.08435, eq. 1 and 6, in the released code's form (raw stored
    bank, in-batch keys).
    """
    joint = keys if isinstance(keys, JointRows) else JointRows(keys, keys)
    unit_query, k = unit_rows(query), unit_rows(joint.everyone.detach())
    q, w = unit_query.detach(), bank.detach()
    batch, mine = len(q), slice(joint.first, joint.first + len(q))
    own = torch.arange(batch, device=q.device)
    if in_batch:
        key_cosines, positive = q @ k.T, joint.positions()
    else:
        key_cosines, positive = (q * k[mine]).sum(1, keepdim=True), torch.zeros_like(own)
    temperatures = (temperature, bank_temperature)
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
    return BankGame(
        loss=with_gradient(losses[0], unit_query, query_gradient),
        bank_loss=with_gradient(-losses[1], bank, bank_gradient),
        hardest_cosine=reading.hardest.mean(),
        mass=mass.mean(),
        bank_mass=bank_mass.mean(),
        key_mass=(own_cosine / temperature - totals[0]).exp().mean(),
    )


@dataclass(frozen=True, kw_only=True)
class SharedBankGame:
    """Both sides of one look at a bank that supplies the positives too.

    Attributes:
        loss: what the encoder minimises; its gradient reaches the query only.
        bank_loss: its value is the loss at the bank's temperature, its gradient that of the bank's
            roles; it reaches the bank only.
        hardest_cosine: mean over queries of their largest cosine with the bank.
        positive_cosine: mean cosine with the positives.
        positive_mass: mean probability of the positives at the encoder's temperature.
    """

    loss: Float[Tensor, ""]
    bank_loss: Float[Tensor, ""]
    hardest_cosine: Float[Tensor, ""]
    positive_cosine: Float[Tensor, ""]
    positive_mass: Float[Tensor, ""]


def shared_bank_game(
    query: Float[Tensor, "batch dim"],
    positives: Int[Tensor, "choices batch"],
    bank: Float[Tensor, "bank dim"],
    *,
    temperature: float,
    bank_temperature: float,
    cooperative: bool = True,
    adversarial: bool = True,
) -> SharedBankGame:
    """Encoder and chosen entries descend one cross-entropy over the bank, all other entries ascend
    it.

    L(t) = mean_i [ -mean_c s_i,pi(c,i) / t + log sum_k exp(s_ik / t) ],   s_ik = q_i.n_k,  unit
    rows q, n G_k  = -1 / (t |w_k|) * mean_i [ c_ik (q_i - s_ik n_k) ],   c_ik = 1 - p_ik if k is
    i's positive, else p_ik;  the bank steps on -G

    p is the softmax at the bank's temperature. Both roles pull an entry towards the query. With
    several choices per query, c_ik is the mean over them.

    Args:
        query: raw online embeddings of this process.
        positives: rows of the bank that are the queries' positives; of several choices the loss is
            the mean.
        bank: raw stored vectors w; n_k = w_k / |w_k|.
        temperature: the encoder's, > 0.
        bank_temperature: the bank's, > 0.
        cooperative: positives move; otherwise their coefficient is 0.
        adversarial: negatives move; otherwise their coefficient is 0.

    Source: Wang et al. 2022, arXiv:2203.14370, in the released code's form.
    """
    unit_query = unit_rows(query)
    q, w = unit_query.detach(), bank.detach()
    reading = bank_softmax.read(q, w, temperatures=(temperature, bank_temperature))
    totals, norms = reading.log_sums, reading.norms[positives]
    chosen = w[positives] / norms
    own = torch.linalg.vecdot(chosen, q)
    losses = [
        (total - own.mean(dim=0) / t).mean()
        for total, t in zip(totals, (temperature, bank_temperature), strict=True)
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
    return SharedBankGame(
        loss=with_gradient(losses[0], unit_query, query_gradient),
        bank_loss=with_gradient(losses[1], bank, bank_gradient),
        hardest_cosine=reading.hardest.mean(),
        positive_cosine=own.mean(),
        positive_mass=(own / temperature - totals[0]).exp().mean(),
    )


def summed(
    games: Sequence[tuple[float, BankGame | SharedBankGame]],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], dict[str, Tensor]]:
    """Both losses of several games of one kind, summed by weight, and the means of what else was
    seen, named `bank/NAME`."""
    loss = torch.stack([share * game.loss for share, game in games]).sum()
    bank_loss = torch.stack([share * game.bank_loss for share, game in games]).sum()
    names = [field.name for field in fields(games[0][1]) if field.name not in ("loss", "bank_loss")]
    return (
        loss,
        bank_loss,
        {
            f"bank/{name}": torch.stack([getattr(game, name) for _, game in games]).mean()
            for name in names
        },
    )
