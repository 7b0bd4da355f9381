"""The games of a bank in closed form against their slow twins by autograd, in float64 and float32,
at every size of chunk."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sparring.acceleration import bank_softmax
from sparring.distributed import JointRows
from sparring.objectives.bank_games import (
    BankGame,
    SharedBankGame,
    adversarial_bank_game,
    shared_bank_game,
)
from sparring.objectives.debiased import estimated_negatives
from sparring.objectives.similarity import cosine

Game = BankGame | SharedBankGame


def material() -> tuple[Tensor, Tensor, Tensor]:
    """Queries of the second of two processes, keys of both, and a bank, all close enough that
    nobody's softmax saturates."""
    draw = torch.Generator().manual_seed(0)
    centre = torch.randn(1, 6, dtype=torch.float64, generator=draw)
    query, key, bank = (
        centre + 0.2 * torch.randn(count, 6, dtype=torch.float64, generator=draw)
        for count in (4, 8, 37)
    )
    return query.requires_grad_(), key, (bank * 1.7).requires_grad_()


def adversarial(query: Tensor, key: Tensor, bank: Tensor, **options: Any) -> Game:
    keys = JointRows(key[4:], key, first=4)
    return adversarial_bank_game(
        query, keys, bank, temperature=0.12, bank_temperature=0.02, **options
    )


def shared(query: Tensor, key: Tensor, bank: Tensor, **options: Any) -> Game:
    positives = torch.tensor([[3, 11, 3, 36], [0, 11, 5, 7]])
    return shared_bank_game(
        query, positives, bank, temperature=0.2, bank_temperature=0.1, **options
    )


def values(game: Game, query: Tensor, bank: Tensor) -> dict[str, Tensor]:
    """All that a game says, and the gradient of each player."""
    return {
        **{name: tensor.detach() for name, tensor in vars(game).items()},
        "query gradient": torch.autograd.grad(3 * game.loss, query)[0],
        "bank gradient": torch.autograd.grad(3 * game.bank_loss, bank)[0],
    }


CASES: dict[str, tuple[Callable[..., Game], dict[str, Any]]] = {
    "adversarial": (adversarial, {}),
    "own key only": (adversarial, {"in_batch": False}),
    "bank without keys": (adversarial, {"bank_sees_keys": False}),
    "neither": (adversarial, {"in_batch": False, "bank_sees_keys": False}),
    "shared": (shared, {}),
    "positives move": (shared, {"adversarial": False}),
    "negatives move": (shared, {"cooperative": False}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("chunk", [8, 1024])
# float64: far above rounding over 45 columns, far below any wrong term. float32: rounding of a
# cosine, 6e-8, amplified by 1 / 0.02 in the exponent and by sums of 45 terms.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_every_value_and_both_gradients_are_those_of_autograd(
    case: str, chunk: int, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_softmax, "CHUNK", chunk)
    play, options = CASES[case]
    query, key, bank = (tensor.detach().to(dtype) for tensor in material())
    query.requires_grad_()
    bank.requires_grad_()
    found = {}
    for switch in ("on", "off"):
        monkeypatch.setenv("SPARRING_ACCELERATION", switch)
        found[switch] = values(play(query, key, bank, **options), query, bank)
    assert found["on"].keys() == found["off"].keys()
    for name, plain in found["off"].items():
        size = float(plain.abs().max())
        assert size > 1e-3, f"{name} says nothing"  # a saturated softmax would agree trivially
        torch.testing.assert_close(
            found["on"][name],
            plain,
            rtol=tolerance,
            atol=tolerance * size,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def bank_gradient(game: Game, bank: Tensor) -> Tensor:
    return torch.autograd.grad(game.bank_loss, bank)[0]


def test_a_second_game_before_the_first_is_differentiated_changes_nothing() -> None:
    query, key, bank = material()
    alone = bank_gradient(adversarial(query, key, bank), bank)
    first = adversarial(query, key, bank)
    adversarial(query.flip(1), key, bank.flip(0))  # writes in the working memory of the first
    assert torch.equal(bank_gradient(first, bank), alone)


def spread_material() -> tuple[Tensor, Tensor, Tensor]:
    """As `material`, further apart and with keys at all distances from their queries, so that the
    bound of corrected negatives holds for some queries and not for all."""
    draw = torch.Generator().manual_seed(3)
    centre = torch.randn(1, 6, dtype=torch.float64, generator=draw)
    query, key, bank = (
        centre + torch.randn(count, 6, dtype=torch.float64, generator=draw) for count in (4, 8, 37)
    )
    noise = torch.tensor([[0.0], [0.2], [0.6], [1.0]], dtype=torch.float64)
    near = query + noise * (key[4:] - query)
    return query.requires_grad_(), torch.cat([key[:4], near]), (bank * 1.7).requires_grad_()


@pytest.mark.parametrize("tau_plus", [0.02, 0.1])
def test_the_bound_holds_for_some_queries_of_the_material(tau_plus: float) -> None:
    query, key, bank = spread_material()
    positive, negative = cosine(query, key[4:]).diagonal(), cosine(query, bank)
    estimate, bound = estimated_negatives(
        positive, negative, beta=0.0, tau_plus=tau_plus, temperature=0.12
    )
    assert 0 < (estimate < bound).sum() < 4


@pytest.mark.parametrize(
    "case", [case for case in CASES if case not in ("bank without keys", "neither")]
)
@pytest.mark.parametrize("tau_plus", [0.02, 0.1, torch.tensor(0.05, dtype=torch.float64)])
def test_games_corrected_for_false_negatives_are_those_of_autograd(
    case: str, tau_plus: float | Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    play, options = CASES[case]
    query, key, bank = spread_material()
    found = {}
    for switch in ("on", "off"):
        monkeypatch.setenv("SPARRING_ACCELERATION", switch)
        game = play(query, key, bank, **options, tau_plus=tau_plus)
        found[switch] = values(game, query, bank)
    for name, plain in found["off"].items():
        size = float(plain.abs().max())
        assert size > 1e-3, f"{name} says nothing"
        torch.testing.assert_close(
            found["on"][name], plain, rtol=1e-9, atol=1e-9 * size, msg=f"{name} of {case}"
        )
    uncorrected = values(play(query, key, bank, **options), query, bank)
    for name in ("query gradient", "bank gradient"):
        difference = (found["on"][name] - uncorrected[name]).abs().max()
        assert difference > 0.01 * uncorrected[name].abs().max(), name


@pytest.mark.parametrize("switch", ["on", "off"])
@pytest.mark.parametrize("play", [adversarial, shared])
def test_no_assumed_share_is_the_game_without_one_to_the_bit(
    play: Callable[..., Game], switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_ACCELERATION", switch)
    query, key, bank = material()
    without, with_zero = (
        values(play(query, key, bank, **options), query, bank)
        for options in ({}, {"tau_plus": 0.0})
    )
    assert all(torch.equal(without[name], with_zero[name]) for name in without)
