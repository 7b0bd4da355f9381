"""Losses of a generator and its judge at values worked out by hand."""

import pytest
import torch

from sparring.opponents.generator_pair.realism_losses import judge_hinge, realism_loss


def test_the_hinge_by_hand() -> None:
    real, made = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0])
    assert float(judge_hinge(real, made)) == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1) / 2)


def test_an_undecided_judge_pays_two_and_a_swapped_one_more() -> None:
    real, made = torch.full((3,), 4.0), torch.full((5,), -4.0)
    assert float(judge_hinge(torch.zeros(3), torch.zeros(5))) == 2
    assert float(judge_hinge(real, made)) == 0
    assert float(judge_hinge(made, real)) == 10


def test_the_hinge_stops_at_its_margin() -> None:
    real, made = (
        torch.tensor([1.5, 0.5], requires_grad=True),
        torch.tensor([-1.5, -0.5, 7.0, -9.0], requires_grad=True),
    )
    for_real, for_made = torch.autograd.grad(judge_hinge(real, made), (real, made))
    assert for_real.tolist() == [0, -0.5]
    assert for_made.tolist() == [0, 0.25, 0.25, 0]


def test_the_generators_loss_is_linear_and_has_no_margin() -> None:
    made = torch.tensor([-3.0, 0.0, 50.0, 1.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(realism_loss(made), made)
    assert gradient.tolist() == [-0.25] * 4
    assert float(realism_loss(made.detach())) == -12
    assert float(realism_loss(2 * made.detach() + 1)) == -25
