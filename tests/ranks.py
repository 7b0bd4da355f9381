"""A function on several processes of this machine, which form a group over gloo."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 120


def on_ranks(function: Callable[[Path], Any], count: int, folder: Path) -> list[Any]:
    """What a function gives on each of several processes, by rank.

    Args:
        function: function of a module, given the folder; what it gives is saved by PyTorch.
        count: number of processes.
        folder: empty folder that they share.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sparring.contract.processes"])
    workers = [
        context.Process(target=_work, args=(function, rank, count, folder)) for rank in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(SECONDS)
    codes = [worker.exitcode for worker in workers]
    for worker in workers:
        worker.kill()
    assert codes == [0] * count
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(count)]


def _work(function: Callable[[Path], Any], rank: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    torch.save(function(folder), folder / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
