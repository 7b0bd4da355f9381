"""Every loss with negatives, corrected for false ones: by hand, against `hcl` without hardness, and
by gradients in float64."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sparring.distributed import JointRows
from sparring.objectives.contrastive import (
    Anchors,
    in_batch_info_nce,
    info_nce,
    multi_positive_nt_xent,
    nt_xent,
)
from sparring.objectives.debiased import cross_entropy, hcl, log_true_negatives, pairs_of_views
from sparring.objectives.similarity import cosine, unit_rows
from sparring.objectives.triplet import TripletSettings, topk_nce, triplet_objective

TAU, T = 0.1, 0.4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def parts() -> tuple[Tensor, Tensor, Tensor]:
    """Queries, their keys nearby, and further negatives."""
    query = drawn(5, 6)
    return query, query + 0.5 * drawn(5, 6, seed=1), drawn(9, 6, seed=2)


def anchors(views: Tensor) -> tuple[Anchors, Anchors, Tensor, Tensor]:
    """Arguments of `multi_positive_nt_xent` for views of one set of images."""
    num_views, batch, _ = views.shape
    rows = Anchors(embeddings=views.flatten(0, 1), images=torch.arange(batch).repeat(num_views))
    count = num_views * batch
    return rows, rows, torch.arange(count), torch.ones(count, dtype=views.dtype)


def of_info_nce(query: Tensor, key: Tensor, negatives: Tensor, **options: object) -> Tensor:
    return info_nce(query, key, negatives, temperature=T, **options)  # type: ignore[arg-type]


def of_in_batch(query: Tensor, key: Tensor, negatives: Tensor, **options: object) -> Tensor:
    return in_batch_info_nce(
        query,
        key,
        negatives,
        temperature=T,
        **options,  # type: ignore[arg-type]
    )


def of_nt_xent(query: Tensor, key: Tensor, negatives: Tensor, **options: object) -> Tensor:
    views = torch.stack([query, key, negatives[:5]])
    return nt_xent(views, temperature=T, **options)  # type: ignore[arg-type]


def of_several(query: Tensor, key: Tensor, negatives: Tensor, **options: object) -> Tensor:
    views = torch.stack([query, key, negatives[:5]])
    return multi_positive_nt_xent(
        *anchors(views),
        temperature=T,
        **options,  # type: ignore[arg-type]
    )


def of_topk(query: Tensor, key: Tensor, negatives: Tensor, **options: object) -> Tensor:
    positive = cosine(query, key).diagonal()
    return topk_nce(
        positive,
        cosine(query, negatives),
        temperature=T,
        **options,  # type: ignore[arg-type]
    )


LOSSES: dict[str, Callable[..., Tensor]] = {
    "info_nce": of_info_nce,
    "in_batch_info_nce": of_in_batch,
    "nt_xent": of_nt_xent,
    "multi_positive_nt_xent": of_several,
    "topk_nce": of_topk,
}


@pytest.mark.parametrize("name", LOSSES)
def test_no_assumed_share_is_the_loss_without_one_to_the_bit(name: str) -> None:
    assert torch.equal(LOSSES[name](*parts()), LOSSES[name](*parts(), tau_plus=0.0))


@pytest.mark.parametrize("name", LOSSES)
def test_a_share_of_zero_in_a_tensor_is_the_loss_without_one(name: str) -> None:
    zero = torch.tensor(0.0, dtype=torch.float64)
    # Sums in another order, in float64.
    torch.testing.assert_close(
        LOSSES[name](*parts(), tau_plus=zero), LOSSES[name](*parts()), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("name", LOSSES)
def test_a_share_in_a_tensor_counts_as_the_number(name: str) -> None:
    number, tensor = (
        LOSSES[name](*parts(), tau_plus=share)
        for share in (TAU, torch.tensor(TAU, dtype=torch.float64))
    )
    torch.testing.assert_close(number, tensor, rtol=1e-12, atol=0)
    assert abs(number - LOSSES[name](*parts())) > 0.01


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_match_finite_differences(name: str) -> None:
    inputs = tuple(part.requires_grad_() for part in parts())
    assert torch.autograd.gradcheck(lambda *each: LOSSES[name](*each, tau_plus=TAU), inputs)


def by_hand(positive: float, negatives: list[float], *, tau_plus: float = TAU) -> float:
    """Loss of one anchor from its cosines, written from the formula."""
    p, count = math.exp(positive / T), len(negatives)
    total = sum(math.exp(cosine_ / T) for cosine_ in negatives)
    true = max((total - tau_plus * count * p) / (1 - tau_plus), count * math.exp(-1 / T))
    return -math.log(p / (p + true))


def test_info_nce_meets_the_formula_on_every_query() -> None:
    query, key, negatives = parts()
    positive, others = cosine(query, key).diagonal(), cosine(query, negatives)
    terms = [by_hand(float(own), row.tolist()) for own, row in zip(positive, others, strict=True)]
    expected = sum(terms) / len(terms)
    assert float(info_nce(query, key, negatives, temperature=T, tau_plus=TAU)) == pytest.approx(
        expected, rel=1e-12
    )
    assert float(of_topk(query, key, negatives, tau_plus=TAU)) == pytest.approx(expected, rel=1e-12)


def test_in_batch_keys_are_negatives_of_all_but_their_own_query() -> None:
    query, key, negatives = parts()
    own_half = JointRows(key[2:], key, first=2)
    found = in_batch_info_nce(query[2:], own_half, negatives, temperature=T, tau_plus=TAU)
    terms = []
    for row in range(2, 5):
        keys = cosine(query[row : row + 1], key)[0].tolist()
        positive = keys.pop(row)
        terms.append(by_hand(positive, keys + cosine(query[row : row + 1], negatives)[0].tolist()))
    assert float(found) == pytest.approx(sum(terms) / 3, rel=1e-12)


def test_two_views_are_the_debiased_loss_of_chuang() -> None:
    views = torch.stack(parts()[:2])
    expected = hcl(*pairs_of_views(views), beta=0.0, tau_plus=TAU, temperature=T)
    for found in (
        nt_xent(views, temperature=T, tau_plus=TAU),
        multi_positive_nt_xent(*anchors(views), temperature=T, tau_plus=TAU),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_mined_pairs_are_those_of_hcl_without_hardness() -> None:
    query, key, negatives = parts()
    positive, others = cosine(query, key).diagonal(), cosine(query, negatives)
    settings = TripletSettings(topk_tau_plus=TAU, temperature=T)
    torch.testing.assert_close(
        triplet_objective("topk_nce", settings)(positive, others),
        hcl(positive, others, beta=0.0, tau_plus=TAU, temperature=T),
        rtol=1e-12,
        atol=0,
    )


def test_both_forms_of_nt_xent_agree_on_three_views() -> None:
    torch.testing.assert_close(
        of_nt_xent(*parts(), tau_plus=TAU), of_several(*parts(), tau_plus=TAU), rtol=1e-12, atol=0
    )


def test_other_views_of_an_image_are_no_false_negatives() -> None:
    # Three equal views of two orthogonal images: of an anchor's positives, e^(1/t) each, one more
    # stands in the denominator, and three negatives, 1 each, are corrected.
    views = torch.eye(2, dtype=torch.float64).expand(3, 2, 2)
    p, tau = math.exp(1 / T), 0.01
    true = 3 * max((1 - tau * p) / (1 - tau), math.exp(-1 / T))
    assert float(nt_xent(views, temperature=T, tau_plus=tau)) == pytest.approx(
        math.log((2 * p + true) / p), rel=1e-12
    )


def test_the_halves_of_a_joint_batch_average_to_the_whole() -> None:
    views = drawn(3, 6, 5)
    halves = [
        nt_xent(JointRows(views[:, i : i + 3], views, first=i), temperature=T, tau_plus=TAU)
        for i in (0, 3)
    ]
    torch.testing.assert_close(
        torch.stack(halves).mean(),
        nt_xent(views, temperature=T, tau_plus=TAU),
        rtol=1e-12,
        atol=0,
    )


def test_negatives_below_the_bound_have_no_gradient_and_the_positive_has() -> None:
    query = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    key = torch.tensor([[1.0, 0.3]], dtype=torch.float64, requires_grad=True)
    negatives = torch.tensor([[0.0, 1.0], [-0.2, 1.0]], dtype=torch.float64, requires_grad=True)
    loss = info_nce(query, key, negatives, temperature=0.2, tau_plus=TAU)
    of_key, of_negatives = torch.autograd.grad(loss, (key, negatives))
    assert of_key.abs().max() > 1e-6
    assert of_negatives.abs().max() == 0
    own = float(unit_rows(key.detach())[0, 0])
    assert float(loss.detach()) == pytest.approx(math.log1p(2 * math.exp((-1 - own) / 0.2)))
    nearer = info_nce(query, key, query + 0.1 * negatives, temperature=0.2, tau_plus=TAU)
    assert torch.autograd.grad(nearer, negatives)[0].abs().max() > 1e-6


@pytest.mark.parametrize("positive", [-1.0, 1.0])
def test_the_sharpest_temperatures_stay_finite_in_float32(positive: float) -> None:
    # exp(2 / 0.005) is infinite in float32, in the loss and in its gradient.
    logits = torch.tensor([[positive, 1.0, -1.0], [positive, -1.0, -1.0]]) / 0.005
    logits.requires_grad_()
    loss = cross_entropy(logits, torch.zeros(2, dtype=torch.long), tau_plus=TAU, temperature=0.005)
    assert loss.isfinite()
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_the_correction_gives_what_the_true_negatives_alone_add() -> None:
    # Where exactly a share tau_plus of the negatives looks like the positive.
    logits = torch.tensor([0.7] * 2 + [0.1] * 8, dtype=torch.float64) / T
    found = log_true_negatives(
        logits.logsumexp(0),
        torch.tensor(0.7 / T, dtype=torch.float64),
        num_negatives=10,
        tau_plus=0.2,
        temperature=T,
    )
    assert float(found) == pytest.approx(math.log(10) + 0.1 / T, rel=1e-12)
