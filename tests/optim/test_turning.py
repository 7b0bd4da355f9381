"""A step by a stated angle."""

import math

import pytest
import torch
from torch import Tensor, nn

from sparring.errors import DivergedError
from sparring.optim.finite_check import FiniteCheck, deferred_checks
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.turning import turned


def drawn(seed: int, rows: int = 7, dim: int = 5) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)).double()


def degrees_between(before: Tensor, after: Tensor) -> Tensor:
    cosines = torch.cosine_similarity(before, after, dim=1).clamp(-1, 1)
    return torch.rad2deg(torch.acos(cosines))


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e20])
def test_every_row_turns_by_the_angle_whatever_the_size_of_its_gradient(scale: float) -> None:
    rows = 3 * drawn(0)
    moved = turned(rows, scale * drawn(1), degrees=7.0)
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(7).double())
    torch.testing.assert_close(degrees_between(rows, moved), torch.full((7,), 7.0).double())


def test_rows_turn_against_their_gradient_in_its_plane() -> None:
    row, gradient = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[5.0, -1.0, 0.0]])
    angle = math.radians(30.0)
    wanted = torch.tensor([[math.cos(angle), math.sin(angle), 0.0]])
    torch.testing.assert_close(turned(row, gradient, degrees=30.0), wanted)


def test_a_row_without_a_gradient_across_it_stays() -> None:
    rows = torch.tensor([[0.0, 2.0], [0.6, 0.8]])
    gradients = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    torch.testing.assert_close(
        turned(rows, gradients, degrees=9.0), rows / torch.tensor([[2.0], [1.0]])
    )


def player(module: nn.Module, **settings: object) -> Player:
    return Player("bank", dict(module.named_parameters()), PlayerSettings.build(settings))


def loss_of(module: nn.Linear) -> Tensor:
    return (module.weight @ torch.tensor([1.0, 2.0, 3.0])).sum()


def test_a_player_turns_by_the_angle_whatever_its_optimiser_and_keeps_no_memory() -> None:
    found = []
    for settings in ({"optimizer": "sgd"}, {"optimizer": "adamw", "learning_rate": 9.0}):
        torch.manual_seed(0)
        module = nn.Linear(3, 4, bias=False)
        before, own = module.weight.detach().clone(), player(module, **settings)
        loss = own.turn(loss_of(module), degrees=5.0)
        assert not loss.requires_grad
        assert own.state_dict()["state"] == {}
        angles = degrees_between(before.double(), module.weight.detach().double())
        torch.testing.assert_close(angles, torch.full((4,), 5.0).double(), rtol=1e-4, atol=0)
        assert loss_of(module) < loss * (1 / before.norm(dim=1).mean())
        found.append(module.weight.detach().clone())
    assert torch.equal(*found)


def test_a_loss_that_is_not_finite_turns_nothing() -> None:
    module = nn.Linear(3, 4, bias=False)
    before = module.weight.detach().clone()
    with pytest.raises(DivergedError):
        player(module).turn(loss_of(module) * torch.inf, degrees=5.0)
    assert torch.equal(module.weight, before)


def test_once_a_deferred_check_has_failed_no_turn_moves_anything() -> None:
    module = nn.Linear(3, 4, bias=False)
    with deferred_checks():
        check = FiniteCheck(torch.device("cpu"))
    own = Player("bank", dict(module.named_parameters()), PlayerSettings(), check=check)
    own.turn(loss_of(module), degrees=5.0)
    before = module.weight.detach().clone()
    for factor in (torch.nan, 1.0):
        own.turn(loss_of(module) * factor, degrees=5.0)
        assert torch.equal(module.weight, before)
    error = check.failed()
    assert error is not None
    assert error.player == "bank"
