"""Feed of a run: each step's images on the device, and the parameters of their views.

The parameters are drawn ahead by the loader's threads: they depend on the seed and the number of
the step alone. On CUDA nothing here waits for the device.

* Images that live on the device (`data.store`) are gathered there by their indices.
* Others stream: the loader fills pinned memory, and batches are copied on a stream of their own,
  `AHEAD` batches before their step. PyTorch's allocator of pinned memory gives a block to another
  tensor only when the copies from it are done, so a batch may be forgotten as soon as its copy is
  asked for.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from sparring import distributed
from sparring.data.batch_memory import uses_cuda
from sparring.data.dataset import Dataset, StoredDataset
from sparring.data.loader import Batch, Parameters
from sparring.data.streams.stream_loader import make_loader
from sparring.data.views import static_views
from sparring.data.views.views import Views
from sparring.errors import ConfigError
from sparring.machine_memory import available_bytes
from sparring.models.view import View, as_views
from sparring.seeding import generator
from sparring.training.devices import free_device_bytes
from sparring.training.settings import RunConfig

AHEAD = 2
"""Batches on their way to the device beyond the one in use."""
RESIDENT_SHARE = 0.25
"""Share of the device's memory, free once the networks are there, that images may take with
`data.store=auto`. Batches need the rest; a set of 50,000 images of 32 px takes 147 MiB."""


@dataclass(frozen=True, eq=False)
class FedStep:
    """What one step needs of the data.

    Attributes:
        images: the batch on the device, shared by all views, or one per view, already cropped.
        parameters: random parameters of each view, on the CPU, or packed and on the device.
        indices: number in the data set of each image, on the CPU.
    """

    images: Sequence[UInt8[Tensor, "batch bands size size"]]
    parameters: Parameters
    indices: Int[Tensor, "batch"]

    @property
    def whole_images(self) -> UInt8[Tensor, "batch bands size size"] | None:
        """The batch before augmentation; None where views were cropped from files."""
        return self.images[0] if len(self.images) == 1 else None

    def first(self, rows: int) -> "FedStep":
        """The step with its first images alone."""
        parameters = self.parameters
        return FedStep(
            [images[:rows] for images in self.images],
            parameters[:, :rows]
            if isinstance(parameters, Tensor)
            else [each.rows(slice(rows)) for each in parameters],
            self.indices[:rows],
        )

    def views(self, augment: Views) -> list[View]:
        """Views of the images."""
        shared = self.whole_images
        return as_views(augment.make(self.images if shared is None else shared, self.parameters))


class Feed:
    """Steps of a run on its device, epoch by epoch, from any step on.

    Args:
        config: configuration of the run.
        dataset: training images.
        views: augmentation.
        device: device of the run.
        is_packed: whether the parameters of the views go to the device packed, in one copy; None:
            where views take their static form.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        views: Views,
        *,
        device: torch.device,
        is_packed: bool | None = None,
    ) -> None:
        self._seed, self._dataset, self._views, self._device = config.seed, dataset, views, device
        self._is_packed = static_views.is_chosen(device) if is_packed is None else is_packed
        self._rows = config.training.batch_size // distributed.num_processes()
        self.loader = make_loader(
            dataset,
            batch_size=config.training.batch_size,
            seed=config.seed,
            crops=views.recipes,
            draw=self._drawn,
        )
        place_images(dataset, config.data.store, device)
        is_streamed = device.type == "cuda" and self._resident is None
        self._copies = DeviceCopies(device) if is_streamed else None

    def steps(self, epoch: int, first_step: int = 0) -> Iterator[FedStep]:
        """Steps of an epoch from a step on; independent of earlier calls."""
        batches = self.loader.batches(epoch, first_step)
        if self._copies is not None:
            yield from self._copies.streamed(batches)
            return
        for batch in batches:
            yield FedStep(
                self._on_device(batch), sent(batch.parameters, self._device), batch.indices
            )

    @property
    def resident_bytes(self) -> int:
        """Size of the images that live on the device; 0 if they are streamed."""
        return 0 if self._resident is None else self._resident.nbytes

    @property
    def _resident(self) -> Tensor | None:
        return self._dataset.resident if isinstance(self._dataset, StoredDataset) else None

    def _on_device(self, batch: Batch) -> list[Tensor]:
        if self._resident is None:
            return [images.to(self._device) for images in batch.images]
        indices = batch.indices.to(self._resident.device, non_blocking=True)
        return [self._resident.index_select(0, indices)]

    def _drawn(self, step: int) -> Parameters:
        side = self._dataset.kept_size
        drawn = self._views.draw(
            self._rows,
            side,
            side,
            generator=generator(self._seed, "views", step),
            shard=distributed.shard(),
            is_cropped=self._dataset.is_cropped,
        )
        if not self._is_packed:
            return drawn
        packed = torch.stack([each.packed() for each in drawn])
        return packed.pin_memory() if uses_cuda() else packed


def sent(parameters: Parameters, device: torch.device) -> Parameters:
    """Parameters on the device if they are packed; the copy is waited for by the device alone."""
    if isinstance(parameters, Tensor):
        return parameters.to(device, non_blocking=True)
    return parameters


class DeviceCopies:
    """Copies of batches from pinned memory to a CUDA device, on a stream of their own.

    Args:
        device: CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def streamed(self, batches: Iterator[Batch]) -> Iterator[FedStep]:
        """The batches on the device, each copied while the steps before it compute."""
        sent: deque[tuple[FedStep, torch.cuda.Event]] = deque()
        for batch in batches:
            sent.append(self._sent(batch))
            if len(sent) > AHEAD:
                yield self._arrived(*sent.popleft())
        while sent:
            yield self._arrived(*sent.popleft())

    def _sent(self, batch: Batch) -> tuple[FedStep, torch.cuda.Event]:
        """A batch whose copy has been asked for, and the event of its arrival."""
        with torch.cuda.stream(self._stream):
            images = [part.to(self._device, non_blocking=True) for part in batch.images]
            parameters = sent(batch.parameters, self._device)
        return FedStep(images, parameters, batch.indices), self._stream.record_event()

    def _arrived(self, step: FedStep, event: torch.cuda.Event) -> FedStep:
        """A batch that the step's own stream may use: it waits for the copy, and the memory is not
        given to another copy before that stream is done with it."""
        current = torch.cuda.current_stream(self._device)
        current.wait_event(event)
        packed = [step.parameters] if isinstance(step.parameters, Tensor) else []
        for part in (*step.images, *packed):
            part.record_stream(current)
        return step


def place_images(dataset: Dataset, store: str, device: torch.device) -> None:
    """Move decoded images to the training device where `data.store` says so.

    Args:
        dataset: training images; a set whose images are decoded from files stays as it is.
        store: value of `data.store`.
        device: device of the run, with its networks.

    Raises:
        ConfigError: if `device` is asked for and the images do not fit.
    """
    if not isinstance(dataset, StoredDataset) or dataset.resident is not None:
        return
    free = free_device_bytes(device)
    if store == "device":
        room = available_bytes() if free is None else free
        if dataset.num_bytes > room:
            raise ConfigError(
                f"data.store=device: the {len(dataset):,} decoded images take "
                f"{dataset.num_bytes / 1e9:.1f} GB, and {room / 1e9:.1f} GB are free on {device}; "
                "set data.store=disk, or data.limit"
            )
        dataset.move_to(device)
    elif free is not None and moves_to_device(store, dataset.num_bytes, free=free):
        dataset.move_to(device)


def moves_to_device(store: str, num_bytes: int, *, free: int) -> bool:
    """Whether a run's decoded images are moved to its CUDA device.

    Args:
        store: value of `data.store`.
        num_bytes: size of the images.
        free: bytes free on the device once the networks are there.
    """
    return store == "device" or (store == "auto" and num_bytes <= RESIDENT_SHARE * free)
