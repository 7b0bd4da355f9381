"""The game of a shared bank, with and without its fast path, against loops in float64: both roles,
their signs, and several choices per query."""

import pytest
import torch
from torch import Tensor

from sparring.objectives.bank_games import SharedBankGame, shared_bank_game, summed
from sparring.objectives.debiased import hcl
from sparring.objectives.similarity import cosine

ENCODER, BANK = 0.2, 0.1


@pytest.fixture(params=["on", "off"], ids=["closed form", "autograd"], autouse=True)
def acceleration(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds for both ways to compute the game."""
    monkeypatch.setenv("SPARRING_ACCELERATION", request.param)


def material(num_vectors: int = 37) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, their positives and a bank, close enough that nobody's softmax saturates; one entry
    serves two queries."""
    draw = torch.Generator().manual_seed(0)
    centre = torch.randn(1, 6, dtype=torch.float64, generator=draw)
    query, bank = (
        centre + 0.5 * torch.randn(count, 6, dtype=torch.float64, generator=draw)
        for count in (5, num_vectors)
    )
    return query.requires_grad_(), torch.tensor([[3, 11, 3, 36, 0]]), (bank * 1.7).requires_grad_()


def played(
    query: Tensor,
    positives: Tensor,
    bank: Tensor,
    *,
    cooperative: bool = True,
    adversarial: bool = True,
) -> SharedBankGame:
    return shared_bank_game(
        query,
        positives,
        bank,
        temperature=ENCODER,
        bank_temperature=BANK,
        cooperative=cooperative,
        adversarial=adversarial,
    )


def cross_entropy(query: Tensor, positives: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """The loss, over every choice."""
    logits = cosine(query, bank) / temperature
    return torch.stack(
        [torch.nn.functional.cross_entropy(logits, chosen) for chosen in positives]
    ).mean()


def role_gradient(query: Tensor, positives: Tensor, bank: Tensor) -> Tensor:
    """Gradient of the loss through every anchor's positives, minus that through its negatives: a
    loop over anchors and choices."""
    total = torch.zeros_like(bank)
    for chosen in positives:
        for number, row in enumerate(chosen.tolist()):
            free = bank.detach().clone().requires_grad_()
            logits = cosine(query[number : number + 1].detach(), free) / BANK
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor([row]))
            gradient = torch.autograd.grad(loss, free)[0]
            sign = -torch.ones(len(bank), 1, dtype=bank.dtype)
            sign[row] = 1.0
            total += sign * gradient / positives.numel()
    return total


def bank_gradient(game: SharedBankGame, bank: Tensor) -> Tensor:
    return torch.autograd.grad(game.bank_loss, bank)[0]


def test_loss_and_query_gradient_equal_autograd() -> None:
    query, positives, bank = material()
    game, plain = played(query, positives, bank), cross_entropy(query, positives, bank, ENCODER)
    torch.testing.assert_close(game.loss, plain, rtol=1e-9, atol=1e-12)
    expected = torch.autograd.grad(plain, query)[0]
    assert expected.abs().max() > 1e-3  # a saturated softmax would agree trivially
    torch.testing.assert_close(
        torch.autograd.grad(game.loss, query)[0], expected, rtol=1e-9, atol=1e-12
    )
    assert torch.autograd.grad(game.bank_loss, query, allow_unused=True)[0] is None


def test_the_banks_gradient_descends_through_positives_and_ascends_through_negatives() -> None:
    query, positives, bank = material()
    found = bank_gradient(played(query, positives, bank), bank)
    torch.testing.assert_close(found, role_gradient(query, positives, bank), rtol=1e-9, atol=1e-12)
    plain = torch.autograd.grad(cross_entropy(query, positives, bank, BANK), bank)[0]
    assert (
        found - plain
    ).norm() > 0.1 * plain.norm()  # plain autograd has the wrong sign for the negatives


def test_the_gradient_is_that_of_the_surrogate_with_fixed_coefficients() -> None:
    query, positives, bank = material()
    free = bank.detach().clone().requires_grad_()
    cosines = cosine(query.detach(), free)
    coefficients = (cosines / BANK).softmax(dim=1).detach()
    rows = torch.arange(len(query))
    coefficients[rows, positives[0]] = 1 - coefficients[rows, positives[0]]
    surrogate = -(coefficients * cosines).sum() / (len(query) * BANK)
    torch.testing.assert_close(
        bank_gradient(played(query, positives, bank), bank),
        torch.autograd.grad(surrogate, free)[0],
        rtol=1e-9,
        atol=1e-12,
    )


def test_several_choices_count_as_their_mean() -> None:
    query, positives, bank = material()
    both = torch.cat([positives, torch.tensor([[3, 5, 9, 0, 1]])])
    game = played(query, both, bank)
    singles = [played(query, chosen[None], bank) for chosen in both]
    torch.testing.assert_close(
        game.loss, (singles[0].loss + singles[1].loss) / 2, rtol=1e-12, atol=0
    )
    mean = sum(bank_gradient(single, bank) for single in singles) / 2
    found = bank_gradient(game, bank)
    torch.testing.assert_close(found, mean, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(found, role_gradient(query, both, bank), rtol=1e-9, atol=1e-12)


def test_the_roles_add_up_and_each_moves_its_own_entries() -> None:
    query, positives, bank = material()
    whole = bank_gradient(played(query, positives, bank), bank)
    positive = bank_gradient(played(query, positives, bank, adversarial=False), bank)
    negative = bank_gradient(played(query, positives, bank, cooperative=False), bank)
    torch.testing.assert_close(whole, positive + negative, rtol=1e-9, atol=1e-14)
    moved = set(positive.norm(dim=1).nonzero().flatten().tolist())
    assert moved == set(positives.flatten().tolist())
    one_query, one_positive = query[:1], positives[:, :1]
    alone = bank_gradient(played(one_query, one_positive, bank, cooperative=False), bank)
    # The closed form takes back what it gave the positive: rounding of float64 is left.
    assert set((alone.norm(dim=1) < 1e-12).nonzero().flatten().tolist()) == {3}


def test_both_roles_pull_towards_the_anchor() -> None:
    query, _, bank = material()
    one = query[:1]
    game = played(one, torch.tensor([[3]]), bank)
    moved = bank.detach() - 0.01 * bank_gradient(game, bank)
    assert (cosine(one, moved) > cosine(one, bank)).all()


def test_positives_lower_the_loss_and_negatives_raise_it() -> None:
    query, positives, bank = material()
    before = cross_entropy(query, positives, bank, ENCODER)
    for cooperative, sign in ((True, -1), (False, 1)):
        gradient = bank_gradient(
            played(query, positives, bank, cooperative=cooperative, adversarial=not cooperative),
            bank,
        )
        after = cross_entropy(query, positives, bank - 0.01 * gradient / gradient.norm(), ENCODER)
        assert sign * (after - before) > 0


def test_the_bank_moves_at_right_angles_to_its_vectors() -> None:
    query, positives, bank = material()
    gradient = bank_gradient(played(query, positives, bank), bank)
    assert ((gradient * bank.detach()).sum(dim=1) / bank.detach().norm(dim=1)).abs().max() < 1e-12


def test_what_is_reported_is_seen() -> None:
    query, positives, bank = material()
    game, cosines = played(query, positives, bank), cosine(query, bank).detach()
    own = cosines[torch.arange(len(query)), positives[0]]
    torch.testing.assert_close(game.positive_cosine, own.mean())
    torch.testing.assert_close(game.hardest_cosine, cosines.amax(dim=1).mean())
    shares = (cosines / ENCODER).softmax(dim=1)[torch.arange(len(query)), positives[0]]
    torch.testing.assert_close(game.positive_mass, shares.mean())


def test_summed_weighs_losses_and_averages_what_was_seen() -> None:
    query, positives, bank = material()
    games = [played(query, positives, bank), played(query + 1, positives, bank)]
    loss, bank_loss, seen = summed([(0.5, games[0]), (2.0, games[1])])
    torch.testing.assert_close(loss, 0.5 * games[0].loss + 2 * games[1].loss)
    torch.testing.assert_close(bank_loss, 0.5 * games[0].bank_loss + 2 * games[1].bank_loss)
    assert seen.keys() == {"bank/hardest_cosine", "bank/positive_cosine", "bank/positive_mass"}
    torch.testing.assert_close(
        seen["bank/positive_mass"], (games[0].positive_mass + games[1].positive_mass) / 2
    )


def test_a_corrected_game_is_the_debiased_loss_against_all_entries_but_the_positive() -> None:
    query, positives, bank = material()
    game = shared_bank_game(
        query, positives, bank, temperature=ENCODER, bank_temperature=BANK, tau_plus=0.02
    )
    cosines, rows = cosine(query, bank), torch.arange(len(query))
    positive = cosines[rows, positives[0]]
    is_other = torch.ones_like(cosines, dtype=torch.bool)
    is_other[rows, positives[0]] = False
    negative = cosines[is_other].view(len(query), -1)
    for found, temperature in ((game.loss, ENCODER), (game.bank_loss, BANK)):
        expected = hcl(positive, negative, beta=0.0, tau_plus=0.02, temperature=temperature)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    loss = hcl(positive, negative, beta=0.0, tau_plus=0.02, temperature=BANK)
    through = torch.autograd.grad(loss, (positive, negative), retain_graph=True)
    roles = positive @ through[0] - (negative * through[1]).sum()
    expected = torch.autograd.grad(roles, bank)[0]
    torch.testing.assert_close(bank_gradient(game, bank), expected, rtol=1e-9, atol=1e-12)
