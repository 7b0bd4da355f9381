"""Live bytes of tensors equal counts by hand."""

import torch
from torch import Tensor, nn

from sparring.planning.live_tensors import LiveTensorBytes

ROWS, BYTES = 1000, 4


def test_a_chain_holds_its_inputs_and_outputs_until_nothing_refers_to_them() -> None:
    with LiveTensorBytes() as live:
        first = torch.ones(ROWS)
        assert live.now == ROWS * BYTES
        second = first * 2
        assert live.now == 2 * ROWS * BYTES
        del first
        assert live.now == ROWS * BYTES
        third = second + 1
        del second, third
    assert (live.now, live.peak) == (0, 2 * ROWS * BYTES)


def test_views_and_changes_in_place_are_counted_once() -> None:
    with LiveTensorBytes() as live:
        matrix = torch.zeros(10, 100)
        rows = matrix[2:4]
        rows.add_(1)
        matrix.t().reshape(-1)  # a copy, gone at once
        assert live.now == ROWS * BYTES
        del matrix
        assert live.now == ROWS * BYTES, "the view keeps the whole storage"
    del rows
    assert live.now == 0


def test_what_was_made_before_counts_as_soon_as_it_is_used() -> None:
    before = torch.ones(ROWS, dtype=torch.float64)
    with LiveTensorBytes() as live:
        total = before.sum()
        assert live.now == ROWS * 8 + 8
    assert total == ROWS


def test_what_autograd_saves_lives_until_the_backward_pass() -> None:
    def chain(values: Tensor) -> Tensor:
        return values.exp().exp().exp()  # each saves its own output

    start = torch.zeros(ROWS)
    with LiveTensorBytes() as live:
        with torch.no_grad():
            found = chain(start)
        assert live.now == 2 * ROWS * BYTES
        assert live.peak == 3 * ROWS * BYTES
        del found
        weight = start.requires_grad_()
        found = chain(weight)
        assert live.now == 4 * ROWS * BYTES
        torch.autograd.grad(found.sum(), weight)
        assert live.now == 2 * ROWS * BYTES


def test_a_linear_layer_by_hand() -> None:
    batch, wide, narrow = 32, 64, 16
    layer, images = nn.Linear(wide, narrow, bias=False), torch.zeros(batch, wide)
    weights, inputs, outputs = wide * narrow * BYTES, batch * wide * BYTES, batch * narrow * BYTES
    with LiveTensorBytes() as live:
        loss = layer(images).relu().sum()  # the result of the product is gone, relu saves its own
        assert live.now == weights + inputs + outputs + BYTES
        assert live.peak == weights + inputs + 2 * outputs
        loss.backward()
        assert (
            live.now == 2 * weights + inputs + BYTES
        )  # weights and their gradient, images, the loss
        del loss
    layer.zero_grad()
    assert live.now == weights + inputs
