"""The adversarial game of a bank, with and without its fast path, against the objectives without a
bank's player in float64, and the properties that follow from the equations."""

import pytest
import torch
from torch import Tensor

from sparring.distributed import JointRows
from sparring.objectives.bank_games import BankGame, adversarial_bank_game
from sparring.objectives.contrastive import in_batch_info_nce, info_nce
from sparring.objectives.debiased import hcl
from sparring.objectives.similarity import cosine

ENCODER, BANK = 0.12, 0.02


@pytest.fixture(params=["on", "off"], ids=["closed form", "autograd"], autouse=True)
def acceleration(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds for both ways to compute the game."""
    monkeypatch.setenv("SPARRING_ACCELERATION", request.param)


def material(num_vectors: int = 37) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of the second of two processes, keys of both, and a bank, all close enough that
    nobody's softmax saturates."""
    draw = torch.Generator().manual_seed(0)
    centre = torch.randn(1, 6, dtype=torch.float64, generator=draw)
    query, key, bank = (
        centre + 0.2 * torch.randn(count, 6, dtype=torch.float64, generator=draw)
        for count in (4, 8, num_vectors)
    )
    return query.requires_grad_(), key, (bank * 1.7).requires_grad_()


def of_second(key: Tensor) -> JointRows:
    """Keys of both processes, as the second one holds them."""
    return JointRows(key[4:], key, first=4)


def oracle(
    query: Tensor, key: Tensor, bank: Tensor, temperature: float, *, in_batch: bool
) -> Tensor:
    if in_batch:
        return in_batch_info_nce(query, of_second(key), bank, temperature=temperature)
    return info_nce(query, key[4:], bank, temperature=temperature)


def game(query: Tensor, key: Tensor, bank: Tensor, *, in_batch: bool = True) -> BankGame:
    return adversarial_bank_game(
        query,
        of_second(key),
        bank,
        temperature=ENCODER,
        bank_temperature=BANK,
        in_batch=in_batch,
    )


def bank_gradient(query: Tensor, key: Tensor, bank: Tensor) -> Tensor:
    return torch.autograd.grad(game(query, key, bank).bank_loss, bank)[0]


@pytest.mark.parametrize("in_batch", [True, False])
def test_both_losses_and_both_gradients_equal_autograd(
    in_batch: bool,
) -> None:
    query, key, bank = material()
    played = game(query, key, bank, in_batch=in_batch)
    loss, bank_loss = (
        oracle(query, key, bank, ENCODER, in_batch=in_batch),
        -oracle(query, key, bank, BANK, in_batch=in_batch),
    )
    # 1e-9 is far above float64's rounding over 45 columns and far below any wrong term.
    torch.testing.assert_close(played.loss, loss, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(played.bank_loss, bank_loss, rtol=1e-9, atol=1e-12)
    for fused, plain, source in ((played.loss, loss, query), (played.bank_loss, bank_loss, bank)):
        expected = torch.autograd.grad(plain, source)[0]
        assert expected.abs().max() > 1e-3  # a saturated softmax would agree trivially
        torch.testing.assert_close(
            torch.autograd.grad(fused, source)[0], expected, rtol=1e-9, atol=1e-12
        )


def test_each_side_gets_the_gradient_of_its_own_loss_only() -> None:
    query, key, bank = material()
    played = game(query, key, bank)
    assert torch.autograd.grad(played.loss, bank, allow_unused=True)[0] is None
    assert torch.autograd.grad(played.bank_loss, query, allow_unused=True)[0] is None


def test_the_bank_moves_at_right_angles_to_its_vectors() -> None:
    query, key, bank = material()
    gradient = bank_gradient(query, key, bank)
    radial = (gradient * bank.detach()).sum(dim=1) / (
        gradient.norm(dim=1) * bank.detach().norm(dim=1)
    )
    assert radial.abs().max() < 1e-9


def test_a_step_of_the_bank_raises_the_loss_more_than_a_random_step_of_equal_size() -> None:
    query, key, bank = material()
    gradient = bank_gradient(query, key, bank)
    before = oracle(query, key, bank, ENCODER, in_batch=True)

    def rise(direction: Tensor) -> Tensor:
        step = 0.01 * direction / direction.norm()
        return oracle(query, key, bank.detach() + step, ENCODER, in_batch=True) - before

    draw = torch.Generator().manual_seed(1)
    random = [rise(torch.randn(bank.shape, dtype=torch.float64, generator=draw)) for _ in range(50)]
    assert rise(-gradient) > 0
    assert rise(-gradient) > 2 * max(random)


def test_the_in_batch_keys_take_their_share_of_the_banks_probability() -> None:
    query, key, bank = material()
    with_keys, without = game(query, key, bank), game(query, key, bank, in_batch=False)
    assert with_keys.bank_mass < without.bank_mass
    torch.testing.assert_close(
        with_keys.hardest_cosine, cosine(query, bank).amax(dim=1).mean().detach()
    )
    columns = torch.cat([cosine(query, key), cosine(query, bank)], dim=1) / BANK
    torch.testing.assert_close(
        with_keys.bank_mass, columns.softmax(dim=1)[:, len(key) :].sum(dim=1).mean().detach()
    )


def blind_game(query: Tensor, key: Tensor, bank: Tensor, *, in_batch: bool = True) -> BankGame:
    """As `game`, with a bank that does not see the keys."""
    return adversarial_bank_game(
        query,
        of_second(key),
        bank,
        temperature=ENCODER,
        bank_temperature=BANK,
        in_batch=in_batch,
        bank_sees_keys=False,
    )


@pytest.mark.parametrize("in_batch", [True, False])
def test_a_bank_that_sees_no_keys_climbs_the_log_sum_over_its_own_vectors(
    in_batch: bool,
) -> None:
    query, key, bank = material()
    played = blind_game(query, key, bank, in_batch=in_batch)
    plain = -torch.logsumexp(cosine(query.detach(), bank) / BANK, dim=1).mean()
    expected = torch.autograd.grad(plain, bank)[0]
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(
        torch.autograd.grad(played.bank_loss, bank)[0], expected, rtol=1e-9, atol=1e-12
    )
    # The value differs by the cosine of the own key, which is not the bank's to change.
    own = (cosine(query, key[4:]).diagonal() / BANK).mean()
    torch.testing.assert_close(
        played.bank_loss, (plain + own).detach(), rtol=1e-9, atol=1e-12, check_stride=False
    )


def test_a_bank_that_sees_no_keys_shares_out_all_its_probability() -> None:
    query, key, bank = material()
    torch.testing.assert_close(
        blind_game(query, key, bank).bank_mass,
        torch.tensor(1.0, dtype=torch.float64),
        rtol=1e-12,
        atol=0,
    )
    assert game(query, key, bank).bank_mass < 0.99


def test_what_the_bank_sees_does_not_concern_the_encoder() -> None:
    query, key, bank = material()
    seeing, blind = game(query, key, bank), blind_game(query, key, bank)
    for name in ("loss", "mass", "key_mass", "hardest_cosine"):
        assert torch.equal(getattr(seeing, name), getattr(blind, name))
    assert torch.equal(*(torch.autograd.grad(played.loss, query)[0] for played in (seeing, blind)))


def test_a_bank_that_sees_no_keys_is_drawn_to_queries_whose_keys_have_won() -> None:
    draw = torch.Generator().manual_seed(0)
    query, bank = (
        torch.randn(count, 20, dtype=torch.float64, generator=draw).requires_grad_()
        for count in (4, 37)
    )
    won = torch.cat(
        [query.detach()] * 2
    )  # every key coincides with its query, and the bank is far from both
    seeing, blind = (
        torch.autograd.grad(play(query, won, bank).bank_loss, bank)[0].norm()
        for play in (game, blind_game)
    )
    assert blind > 10 * seeing


def test_float32_agrees_with_float64_at_the_sharpest_temperature() -> None:
    query, key, bank = material()
    exact = bank_gradient(query, key, bank)
    rough = bank_gradient(
        *(tensor.detach().float().requires_grad_() for tensor in (query, key, bank))
    )
    # exp amplifies rounding of a cosine (6e-8) by 1 / 0.02; sums of 45 terms add little.
    torch.testing.assert_close(
        rough.double(), exact, rtol=1e-3, atol=1e-5 * float(exact.abs().max())
    )


def test_far_away_banks_give_finite_losses_and_no_gradient() -> None:
    query = torch.ones(2, 3, requires_grad=True)
    bank = (-torch.ones(5, 3)).requires_grad_()
    played = adversarial_bank_game(
        query, torch.ones(2, 3), bank, temperature=ENCODER, bank_temperature=0.002
    )
    assert played.bank_loss.isfinite()
    assert torch.autograd.grad(played.bank_loss, bank)[0].abs().max() == 0


def corrected_game(query: Tensor, key: Tensor, bank: Tensor, **options: bool) -> BankGame:
    """As `game`, corrected for 5 % of false negatives, at temperatures between which the bound
    holds for some queries."""
    return adversarial_bank_game(
        query,
        of_second(key),
        bank,
        temperature=0.3,
        bank_temperature=0.1,
        tau_plus=0.05,
        **options,
    )


@pytest.mark.parametrize("in_batch", [True, False])
def test_both_players_of_a_corrected_game_share_the_debiased_loss(in_batch: bool) -> None:
    query, key, bank = material()
    key = torch.cat([key[:4], query.detach() + 0.3 * key[4:] - 0.3 * query.detach()])
    played = corrected_game(query, key, bank, in_batch=in_batch)
    cosines = cosine(query, key), cosine(query, bank)
    positive, is_own = cosines[0][:, 4:].diagonal(), torch.eye(4, 8).roll(4, dims=1).bool()
    others = cosines[0][~is_own].view(4, 7) if in_batch else cosines[0][:, :0]
    negative = torch.cat([others, cosines[1]], dim=1)
    for found, temperature, sign, source in (
        (played.loss, 0.3, 1, query),
        (played.bank_loss, 0.1, -1, bank),
    ):
        plain = sign * hcl(positive, negative, beta=0.0, tau_plus=0.05, temperature=temperature)
        torch.testing.assert_close(found, plain, rtol=1e-9, atol=1e-12)
        expected = torch.autograd.grad(plain, source, retain_graph=True)[0]
        if source is query:
            # Keys are without gradient, as a teacher's.
            assert expected.abs().max() > 1e-3
        torch.testing.assert_close(
            torch.autograd.grad(found, source)[0], expected, rtol=1e-9, atol=1e-12
        )


def test_a_bank_below_the_bound_has_no_gradient() -> None:
    query, _, bank = material()
    won, far = torch.cat([query.detach()] * 2), -bank.detach()
    far.requires_grad_()
    for vectors, is_bounded in ((bank, False), (far, True)):
        played = adversarial_bank_game(
            query,
            of_second(won),
            vectors,
            temperature=ENCODER,
            bank_temperature=0.5,
            in_batch=False,
            tau_plus=0.1,
        )
        gradient = torch.autograd.grad(played.bank_loss, vectors)[0]
        assert (gradient.abs().max() == 0) == is_bounded


def test_the_metrics_of_a_corrected_game_are_those_of_the_plain_softmax() -> None:
    query, key, bank = material()
    corrected = corrected_game(query, key, bank)
    plain = adversarial_bank_game(
        query, of_second(key), bank, temperature=0.3, bank_temperature=0.1
    )
    assert corrected.loss != plain.loss
    for name in ("hardest_cosine", "mass", "bank_mass", "key_mass"):
        torch.testing.assert_close(
            getattr(corrected, name), getattr(plain, name), rtol=1e-12, atol=0
        )


def test_a_corrected_bank_that_sees_no_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="leave out tau_plus or bank_sees_keys=False"):
        corrected_game(*material(), bank_sees_keys=False)
