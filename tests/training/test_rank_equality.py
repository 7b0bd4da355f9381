"""Equality of what processes hold: every kind of value counts, and a difference stops them all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from parted_ranks import ends_of_parted_ranks
from torch import Tensor

import games
from ranks import on_ranks
from sparring import distributed
from sparring.errors import TrainingError
from sparring.training.rank_equality import require_equal_ranks, sums


def swapped(value: Tensor) -> Tensor:
    return value[torch.randperm(len(value), generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value + 1e-6 * (torch.arange(value.numel()).view_as(value) == 5),
        lambda value: -value,
        swapped,
        lambda value: swapped(value.T).T,
        lambda value: value.flip(0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
def test_every_change_of_a_matrix_changes_its_sum(
    change: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    draws = torch.Generator().manual_seed(0)
    value = (10 * torch.randn(6, 5, generator=draws)).abs().to(dtype) + 1
    other = change(value).to(dtype)
    assert torch.equal(value, other) == (weighted(value) == weighted(other))


def weighted(value: Tensor) -> int:
    from sparring.training.rank_equality import _sum

    return int(_sum(value))


@pytest.mark.parametrize("method", games.METHODS)
def test_sums_cover_all_state_but_the_statistics_of_batch_norms(method: str) -> None:
    game = games.game(method)
    games.play(method, game, step=0)
    found = sums(game)
    assert found == sums(game)
    state = game.method.state_dict()
    own = {name for name in state if "running_" in name or "num_batches" in name}
    assert set(state) - own <= set(found)
    assert not own & set(found)
    assert any(name.startswith("optimiser of encoder, 0, ") for name in found)


def test_processes_that_differ_stop_all_with_names(monkeypatch: pytest.MonkeyPatch) -> None:
    game = games.game("mocov2")
    monkeypatch.setattr(distributed, "num_processes", lambda: 3)

    def everyones(own: dict[str, int]) -> list[dict[str, Any]]:
        name = next(name for name in own if name.startswith("queue"))
        return [own, own, {**own, name: own[name] + 1}]

    monkeypatch.setattr(distributed, "everyones", everyones)
    with pytest.raises(TrainingError, match=r"after step 7 process 2 of 3 holds other .* queue"):
        require_equal_ranks(game, step=7)
    monkeypatch.setattr(distributed, "everyones", lambda own: [own] * 3)
    require_equal_ranks(game, step=7)


@pytest.mark.slow
def test_one_bit_on_one_of_two_processes_stops_both(tmp_path: Path) -> None:
    ends = on_ranks(ends_of_parted_ranks, 2, tmp_path)
    assert ends[0] == ends[1]
    assert ends[0]["step"] == 4
    assert "after step 4 process 1 of 2 holds other values than process 0" in ends[0]["error"]
