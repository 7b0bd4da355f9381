"""Two-player losses with a learned bank: one loss for the encoder, one for the bank.

Each game is written here for autograd, straight from its formula. If fast paths are on,
`acceleration.bank_games` computes the same numbers in closed form.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparring import acceleration
from sparring.acceleration.bank_games import fused_adversarial_game, fused_shared_game
from sparring.distributed import JointRows
from sparring.objectives.debiased import corrects, cross_entropy
from sparring.objectives.similarity import cosine, unit_rows


@dataclass(frozen=True, kw_only=True)
class BankGame:
    """Losses of both players on the same queries, keys and bank, and metrics without gradient.

    Attributes:
        loss: loss that the encoder minimises; its gradient reaches the query only.
        bank_loss: loss that the bank minimises; its gradient reaches the bank only.
        hardest_cosine: mean over queries of their largest cosine with the bank.
        mass: mean probability that falls on the bank at the encoder's temperature.
        bank_mass: mean probability that falls on the bank at the bank's temperature.
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
    tau_plus: float | Float[Tensor, ""] = 0.0,
) -> BankGame:
    """The encoder descends, and the bank ascends, one cross-entropy at two temperatures.

    L(t) = mean_i -log softmax_j([q_i.k_1 .. q_i.k_joint, q_i.n_1 .. q_i.n_bank] / t)[own key],
    unit rows q, k, n

    min over the encoder of L(temperature);   max over the bank of L(bank_temperature)

    Args:
        query: raw online embeddings of this process.
        keys: raw teacher embeddings, without gradient; row i is the positive of query i.
        bank: raw stored vectors w; n_k = w_k / |w_k|.
        temperature: the encoder's, > 0.
        bank_temperature: the bank's, > 0; smaller means a sharper adversary.
        in_batch: whether keys of other images are negatives too; otherwise the own key and the bank
            are the only columns.
        bank_sees_keys: keys stand in the denominator of the bank's softmax, as in L; otherwise the
            bank shares out all of its probability among its own vectors, and ascends
            mean_i log sum_k exp(q_i.n_k / t).
        tau_plus: assumed share of false negatives in [0, 1). Both players' losses are corrected for
            them, each at its temperature, see `debiased.log_true_negatives`; the metrics are those
            of the plain softmax. Where the bound holds, neither the query's negatives nor, at the
            bank's temperature, the bank have a gradient. A bank that sees no keys has no positive
            to correct by, so the two exclude each other.

    Raises:
        ValueError: if `tau_plus` is given for a bank that sees no keys.

    Source: Hu et al. 2021, arXiv:2011.08435, eq. 1 and 6, in the released code's form (raw stored
    bank, in-batch keys); Chuang et al. 2020, arXiv:2007.00224, for `tau_plus`.
    """
    if corrects(tau_plus) and not bank_sees_keys:
        raise ValueError(
            "tau_plus corrects the negatives by the positive, which a bank without keys does not "
            "see: leave out tau_plus or bank_sees_keys=False"
        )
    joint = keys if isinstance(keys, JointRows) else JointRows(keys, keys)
    if acceleration.is_on():
        return BankGame(
            **fused_adversarial_game(
                query,
                joint,
                bank,
                temperatures=(temperature, bank_temperature),
                in_batch=in_batch,
                bank_sees_keys=bank_sees_keys,
                tau_plus=tau_plus,
            )
        )
    positive, own = joint.positions(), torch.arange(len(query), device=query.device)
    key_cosines = cosine(query, joint.everyone.detach())
    if not in_batch:
        key_cosines, positive = key_cosines[own, positive][:, None], torch.zeros_like(own)
    # The encoder's loss: the bank is detached.
    logits = torch.cat([key_cosines, cosine(query, bank.detach())], dim=1) / temperature
    loss = cross_entropy(logits, positive, tau_plus=tau_plus, temperature=temperature)
    # The bank's loss: queries and keys are detached, and the bank ascends.
    bank_logits, key_logits = (
        cosine(query.detach(), bank) / bank_temperature,
        key_cosines.detach() / bank_temperature,
    )
    columns = torch.cat([bank_logits, key_logits], dim=1) if bank_sees_keys else bank_logits
    total = torch.logsumexp(columns, dim=1)
    if corrects(tau_plus):
        keys_first = torch.cat([key_logits, bank_logits], dim=1)
        bank_loss = -cross_entropy(
            keys_first, positive, tau_plus=tau_plus, temperature=bank_temperature
        )
    else:
        bank_loss = -(total - key_logits[own, positive]).mean()
    probability = logits.detach().softmax(dim=1)
    return BankGame(
        loss=loss,
        bank_loss=bank_loss,
        hardest_cosine=bank_logits.detach().amax(dim=1).mean() * bank_temperature,
        mass=probability[:, key_cosines.shape[1] :].sum(dim=1).mean(),
        bank_mass=(bank_logits - total[:, None]).detach().exp().sum(dim=1).mean(),
        key_mass=probability[own, positive].mean(),
    )


@dataclass(frozen=True, kw_only=True)
class SharedBankGame:
    """Losses of both players with a bank that supplies the positives too, and metrics.

    Attributes:
        loss: loss that the encoder minimises; its gradient reaches the query only.
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
    tau_plus: float | Float[Tensor, ""] = 0.0,
) -> SharedBankGame:
    """Encoder and chosen entries descend one cross-entropy over the bank, all other entries ascend
    it.

    L(t) = mean_i [ -mean_c s_i,pi(c,i) / t + log sum_k exp(s_ik / t) ],
    s_ik = q_i.n_k,  unit rows q, n;  pi(c, i) is choice c of the positive of query i

    The bank's loss is L(bank_temperature). Its gradient through a query's positive is L's, its
    gradient through a query's negatives is minus L's, so both roles pull an entry towards the
    query.

    Args:
        query: raw online embeddings of this process.
        positives: indices of the queries' positives in the bank; with several choices per query the
            loss is their mean.
        bank: raw stored vectors w; n_k = w_k / |w_k|.
        temperature: the encoder's, > 0.
        bank_temperature: the bank's, > 0.
        cooperative: whether positives move; otherwise no gradient flows through them.
        adversarial: whether negatives move; otherwise no gradient flows through them.
        tau_plus: assumed share of false negatives in [0, 1) among the entries that are not the
            positive, for both players as in `adversarial_bank_game`.

    Source: Wang et al. 2022, arXiv:2203.14370, in the released code's form.
    """
    if acceleration.is_on():
        return SharedBankGame(
            **fused_shared_game(
                query,
                positives,
                bank,
                temperatures=(temperature, bank_temperature),
                cooperative=cooperative,
                adversarial=adversarial,
                tau_plus=tau_plus,
            )
        )
    # The encoder's loss: the bank is detached.
    cosines = cosine(query, bank.detach())
    logits = cosines / temperature
    loss = torch.stack(
        [
            cross_entropy(logits, chosen, tau_plus=tau_plus, temperature=temperature)
            for chosen in positives
        ]
    ).mean()
    # The bank's loss: the query is detached, and each cosine has the gradient of its role.
    moving = cosine(query.detach(), bank)
    still = moving.detach()
    as_positive = moving if cooperative else still
    as_negative = 2 * still - moving if adversarial else still  # the same value, gradient reversed
    losses = []
    for chosen in positives:
        is_positive = torch.zeros_like(still, dtype=torch.bool).scatter(1, chosen[:, None], True)
        roles = torch.where(is_positive, as_positive, as_negative)
        losses.append(
            cross_entropy(
                roles / bank_temperature, chosen, tau_plus=tau_plus, temperature=bank_temperature
            )
        )
    return SharedBankGame(
        loss=loss,
        bank_loss=torch.stack(losses).mean(),
        hardest_cosine=still.amax(dim=1).mean(),
        positive_cosine=still.gather(1, positives.T).mean(),
        positive_mass=logits.detach().softmax(dim=1).gather(1, positives.T).mean(),
    )


def shared_bank_loss(
    query: Float[Tensor, "batch dim"],
    positives: Float[Tensor, "choices batch dim"],
    places: Int[Tensor, "choices batch"],
    negatives: Float[Tensor, "bank dim"],
    *,
    temperature: float,
    tau_plus: float | Float[Tensor, ""] = 0.0,
) -> Float[Tensor, ""]:
    """The encoder's loss of `shared_bank_game`, with positives and negatives from anywhere.

    mean_i,c [ -q_i.p_ci / t + log( exp(q_i.p_ci / t) + sum_{k != pi(c, i)} exp(q_i.n_k / t) ) ],
    unit rows q, p, n

    Args:
        query: raw online embeddings of this process.
        positives: raw positives p; with several per query the loss is the mean over them.
        places: pi, the negative in whose place each positive stands.
        negatives: raw vectors shared by all queries.
        temperature: t > 0.
        tau_plus: assumed share of false negatives, see `shared_bank_game`.
    """
    cosines, losses = cosine(query, negatives), []
    for positive, place in zip(positives, places, strict=True):
        own = (unit_rows(query) * unit_rows(positive)).sum(dim=1)
        logits = cosines.scatter(1, place[:, None], own[:, None]) / temperature
        losses.append(cross_entropy(logits, place, tau_plus=tau_plus, temperature=temperature))
    return torch.stack(losses).mean()


def summed(
    games: Sequence[tuple[float, BankGame | SharedBankGame]],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], dict[str, Tensor]]:
    """Weighted sums of both losses of several games of one kind, and means of their metrics, named
    `bank/NAME`.

    Args:
        games: weight and game of each pair of query and keys.
    """
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
