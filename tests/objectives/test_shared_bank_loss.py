"""The shared bank's loss with positives and negatives from anywhere: against a loop in float64, and
within the game of the bank."""

import math

import pytest
import torch
from torch import Tensor

from sparring.negatives.shared_bank import Asked, games_on_choices
from sparring.objectives.bank_games import SharedBankGame, shared_bank_loss
from sparring.objectives.similarity import unit_rows

TEMPERATURE = 0.3
PLACES = torch.tensor([[3, 11, 3, 0], [7, 1, 2, 11]])


@pytest.fixture(params=["on", "off"], ids=["closed form", "autograd"], autouse=True)
def acceleration(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds for both ways to compute the game."""
    monkeypatch.setenv("SPARRING_ACCELERATION", request.param)


def rows(*shape: int, seed: int) -> Tensor:
    """Random vectors of various lengths."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 6, dtype=torch.float64, generator=draw)


def of(query: Tensor, positives: Tensor, negatives: Tensor, places: Tensor = PLACES) -> Tensor:
    return shared_bank_loss(query, positives, places, negatives, temperature=TEMPERATURE)


def game(query: Tensor, bank: Tensor, *, met: Tensor | None = None) -> SharedBankGame:
    """The game of one view's queries; `met` stands in place of the bank's other entries."""
    asked = Asked(1.0, query, PLACES, rows(2, 4, seed=9))
    settings = {"temperature": TEMPERATURE, "tau_plus": 0.0, "bank_temperature": 0.1}
    ((_, played),) = games_on_choices([asked], bank, met, **settings)
    return played


def test_the_loss_is_that_of_a_loop_over_queries_choices_and_negatives() -> None:
    query, positives, negatives = rows(4, seed=0), rows(2, 4, seed=1), rows(12, seed=2)
    q, p, n = unit_rows(query), torch.stack([unit_rows(each) for each in positives]), negatives
    n = unit_rows(n)
    losses = []
    for choice in range(2):
        for i in range(4):
            own = math.exp(float(q[i] @ p[choice, i]) / TEMPERATURE)
            others = sum(
                math.exp(float(q[i] @ n[k]) / TEMPERATURE)
                for k in range(12)
                if k != int(PLACES[choice, i])
            )
            losses.append(-math.log(own / (own + others)))
    expected = sum(losses) / len(losses)
    assert float(of(query, positives, negatives)) == pytest.approx(expected, rel=1e-12)


def test_a_positive_like_every_negative_costs_the_logarithm_of_their_number() -> None:
    one = rows(1, seed=3)
    loss = of(rows(4, seed=0), one.expand(2, 4, -1), one.expand(12, -1))
    assert float(loss) == pytest.approx(math.log(12), rel=1e-12)


def test_the_gradient_of_the_query_is_that_of_finite_differences() -> None:
    positives, negatives = rows(2, 4, seed=1), rows(12, seed=2)
    query = rows(4, seed=0).requires_grad_()
    assert torch.autograd.gradcheck(lambda each: of(each, positives, negatives), query)


def test_the_negative_in_whose_place_a_positive_stands_does_not_count() -> None:
    query, positives, negatives = rows(1, seed=0), rows(1, 1, seed=1), rows(12, seed=2)
    for place, is_equal in ((5, True), (6, False)):
        changed = negatives.clone()
        changed[5] = -changed[5]
        losses = [
            of(query, positives, each, torch.tensor([[place]])) for each in (negatives, changed)
        ]
        assert torch.equal(*losses) == is_equal


def test_a_game_that_meets_the_bank_itself_has_the_loss_and_gradient_of_the_plain_game() -> None:
    query, bank = rows(4, seed=0).requires_grad_(), rows(12, seed=2).requires_grad_()
    plain, met = game(query, bank), game(query, bank, met=bank.detach())
    torch.testing.assert_close(met.loss, plain.loss, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(each.loss, query)[0] for each in (plain, met)]
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_whatever_the_encoder_meets_the_bank_plays_with_all_of_its_vectors() -> None:
    query, bank = rows(4, seed=0).requires_grad_(), rows(12, seed=2).requires_grad_()
    plain, met = game(query, bank), game(query, bank, met=rows(12, seed=4))
    assert not torch.isclose(met.loss, plain.loss, rtol=1e-3)
    assert torch.equal(met.bank_loss, plain.bank_loss)
    gradients = [torch.autograd.grad(each.bank_loss, bank)[0] for each in (plain, met)]
    assert torch.equal(*gradients)
    assert torch.equal(met.positive_mass, plain.positive_mass)


def test_the_encoders_loss_moves_neither_the_bank_nor_what_stands_in_its_place() -> None:
    query, bank = rows(4, seed=0).requires_grad_(), rows(12, seed=2).requires_grad_()
    found = game(query, bank, met=rows(12, seed=4))
    assert torch.autograd.grad(found.loss, bank, allow_unused=True, retain_graph=True)[0] is None
    expected = of(query, bank.detach()[PLACES], rows(12, seed=4))
    assert torch.equal(found.loss, expected)
