"""Training batches: shuffled by (seed, epoch), sharded, prefetched, resumable at any step."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeAlias

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sparring import distributed
from sparring.data.batch_memory import empty_images, uses_cuda
from sparring.data.dataset import Dataset, FileDataset, StoredDataset
from sparring.data.decode import centre_square, resized_crop
from sparring.data.views.view_parameters import ViewParameters, crop_box
from sparring.errors import ConfigError
from sparring.seeding import generator

AHEAD = 2
"""Batches prefetched beyond the one in use."""


class Crop(Protocol):
    """Crop settings of a view: the part of `ViewSettings` that applies to whole images."""

    @property
    def size(self) -> int | None: ...
    @property
    def crop_scale(self) -> tuple[float, float]: ...
    @property
    def crop_ratio(self) -> tuple[float, float]: ...


Parameters: TypeAlias = Sequence[ViewParameters] | Float[Tensor, "views batch columns"]
"""Random parameters of the views of one step, one per view, or all of them packed."""
Draw: TypeAlias = Callable[[int], Parameters]
"""Draws the parameters of the views of a step, whose number in the run is given."""


@dataclass(frozen=True, eq=False)
class Batch:
    """This process's share of the images of one step.

    Attributes:
        images: one tensor shared by all views, or one per view, already cropped; none if the images
            are on a device, where they are gathered by the indices.
        indices: index of each image in the data set; for an unreadable file, that of its
            replacement.
        parameters: random parameters of the views, as the loader's `draw` gives them.
    """

    images: list[UInt8[Tensor, "batch bands size size"]]
    indices: Int[Tensor, "batch"]
    parameters: Parameters = ()


class Loader:
    """Batches of a data set, epoch by epoch.

    The last images of an epoch that do not fill a batch are left out.

    Args:
        dataset: images.
        batch_size: images per step over all processes.
        seed: seed of the run.
        crops: crop settings per view for a `FileDataset`; None: one central square. Images of a
            `StoredDataset` are cropped by the views.
        draw: draws the parameters of the views; called in a thread of the loader, ahead of the
            step. None: no parameters.

    Raises:
        ConfigError: if the batch is larger than the set or does not divide among the processes.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int,
        crops: Sequence[Crop] | None = None,
        draw: Draw | None = None,
    ) -> None:
        require_batch(batch_size, len(dataset))
        self.steps_per_epoch = len(dataset) // batch_size
        self._dataset, self._batch_size, self._seed, self._crops = dataset, batch_size, seed, crops
        self._draw: Draw = draw or (lambda step: ())
        self._workers = dataset.workers if isinstance(dataset, FileDataset) else 1

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from a step on; independent of earlier calls."""
        order = torch.randperm(len(self._dataset), generator=generator(self._seed, "order", epoch))
        with ThreadPoolExecutor(self._workers, "sparring-loader", device_setter()) as pool:
            pending: deque[_Pending] = deque()
            try:
                for step in range(first_step, self.steps_per_epoch):
                    rows = self._own_rows(order, step)
                    pending.append(self._start(pool, epoch, step, rows))
                    if len(pending) > AHEAD:
                        yield pending.popleft()()
                while pending:
                    yield pending.popleft()()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _own_rows(self, order: Tensor, step: int) -> Tensor:
        joint = order[step * self._batch_size : (step + 1) * self._batch_size]
        return joint.chunk(distributed.num_processes())[distributed.rank()]

    def _start(self, pool: ThreadPoolExecutor, epoch: int, step: int, rows: Tensor) -> "_Pending":
        number = epoch * self.steps_per_epoch + step
        if isinstance(self._dataset, FileDataset):
            drawn = pool.submit(self._draw, number)
            pending = self._start_crops(pool, self._dataset, self._crops or (), epoch, rows)
            return lambda: replace(pending(), parameters=drawn.result())
        return pool.submit(self._decoded, rows, number).result

    def _decoded(self, rows: Tensor, number: int) -> Batch:
        """Batch of decoded images, or of their indices alone if the images are on a device."""
        parameters = self._draw(number)
        if isinstance(self._dataset, StoredDataset) and self._dataset.resident is not None:
            return Batch([], rows.pin_memory() if uses_cuda() else rows, parameters)
        return Batch([self._dataset.batch(rows)], rows, parameters)

    def _start_crops(
        self,
        pool: ThreadPoolExecutor,
        dataset: FileDataset,
        crops: Sequence[Crop],
        epoch: int,
        rows: Tensor,
    ) -> "_Pending":
        sizes = [crop.size or dataset.size for crop in crops] or [dataset.size]
        images = [
            empty_images(len(rows), size, channels=dataset.form.channels, order=torch.channels_last)
            for size in sizes
        ]

        def fill(place: int, index: int) -> int:
            """Write the crops of one image to their place in the batch, and return the index
            used."""
            image, used = dataset.image(index)
            if not crops:
                images[0][place] = centre_square(image, dataset.size)
            for view, crop in enumerate(crops):
                draw = generator(self._seed, "crop", epoch, index, view)
                images[view][place] = random_crop(image, crop, size=sizes[view], draw=draw)
            return used

        used = [pool.submit(fill, place, index) for place, index in enumerate(rows.tolist())]
        return lambda: Batch(images, torch.tensor([future.result() for future in used]))


def require_batch(batch_size: int, num_images: int) -> None:
    """Refuse a batch that the images do not fill, or that does not divide among the processes.

    Raises:
        ConfigError: with the batch size, and what would do.
    """
    processes = distributed.num_processes()
    if batch_size < 1 or batch_size % processes:
        raise ConfigError(
            f"batch_size {batch_size} does not divide among {processes} processes; choose "
            "a multiple"
        )
    if batch_size > num_images:
        advice = "set it to that or less" if num_images > 1 else "training needs at least two"
        raise ConfigError(
            f"batch_size {batch_size:,} is larger than the data set of {num_images:,} "
            f"image{'s' * (num_images > 1)}; {advice}"
        )


_Pending: TypeAlias = Callable[[], Batch]
"""Waits for a batch being loaded and returns it."""


def random_crop(
    image: UInt8[Tensor, "bands height width"], crop: Crop, *, size: int, draw: torch.Generator
) -> UInt8[Tensor, "bands size size"]:
    """Random part of an image, resized to a square."""
    height, width = image.shape[-2:]
    return resized_crop(
        image,
        crop_box(height, width, scale=crop.crop_scale, ratio=crop.crop_ratio, generator=draw),
        size=size,
    )


def device_setter() -> Callable[[], None] | None:
    """Thread initialiser that sets the CUDA device.

    Pinned memory belongs to a device, and new threads start at device 0.
    """
    return partial(torch.cuda.set_device, torch.cuda.current_device()) if uses_cuda() else None
