"""The memories that can be read while a run goes on."""

from typing import Protocol

import torch

from sparring.planning.live import LiveBytes
from sparring.planning.memory import peak_bytes, resident_bytes
from sparring.training.devices import peak_device_bytes


class Gauge(Protocol):
    """Reads a memory."""

    def now(self) -> int:
        """Bytes that are taken."""

    def peak(self) -> int:
        """The most so far."""


class ProcessGauge:
    """The memory that decides where a run computes: a CUDA device's, else the process's own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> int:
        """Bytes of the process; of a device nothing is known but its peak."""
        return resident_bytes() if peak_device_bytes(self._device) is None else 0

    def peak(self) -> int:
        """The most so far."""
        on_device = peak_device_bytes(self._device)
        return peak_bytes() if on_device is None else on_device


class TensorGauge:
    """The bytes of tensors that are alive."""

    def __init__(self, live: LiveBytes) -> None:
        self._live = live

    def now(self) -> int:
        """Bytes that are alive."""
        return self._live.now

    def peak(self) -> int:
        """The most so far."""
        return self._live.peak
