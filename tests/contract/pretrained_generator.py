"""The generator's pretraining at toy size, by one process and by two."""

import multiprocessing
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from sparring.contract.toy import SIZE, dataset
from sparring.opponents.generator_pair.networks import GeneratorSettings
from sparring.opponents.generator_pair.pretraining import (
    JudgeSettings,
    Pretraining,
    PretrainingSettings,
)


def pretrained() -> dict[str, Tensor]:
    """A generator's moving average and its discriminator after some steps on toy images."""
    settings = PretrainingSettings(steps=3, batch_size=8, discriminator_steps=2)
    size = GeneratorSettings(width=4, latent=8)
    pretraining = Pretraining(size, settings, JudgeSettings(), image_size=SIZE, seed=0)
    for _ in range(settings.steps):
        pretraining.train_step(dataset(32))
    pretraining.settle()
    return {
        name: value
        for name, value in pretraining.state_dict().items()
        if not name.startswith("generator.")
    }


def pretrained_by_two_processes() -> list[dict[str, Tensor]]:
    """What each of two processes ends with."""
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        workers = [context.Process(target=_work, args=(rank, folder)) for rank in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0, 0]
        return [torch.load(Path(folder) / f"rank{rank}.pt") for rank in range(2)]


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    where = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    torch.save(pretrained(), Path(folder) / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
