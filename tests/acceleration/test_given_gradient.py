"""A value with a given gradient passes it on, scaled, once."""

import pytest
import torch

from sparring.acceleration.given_gradient import with_gradient


def test_with_gradient_scales_with_what_stands_around_it() -> None:
    source = torch.zeros(3, requires_grad=True)
    value = with_gradient(torch.tensor(5.0), source, torch.tensor([1.0, 2.0, 3.0]))
    assert value.item() == 5.0
    torch.testing.assert_close(
        torch.autograd.grad(2 * value, source)[0], torch.tensor([2.0, 4.0, 6.0])
    )


def test_with_gradient_refuses_a_second_differentiation_of_what_it_has_scaled() -> None:
    source = torch.zeros(3, requires_grad=True)
    value = with_gradient(torch.tensor(5.0), source, torch.ones(3))
    torch.autograd.grad(2 * value, source, retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(2 * value, source)
