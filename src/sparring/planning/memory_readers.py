"""Readers of the memory in use while a run goes on."""

from typing import Protocol

import torch

from sparring.machine_memory import peak_bytes, resident_bytes
from sparring.planning.live_tensors import LiveTensorBytes
from sparring.training.devices import peak_device_bytes, restart_device_peak


class MemoryReader(Protocol):
    """Reads how much memory is in use."""

    def now(self) -> int:
        """Bytes in use now."""

    def peak(self) -> int:
        """Largest number of bytes in use so far."""

    def restart(self) -> None:
        """Start the peak anew where the values of an earlier measurement would hide this one's."""


class ProcessMemory:
    """Memory that limits a run: that of its CUDA device, otherwise that of the process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> int:
        """Bytes in use by the process now; 0 on a CUDA device, where only the peak is known."""
        return resident_bytes() if peak_device_bytes(self._device) is None else 0

    def peak(self) -> int:
        """Largest number of bytes in use so far."""
        on_device = peak_device_bytes(self._device)
        return peak_bytes() if on_device is None else on_device

    def restart(self) -> None:
        """Start the peak of a CUDA device anew."""
        restart_device_peak(self._device)


class TensorMemory:
    """Bytes of live tensors, whatever the device."""

    def __init__(self, live: LiveTensorBytes) -> None:
        self._live = live

    def now(self) -> int:
        """Bytes of live tensors now."""
        return self._live.now

    def peak(self) -> int:
        """Largest number of live bytes so far."""
        return self._live.peak

    def restart(self) -> None:
        """Do nothing: each process counts the tensors of one measurement."""
