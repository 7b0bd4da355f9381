"""The queue: first in, first out, and nothing else."""

import pytest
import torch
from torch import Tensor

from sparring.negatives.queue import Queue


def queue(size: int = 7) -> Queue:
    return Queue(size, 3, generator=torch.Generator().manual_seed(0))


def keys(first: int, count: int) -> Tensor:
    """Keys that carry their number."""
    return torch.arange(first, first + count, dtype=torch.float32)[:, None].repeat(1, 3)


def numbers(opponent: Queue) -> list[float]:
    return opponent.keys[:, 0].tolist()


def test_an_empty_queue_holds_random_directions() -> None:
    # 1e-6: rounding of a norm in float32.
    torch.testing.assert_close(queue(50).keys.norm(dim=1), torch.ones(50), rtol=1e-6, atol=0)
    assert queue(50).keys.mean(dim=0).abs().max() < 0.3
    assert torch.equal(queue().keys, queue().keys)


def test_keys_enter_in_order_and_the_oldest_leave_first() -> None:
    opponent = queue()
    seen: list[float] = []
    for first in range(0, 24, 3):
        opponent.enqueue(keys(first, 3))
        seen += [first, first + 1, first + 2]
        present = set(numbers(opponent))
        assert set(seen[-7:]) <= present
    assert sorted(numbers(opponent)) == [17, 18, 19, 20, 21, 22, 23]


def test_a_block_that_passes_the_end_goes_on_at_the_beginning() -> None:
    opponent = queue()
    opponent.enqueue(keys(1, 5))
    opponent.enqueue(keys(6, 4))
    assert numbers(opponent) == [8, 9, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("count", [7, 8, 20])
def test_of_more_keys_than_rows_the_last_are_kept(count: int) -> None:
    opponent = queue()
    opponent.enqueue(keys(1, 2))
    opponent.enqueue(keys(100, count))
    assert sorted(numbers(opponent)) == [100 + count - 7 + i for i in range(7)]
    opponent.enqueue(keys(1000, 3))  # the three oldest leave
    assert sorted(numbers(opponent)) == [100 + count - 4 + i for i in range(4)] + [1000, 1001, 1002]


def test_a_restored_queue_goes_on_at_its_place() -> None:
    whole, restored, forgetful = queue(), queue(), queue()
    whole.enqueue(keys(1, 5))
    restored.load_state_dict(whole.state_dict())
    with torch.no_grad():
        forgetful.keys.copy_(whole.keys)
    for opponent in (whole, restored, forgetful):
        opponent.enqueue(keys(6, 4))
    assert numbers(whole) == numbers(restored) != numbers(forgetful)


def test_a_queue_has_nothing_to_learn() -> None:
    assert not list(queue().parameters())
    assert not queue().keys.requires_grad
