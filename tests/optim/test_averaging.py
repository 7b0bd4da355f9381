"""Gradients averaged in the backward pass: the same as afterwards, in an order that is fixed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from averaged_updates import gradients_both_ways, loss_of, network, updated
from torch import Tensor, nn

from ranks import on_ranks
from sparring import distributed
from sparring.optim import averaging
from sparring.optim.averaging import averaged_gradients, buckets


@pytest.fixture
def exchanged(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, ...]]]:
    """Shapes of each exchange in turn; this process is one of two, and the other one holds the
    same."""
    found: list[list[tuple[int, ...]]] = []

    class Mean:
        def __init__(self, tensors: Sequence[Tensor]) -> None:
            found.append([tuple(tensor.shape) for tensor in tensors])

        def write(self) -> None:
            """The mean of two equal values."""

    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    monkeypatch.setattr(distributed, "gather", lambda rows: torch.cat([rows, rows]).detach())
    monkeypatch.setattr(
        distributed, "gather_with_gradient", lambda rows: torch.cat([rows, rows.detach()])
    )
    monkeypatch.setattr(distributed, "Mean", Mean)
    return found


def test_buckets_go_from_the_last_parameter_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(averaging, "BUCKET_BYTES", 40)
    sizes = [torch.zeros(count) for count in (3, 8, 3, 12, 1)]
    assert buckets(sizes) == [[4, 3], [2, 1], [0]]
    mixed = [torch.zeros(1), torch.zeros(1, dtype=torch.float64), torch.zeros(1)]
    assert buckets(mixed) == [[2], [1], [0]]


def test_exchanges_start_in_one_order_whatever_is_ready_first(
    exchanged: list[list[tuple[int, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(averaging, "BUCKET_BYTES", 1)
    early, late = nn.Linear(1, 2), nn.Linear(2, 3)
    rows = torch.ones(1, 1)
    averaged_gradients(late(early(rows)).sum(), [*early.parameters(), *late.parameters()])
    assert exchanged == [[(3,), ()], [(3, 2)], [(2,)], [(2, 1)]]
    exchanged.clear()
    averaged_gradients(late(early(rows)).sum(), [*late.parameters(), *early.parameters()])
    assert exchanged == [[(2,), ()], [(2, 1)], [(3,)], [(3, 2)]]


def test_they_are_autograds_and_an_unused_parameters_is_zero(
    exchanged: list[list[tuple[int, ...]]],
) -> None:
    ours, plain = network(), network()
    found, mean = averaged_gradients(loss_of(ours, 0), list(ours.parameters()))
    loss = loss_of(plain, 0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(mean, loss)
    for gradient, (name, parameter) in zip(found, plain.named_parameters(), strict=True):
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert torch.equal(gradient, expected)
        assert name.startswith("unused") == (not gradient.any())
    assert len(exchanged) == 1


def test_no_gradient_is_touched_and_no_hook_stays(
    exchanged: list[list[tuple[int, ...]]],
) -> None:
    ours, other = network(), nn.Linear(1, 1)
    kept = torch.ones_like(ours.last.bias)
    ours.last.bias.grad = kept
    averaged_gradients(other(loss_of(ours, 0).view(1)).sum(), list(ours.parameters()))
    assert ours.last.bias.grad is kept
    assert torch.equal(kept, torch.ones(2))
    rest = [*other.parameters(), *ours.first.parameters(), *ours.unused.parameters()]
    assert all(parameter.grad is None for parameter in rest)
    num_before = len(exchanged)
    loss_of(ours, 0).backward()  # type: ignore[no-untyped-call]
    assert len(exchanged) == num_before


def test_a_loss_of_another_type_is_averaged_too(exchanged: list[list[tuple[int, ...]]]) -> None:
    ours = network()
    averaged_gradients(loss_of(ours, 0).double(), list(ours.parameters()))
    assert exchanged[-1] == [()]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_on_several_processes_they_are_the_same_and_a_resumed_run_repeats_them(
    count: int, tmp_path: Path
) -> None:
    for kind in ("gradients", "updates"):
        (tmp_path / kind).mkdir()
    ranks = on_ranks(gradients_both_ways, count, tmp_path / "gradients")
    for found in ranks:
        assert all(map(torch.equal, found["found"], ranks[0]["found"]))
        # Sums of more than two numbers depend on their order, by the rounding of float32.
        torch.testing.assert_close(found["found"], found["expected"], rtol=1e-6, atol=1e-7)
        assert count > 2 or all(map(torch.equal, found["found"], found["expected"]))
        assert found["left"] == [None] * len(found["left"])
        assert found["other"][0].unique().tolist() == [7.0]
        assert found["other"][1] is None
    ends = on_ranks(updated, count, tmp_path / "updates")
    for end in ends:
        for name, value in ends[0]["whole"].items():
            assert torch.equal(end["whole"][name], value)
            assert torch.equal(end["broken"][name], value)
            assert name.startswith("unused") or not torch.equal(value, network().state_dict()[name])
