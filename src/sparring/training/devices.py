"""Choice of a run's device and precision, and memory of a device.

The CPU is tested. CUDA and MPS follow PyTorch's documentation and are untested unless docs/log says
otherwise.
"""

import gc
import os

import torch

from sparring import distributed
from sparring.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Device by name; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: if the device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", distributed.local_rank())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"training.device={name} cannot be used here: {reason}; use auto or cpu"
        ) from None
    return device


def device_note(device: torch.device) -> str | None:
    """Line about operations that the device lacks; None for devices that lack none."""
    if device.type != "mps":
        return None
    if os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1":
        return "operations that MPS lacks are computed on the CPU, which is slower"
    return (
        "an operation that MPS lacks stops this run; with PYTORCH_ENABLE_MPS_FALLBACK=1, set "
        "before torch is imported, the CPU computes it"
    )


def choose_autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """Autocast type of the encoder's forward pass; None: full precision."""
    if precision == "auto":
        usable = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if usable else None
    return torch.bfloat16 if precision == "bfloat16" else None


def convert_batch_norm(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Convert a module's batch norms to ones over the joint batch of all processes.

    Raises:
        ConfigError: on devices other than CUDA, where PyTorch has no such layer.
    """
    if device.type != "cuda":
        raise ConfigError("training.sync_batch_norm=true needs CUDA devices; leave it out here")
    converted: torch.nn.Module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def free_device_bytes(device: torch.device) -> int | None:
    """Free memory of a CUDA device, after this process's context is created; None for a device
    without memory of its own."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[0])


def usable_device_bytes(device: torch.device) -> int | None:
    """Memory of a CUDA device that this process holds or could get; None for a device without
    memory of its own."""
    free = free_device_bytes(device)
    return None if free is None else free + int(torch.cuda.memory_reserved(device))


def restart_device_peak(device: torch.device) -> None:
    """Give unused memory of a CUDA device back, and start its peak anew."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_device_bytes(device: torch.device) -> int | None:
    """Peak memory that PyTorch has reserved on a CUDA device, fragments included; None for a device
    without memory of its own."""
    return int(torch.cuda.max_memory_reserved(device)) if device.type == "cuda" else None
