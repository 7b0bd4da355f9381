"""Triplet-like objectives against slow loops, closed-form values, and the losses that they turn
into at the ends of their ranges."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.objectives.contrastive import in_batch_info_nce, info_nce
from sparring.objectives.debiased import hcl
from sparring.objectives.similarity import cosine, unit_rows
from sparring.objectives.triplet import (
    TripletSettings,
    byol_plus,
    hinge,
    linear,
    soft,
    topk_nce,
    triplet_objective,
)

FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda positive, negative: linear(positive, negative, gamma=1.7),
    "hinge": lambda positive, negative: hinge(positive, negative, margin=0.3),
    "soft": lambda positive, negative: soft(positive, negative, margin=0.1, temperature=0.3),
    "topk_nce": lambda positive, negative: topk_nce(positive, negative, temperature=0.3),
    "byol_plus": lambda positive, negative: byol_plus(
        positive, negative, weight=0.6, margin=0.1, temperature=0.3
    ),
    "hcl": lambda positive, negative: hcl(
        positive, negative, beta=1.3, tau_plus=0.4, temperature=0.4
    ),
}
every_form = pytest.mark.parametrize("form", list(FORMS))


def softplus_term(positive: float, negative: list[float]) -> float:
    return sum(0.3 * math.log(1 + math.exp((0.1 - positive + s) / 0.3)) for s in negative) / len(
        negative
    )


def hcl_term(positive: float, negative: list[float]) -> float:
    pos, neg, count = math.exp(positive / 0.4), [math.exp(s / 0.4) for s in negative], len(negative)
    weights = [n**1.3 for n in neg]
    reweighted = sum(w * n for w, n in zip(weights, neg, strict=True)) / (sum(weights) / count)
    total = max((reweighted - 0.4 * count * pos) / 0.6, count * math.exp(-1 / 0.4))
    return -math.log(pos / (pos + total))


SLOW: dict[str, Callable[[float, list[float]], float]] = {
    "linear": lambda p, ns: -2 * 1.7 * p + 2 * sum(ns) / len(ns),
    "hinge": lambda p, ns: sum(max(0.0, 0.3 - p + n) for n in ns) / len(ns),
    "soft": softplus_term,
    "topk_nce": lambda p, ns: (
        -math.log(math.exp(p / 0.3) / (math.exp(p / 0.3) + sum(math.exp(n / 0.3) for n in ns)))
    ),
    "byol_plus": lambda p, ns: 2 - 2 * p + 0.6 * softplus_term(p, ns),
    "hcl": hcl_term,
}


def similarities(batch: int = 5, count: int = 4, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Cosines between -0.9 and 0.9."""
    drawn = (
        1.8
        * torch.rand(
            batch, 1 + count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        - 0.9
    )
    return drawn[:, 0].clone(), drawn[:, 1:].clone()


def rows(count: int, *, seed: int) -> Tensor:
    return torch.randn(count, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@every_form
def test_it_equals_a_slow_loop(form: str) -> None:
    positive, negative = similarities()
    slow = sum(
        SLOW[form](float(p), ns.tolist()) for p, ns in zip(positive, negative, strict=True)
    ) / len(positive)
    assert float(FORMS[form](positive, negative)) == pytest.approx(slow, rel=1e-12)


def test_the_slow_loops_of_hinge_and_hcl_meet_both_sides_of_their_maximum() -> None:
    positive, negative = similarities()
    lead = 0.3 - positive[:, None] + negative
    assert (lead > 0).any()
    assert (lead < 0).any()
    terms = [hcl_term(float(p), ns.tolist()) for p, ns in zip(positive, negative, strict=True)]
    floor = [math.log1p(4 * math.exp((-1 - float(p)) / 0.4)) for p in positive]
    on_floor = [math.isclose(term, least) for term, least in zip(terms, floor, strict=True)]
    assert any(on_floor)
    assert not all(on_floor)


@every_form
def test_gradients_match_finite_differences(form: str) -> None:
    positive, negative = similarities(seed=1)
    assert torch.autograd.gradcheck(
        FORMS[form], (positive.requires_grad_(), negative.requires_grad_())
    )


@every_form
def test_the_order_of_queries_and_of_negatives_does_not_matter(form: str) -> None:
    positive, negative = similarities()
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = FORMS[form](positive[order], negative[order].flip(1))
    torch.testing.assert_close(FORMS[form](positive, negative), moved, rtol=1e-12, atol=0)


@every_form
def test_a_harder_negative_never_lowers_it_and_a_closer_positive_never_raises_it(form: str) -> None:
    # What makes the hardest candidates the miner's exact best answer. hcl is left out: harder
    # negatives take weight from others.
    positive, negative = similarities(seed=2)
    value = FORMS[form](positive, negative)
    assert FORMS[form](positive + 0.05, negative) <= value
    if form != "hcl":
        for column in range(negative.shape[1]):
            harder = negative.clone()
            harder[:, column] += 0.05
            assert FORMS[form](positive, harder) >= value


def test_values_at_equal_similarities_are_known() -> None:
    positive, negative = (
        torch.full((3,), 0.4, dtype=torch.float64),
        torch.full((3, 7), 0.4, dtype=torch.float64),
    )
    assert float(linear(positive, negative, gamma=2.0)) == pytest.approx(-0.8, rel=1e-12)
    assert float(hinge(positive, negative, margin=0.2)) == pytest.approx(0.2, rel=1e-12)
    assert float(soft(positive, negative, margin=0.0, temperature=0.2)) == pytest.approx(
        0.2 * math.log(2), rel=1e-12
    )
    assert float(topk_nce(positive, negative, temperature=0.2)) == pytest.approx(
        math.log(8), rel=1e-12
    )
    assert float(
        byol_plus(positive, negative, weight=1.0, margin=0.0, temperature=0.2)
    ) == pytest.approx(1.2 + 0.2 * math.log(2), rel=1e-12)
    # Equal negatives weigh alike, and the correction of false ones by (1 - tau) / (1 - tau) is
    # none.
    assert float(hcl(positive, negative, beta=3.0, tau_plus=0.1, temperature=0.5)) == pytest.approx(
        math.log(8), rel=1e-12
    )


def test_linear_is_the_truncated_triplet_of_distances_with_its_inactive_margin() -> None:
    positive, negative = similarities()
    far, near = -2 * negative.mean(dim=1), -2 * positive
    published = F.relu(2.0 * near - far + 100).mean()
    torch.testing.assert_close(
        linear(positive, negative, gamma=2.0), published - 100, rtol=1e-12, atol=1e-13
    )


def test_linear_with_equal_weights_is_twice_a_hinge_that_is_always_active() -> None:
    positive, negative = similarities()
    torch.testing.assert_close(
        linear(positive, negative, gamma=1.0),
        2 * (hinge(positive, negative, margin=2.0) - 2.0),
        rtol=1e-12,
        atol=0,
    )


def test_hinge_is_the_margin_loss_of_pytorch_on_all_pairs() -> None:
    positive, negative = similarities()
    leader = positive[:, None].expand_as(negative)
    published = F.margin_ranking_loss(leader, negative, torch.ones_like(negative), margin=0.2)
    torch.testing.assert_close(hinge(positive, negative, margin=0.2), published, rtol=1e-12, atol=0)


def test_soft_with_one_negative_and_no_margin_is_t_times_two_way_info_nce() -> None:
    query, key, other = rows(1, seed=0), rows(1, seed=1), rows(1, seed=2)
    positive, negative = cosine(query, key)[:, 0], cosine(query, other)
    two_way = info_nce(query, key, other, temperature=0.2)
    torch.testing.assert_close(
        soft(positive, negative, margin=0.0, temperature=0.2), 0.2 * two_way, rtol=1e-12, atol=0
    )


def test_soft_becomes_the_hinge_as_its_corner_sharpens() -> None:
    positive, negative = similarities()
    sharp, wide = (
        soft(positive, negative, margin=0.2, temperature=temperature) for temperature in (1e-3, 0.5)
    )
    # At most t log 2 at the corner.
    torch.testing.assert_close(sharp, hinge(positive, negative, margin=0.2), rtol=0, atol=7e-4)
    assert wide > sharp + 0.01


def test_topk_nce_with_all_negatives_is_info_nce_within_the_batch() -> None:
    query, key = rows(6, seed=0), rows(6, seed=1)
    similarity = cosine(query, key)
    others = similarity[~torch.eye(6, dtype=torch.bool)].view(6, 5)
    whole = in_batch_info_nce(query, key, key[:0], temperature=0.2)
    torch.testing.assert_close(
        topk_nce(similarity.diagonal(), others, temperature=0.2), whole, rtol=1e-12, atol=0
    )


def test_byol_plus_without_its_negatives_is_byol() -> None:
    query, key = unit_rows(rows(4, seed=0)), unit_rows(rows(4, seed=1))
    _, negative = similarities(4)
    byol = (query - key).square().sum(dim=1).mean()
    alone = byol_plus((query * key).sum(dim=1), negative, weight=0.0, margin=0.0, temperature=0.2)
    torch.testing.assert_close(alone, byol, rtol=1e-12, atol=0)


def test_hcl_without_hardness_and_correction_is_info_nce() -> None:
    positive, negative = similarities()
    plain = hcl(positive, negative, beta=0.0, tau_plus=0.0, temperature=0.5)
    torch.testing.assert_close(
        plain, topk_nce(positive, negative, temperature=0.5), rtol=1e-12, atol=0
    )


def test_hcl_of_great_hardness_counts_the_hardest_negative_as_all() -> None:
    positive, negative = similarities()
    hardest = negative.max(dim=1).values
    limit = torch.log1p(negative.shape[1] * torch.exp((hardest - positive) / 0.5)).mean()
    torch.testing.assert_close(
        hcl(positive, negative, beta=1e4, tau_plus=0.0, temperature=0.5), limit, rtol=1e-9, atol=0
    )


def test_hcl_stays_finite_where_exponentials_of_similarities_would_not() -> None:
    positive, negative = torch.full((2,), 0.9), torch.full((2, 3), 0.8)
    # exp(2 * 0.9 / 0.015) is beyond float32.
    assert torch.isfinite(hcl(positive, negative, beta=1.0, tau_plus=0.1, temperature=0.015))


def test_the_constants_reach_the_form_that_reads_them() -> None:
    positive, negative = similarities()
    settings = TripletSettings(
        gamma=1.7, margin=0.1, temperature=0.3, weight=0.6, beta=1.3, tau_plus=0.1
    )
    for form in ("linear", "soft", "topk_nce", "byol_plus"):
        torch.testing.assert_close(
            triplet_objective(form, settings)(positive, negative), FORMS[form](positive, negative)
        )
    torch.testing.assert_close(
        triplet_objective("hinge", settings)(positive, negative),
        hinge(positive, negative, margin=0.1),
    )
    weighted = hcl(positive, negative, beta=1.3, tau_plus=0.1, temperature=0.3)
    torch.testing.assert_close(triplet_objective("hcl", settings)(positive, negative), weighted)


def test_margin_and_temperature_have_a_default_of_each_form() -> None:
    positive, negative = similarities()
    defaults = TripletSettings()
    expected = {
        "hinge": hinge(positive, negative, margin=0.2),
        "soft": soft(positive, negative, margin=0.0, temperature=0.2),
        "topk_nce": topk_nce(positive, negative, temperature=0.2),
        "byol_plus": byol_plus(positive, negative, weight=0.5, margin=0.0, temperature=0.2),
        "hcl": hcl(positive, negative, beta=1.0, tau_plus=0.1, temperature=0.5),
    }
    for form, value in expected.items():
        torch.testing.assert_close(triplet_objective(form, defaults)(positive, negative), value)  # type: ignore[arg-type]
