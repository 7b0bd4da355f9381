"""Evaluation without a round trip to the host in each step: images on the device, batches read
ahead, and losses that are looked at from time to time."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sparring.errors import TrainingError
from sparring.training.devices import free_device_bytes
from sparring.training.feed import RESIDENT_SHARE
from sparring.transfers import sent

Made = TypeVar("Made")

LOOK_STEPS = 100
"""Steps between two looks at the losses of a training."""
_AHEAD = 2  # pieces of work that are made while the device computes
_ROWS_AT_ONCE = 1024  # of a data set that is brought to the device
_BYTES = 2**30  # that images may take where a device does not tell its free memory


@runtime_checkable
class ImageSet(Protocol):
    """The interface of a data set's pixels that evaluation needs."""

    def __len__(self) -> int: ...

    def images(self, indices: np.ndarray, /) -> UInt8[Tensor, "batch bands size size"]: ...


def made_ahead(make: Callable[[int], Made], count: int, *, device: torch.device) -> Iterator[Made]:
    """Results of `make` for 0 .. count - 1, made by another thread while the device computes; on a
    CPU, which has no time to spare, made when they are asked for."""
    if device.type == "cpu":
        yield from map(make, range(count))
        return
    with ThreadPoolExecutor(1, "sparring-ahead") as pool:
        pending = deque[Future[Made]]()
        try:
            for number in range(count + _AHEAD):
                if number < count:
                    pending.append(pool.submit(make, number))
                if number >= _AHEAD:
                    yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class DeviceImages:
    """Images of a data set on a device, by index.

    Args:
        dataset: square uint8 images by index.
        device: where the images are wanted.
        stays: whether all images are brought to a device other than the CPU once, and stay there,
            if they take at most a quarter of its free memory.
    """

    def __init__(self, dataset: ImageSet, device: torch.device, *, stays: bool) -> None:
        self.device, self._dataset = device, dataset
        self._resident = self._brought() if stays and device.type != "cpu" else None

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def pixels(self) -> int:
        """Pixels of one image."""
        return self._one().shape[-1] ** 2

    def __call__(self, rows: Int[Tensor, "rows"]) -> UInt8[Tensor, "rows bands size size"]:
        """The images of these rows, which are on the CPU, on the device."""
        if self._resident is not None:
            return self._resident.index_select(0, sent(rows, self.device))
        return sent(self._read(rows), self.device)

    def batches(
        self, batches: Sequence[Int[Tensor, "rows"]]
    ) -> Iterator[UInt8[Tensor, "rows bands size size"]]:
        """The images of each batch of rows, read ahead."""
        if self._resident is not None:
            yield from map(self, batches)
            return
        for pixels in made_ahead(
            lambda number: self._read(batches[number]), len(batches), device=self.device
        ):
            yield sent(pixels, self.device)

    def _read(self, rows: Tensor) -> Tensor:
        pixels = self._dataset.images(rows.numpy())
        return pixels.pin_memory() if self.device.type == "cuda" else pixels

    def _one(self) -> Tensor:
        return self._dataset.images(torch.zeros(1, dtype=torch.long).numpy())

    def _brought(self) -> Tensor | None:
        """All images on the device; None if they take too much of its memory."""
        one, count = self._one(), len(self)
        if one.numel() * count > _room(self.device):
            return None
        pixels = torch.empty(count, *one.shape[1:], dtype=torch.uint8, device=self.device)
        for rows in torch.split(torch.arange(count), _ROWS_AT_ONCE):
            pixels[int(rows[0]) : int(rows[-1]) + 1] = sent(self._read(rows), self.device)
        return pixels


def _room(device: torch.device) -> float:
    free = free_device_bytes(device)
    return _BYTES if free is None else RESIDENT_SHARE * free


class Losses:
    """Losses of a training's steps, which stay on the device until they are looked at.

    Args:
        refusal: message for a loss that is not finite, from its step (from 0) and its value.
        look_steps: steps between two looks.
    """

    def __init__(
        self, refusal: Callable[[int, float], str], *, look_steps: int = LOOK_STEPS
    ) -> None:
        self._refusal, self._look_steps = refusal, look_steps
        self._unseen: list[Tensor] = []
        self._values: list[float] = []

    def add(self, loss: Float[Tensor, ""]) -> None:
        """Note down the loss of the next step; every `look_steps` steps all are looked at.

        Raises:
            TrainingError: if one of them is not finite.
        """
        self._unseen.append(loss.detach())
        if len(self._unseen) >= self._look_steps:
            self.values()

    def values(self) -> list[float]:
        """All losses so far.

        Raises:
            TrainingError: if one of them is not finite.
        """
        if self._unseen:
            found = torch.stack(self._unseen)
            if not found.isfinite().all():
                place = int(found.isfinite().logical_not().nonzero()[0])
                raise TrainingError(self._refusal(len(self._values) + place, float(found[place])))
            self._values += found.tolist()
            self._unseen = []
        return self._values
