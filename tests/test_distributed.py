"""Rows of one process beside those of all: which are whose, with and without gradient."""

import pytest
import torch
from torch import Tensor

from sparring import distributed
from sparring.distributed import JointRows
from sparring.errors import ConfigError, LostProcessError
from sparring.rendezvous import own_gpu


def rows(count: int = 3, *, seed: int = 0) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """This process is the second of two; the first one holds the rows that are returned."""
    first = rows(seed=9)
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "gather", lambda own: torch.cat([first, own.detach()]))
    monkeypatch.setattr(
        distributed, "gather_with_gradient", lambda own: torch.cat([first.to(own), own])
    )
    return first


def test_alone_the_joint_rows_are_the_own_ones() -> None:
    own = rows().requires_grad_()
    found = distributed.joint(own)
    assert torch.equal(found.own, own)
    assert torch.equal(found.everyone, own)
    assert found.first == 0
    assert not found.own.requires_grad
    assert not found.everyone.requires_grad


def test_of_two_the_second_holds_the_rows_after_the_firsts(second_of_two: Tensor) -> None:
    own = rows()
    found = distributed.joint(own)
    assert torch.equal(found.everyone, torch.cat([second_of_two, own]))
    assert found.positions().tolist() == [3, 4, 5]
    assert torch.equal(found.everyone[found.positions()], own)


def test_numbers_are_joined_as_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "gather", lambda own: torch.cat([own - 4, own]))
    found = distributed.joint(torch.tensor([4, 5, 6, 7]))
    assert found.everyone.tolist() == list(range(8))
    assert found.positions().tolist() == [4, 5, 6, 7]


def test_with_gradient_both_the_own_rows_and_everyones_keep_it(second_of_two: Tensor) -> None:
    own = rows().requires_grad_()
    found = distributed.joint_with_gradient(own)
    assert found.own is own
    assert torch.autograd.grad(found.everyone.sum(), own)[0].sum() == own.numel()
    assert found.first == 3
    assert not distributed.joint(own).everyone.requires_grad


def test_stacked_parts_keep_whose_rows_are_whose(second_of_two: Tensor) -> None:
    views = [rows(seed=seed) for seed in (0, 1)]
    found = distributed.stacked([distributed.joint(view) for view in views])
    assert found.own.shape == (2, 3, 2)
    assert found.everyone.shape == (2, 6, 2)
    assert torch.equal(found.everyone[:, found.positions()], torch.stack(views))


def test_positions_are_those_of_rows_whatever_stands_before_them() -> None:
    everyone = torch.zeros(2, 5, 3)
    assert JointRows(everyone[:, 2:4], everyone, first=2).positions().tolist() == [2, 3]


def test_the_shares_of_all_processes_are_the_joint_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    joint = torch.arange(6)
    assert torch.equal(distributed.own_share(joint), joint)
    monkeypatch.setattr(distributed, "num_processes", lambda: 3)
    shares, numbers = [], []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.own_share(joint))
        numbers.append(distributed.own_rows(2))
    assert [share.tolist() for share in shares] == [[0, 1], [2, 3], [4, 5]]
    assert all(torch.equal(*pair) for pair in zip(shares, numbers, strict=True))


def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for rank in range(2):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert own_gpu(2) == own_gpu(4) == rank


@pytest.mark.parametrize("rank", ["0", "1"])
def test_more_processes_than_gpus_are_refused_on_all_in_one_line(
    monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes on a machine with 1 visible GPU: each"):
        own_gpu(1)
    with pytest.raises(ConfigError, match="cuda:1 is one GPU, and each process needs one"):
        own_gpu(2, wanted="1")


def test_an_exchange_that_fails_says_so_and_running_out_of_memory_stays_that() -> None:
    with (
        pytest.raises(LostProcessError, match="between the processes failed: closed by peer"),
        distributed._exchange(),
    ):
        raise RuntimeError("closed by peer\nand where")
    with pytest.raises(torch.OutOfMemoryError), distributed._exchange():
        raise torch.OutOfMemoryError("too large")


def test_a_single_process_finds_its_own_values() -> None:
    assert distributed.Largest(3, 5).result() == [3, 5]
    assert distributed.everyones("rows") == ["rows"]
    assert distributed.share({"seed": 1}) == {"seed": 1}
