"""The start of several processes: how they meet, and which GPU each of them takes."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore  # mypy sees no others

from sparring.errors import ConfigError


def meet(device: str, *, timeout: timedelta) -> None:
    """Form the default group of all processes.

    Args:
        device: device of the run by its name in the settings.
        timeout: longest wait for an exchange.

    Raises:
        ConfigError: if a process has no GPU of its own.
    """
    kind, _, number = device.partition(":")
    if torch.cuda.is_available() and kind in ("auto", "cuda"):
        own = own_gpu(torch.cuda.device_count(), wanted=number)
        torch.cuda.set_device(own)
        _form_group("cpu:gloo,cuda:nccl", timeout, torch.device("cuda", own))
    else:
        _form_group("gloo", timeout, None)


def _form_group(backend: str, timeout: timedelta, device: torch.device | None) -> None:
    """Form the group. Under `torchrun` the keys of each restart have a beginning of their
    own: PyTorch 2.11 keeps those of the processes that have ended, and waits for them."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True):
        dist.init_process_group(backend, timeout=timeout, device_id=device)
        return
    dist.init_process_group(
        backend,
        timeout=timeout,
        device_id=device,
        store=PrefixStore("meeting", connect(timedelta(minutes=5))),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )


def connect(timeout: timedelta) -> Store:
    """New connection to the store by which processes meet, with keys for this restart alone.

    Args:
        timeout: longest wait for an answer.
    """
    place, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(place, port, is_master=False, wait_for_workers=False, timeout=timeout)
    return PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def own_gpu(num_gpus: int, *, wanted: str = "") -> int:
    """Number of this process's GPU.

    Args:
        num_gpus: number of GPUs that are visible to it.
        wanted: number that the settings give for all processes; empty: none.

    Raises:
        ConfigError: on all processes of a machine with more of them than GPUs, or if they are all
            to take the same one.
    """
    if wanted:
        raise ConfigError(
            f"training.device=cuda:{wanted} is one GPU, and each process needs one of its own; "
            "use cuda or auto"
        )
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    num_here = max(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), rank + 1)
    if num_here > num_gpus:
        raise ConfigError(
            f"{num_here} processes on a machine with {num_gpus} visible "
            f"GPU{'s' * (num_gpus > 1)}: each needs one of its own; start {num_gpus} "
            f"(torchrun --nproc-per-node {num_gpus}), or train with --device cpu"
        )
    return rank
