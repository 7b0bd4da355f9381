"""Training batches of a stream: in its shuffled order, divided among processes, read ahead.

A joint batch is the next `batch_size` images of the epoch, of which each process takes its part, as
in `Loader`. Where the number of shards is a multiple of the number of processes, each process reads
shards of its own and takes its part of the batch from these; otherwise every process reads all
shards, and decodes its part alone.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeAlias

import torch
from torch import Tensor

from sparring import distributed
from sparring.data.batch_memory import empty_images
from sparring.data.dataset import Dataset
from sparring.data.decode import centre_square
from sparring.data.loader import (
    AHEAD,
    Batch,
    Crop,
    Draw,
    Loader,
    Parameters,
    device_setter,
    random_crop,
    require_batch,
)
from sparring.data.streams.stream import Record
from sparring.data.streams.stream_order import epoch_records
from sparring.data.streams.streamed_dataset import StreamedDataset
from sparring.errors import DataError
from sparring.seeding import generator


class StreamLoader:
    """Batches of a stream, epoch by epoch.

    An unreadable image is counted, and another image of its batch stands in its place, so that the
    place of every image depends on the stream alone. An epoch from a later step on is read from its
    start, and decoded from that step.

    Args:
        dataset: images.
        batch_size: images per step over all processes.
        seed: seed of the run.
        crops: crop settings per view, if views are cropped from whole images.
        draw: draws the parameters of the views; called ahead of the step.

    Raises:
        ConfigError: as `Loader`.
    """

    def __init__(
        self,
        dataset: StreamedDataset,
        *,
        batch_size: int,
        seed: int,
        crops: Sequence[Crop] | None = None,
        draw: Draw | None = None,
    ) -> None:
        require_batch(batch_size, len(dataset))
        self.steps_per_epoch = len(dataset) // batch_size
        self._dataset, self._batch_size, self._seed = dataset, batch_size, seed
        self._crops = tuple(crops or ()) if dataset.is_cropped else ()
        self._draw: Draw = draw or (lambda step: ())
        self._told: set[str] = set()

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from a step on; independent of earlier calls."""
        if first_step:
            self._tell(
                f"{self._dataset.stream.name}: the first {first_step * self._batch_size:,} images "
                f"of epoch {epoch} are read again, without decoding them, to go on where the run "
                "stopped"
            )
        parts = self._parts(epoch, first_step)
        workers = ThreadPoolExecutor(self._dataset.workers, "sparring-loader", device_setter())
        reader = ThreadPoolExecutor(1, "sparring-reader", device_setter())
        pending: deque[Future[_Pending]] = deque()
        try:
            for step in range(first_step, self.steps_per_epoch):
                pending.append(reader.submit(self._start, workers, parts, epoch, step))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()()
            while pending:
                yield pending.popleft().result()()
        finally:
            workers.shutdown(wait=False, cancel_futures=True)
            reader.shutdown(wait=True, cancel_futures=True)
            parts.close()  # its files and connections

    def _parts(self, epoch: int, first_step: int) -> Generator[list[Record], None, None]:
        """This process's images of each step of an epoch from a step on."""
        (rank, processes), dataset = distributed.shard(), self._dataset
        is_divided = dataset.stream.num_shards % processes == 0
        own = self._batch_size // processes
        count, first = (own, 0) if is_divided else (self._batch_size, rank * own)
        records = epoch_records(
            dataset.stream,
            seed=self._seed,
            epoch=epoch,
            buffer=dataset.buffer,
            shard=(rank, processes) if is_divided else (0, 1),
            ended=self._tell_end,
        )
        try:
            for step in range(self.steps_per_epoch):
                found = list(islice(records, count))
                if step >= first_step:
                    yield found[first : first + own]
        finally:
            records.close()

    def _start(
        self, pool: ThreadPoolExecutor, parts: Iterator[list[Record]], epoch: int, step: int
    ) -> "_Pending":
        """A batch whose images have been read and are being decoded."""
        records = next(parts)
        drawn = pool.submit(self._draw, epoch * self.steps_per_epoch + step)
        images = self._empty(len(records))
        numbers = [
            pool.submit(self._fill, images, place, record, epoch)
            for place, record in enumerate(records)
        ]
        return lambda: self._batch(images, [each.result() for each in numbers], drawn.result())

    def _empty(self, num_images: int) -> list[Tensor]:
        """Memory for a batch: of each view if they are cropped, else of squares."""
        dataset = self._dataset
        channels = dataset.form.channels
        if not self._crops:
            return [empty_images(num_images, dataset.kept_size, channels=channels)]
        sizes = [crop.size or dataset.size for crop in self._crops]
        return [
            empty_images(num_images, size, channels=channels, order=torch.channels_last)
            for size in sizes
        ]

    def _fill(self, images: Sequence[Tensor], place: int, record: Record, epoch: int) -> int | None:
        """Write the crops of one image, or its square, to their place in the batch, and return its
        number; None if it cannot be read."""
        image = self._dataset.decoded(record)
        if image is None:
            return None
        if not self._crops:
            images[0][place] = centre_square(image, images[0].shape[-1])
        for view, crop in enumerate(self._crops):
            draw = generator(self._seed, "crop", epoch, record.number, view)
            images[view][place] = random_crop(image, crop, size=images[view].shape[-1], draw=draw)
        return record.number

    def _batch(
        self, images: list[Tensor], numbers: list[int | None], parameters: Parameters
    ) -> Batch:
        """Batch in which the next readable image stands in the place of an unreadable one."""
        readable = [place for place, number in enumerate(numbers) if number is not None]
        if not readable:
            key, reason = self._dataset.quarantine[-1]
            raise DataError(
                f"no image of a batch can be read, such as {key} ({reason}); repair the images or "
                "leave them out"
            )
        for place, number in enumerate(numbers):
            if number is None:
                other = next((later for later in readable if later > place), readable[0])
                numbers[place] = numbers[other]
                for part in images:
                    part[place] = part[other]
        return Batch(images, torch.tensor(numbers), parameters)

    def _tell_end(self, found: int) -> None:
        processes = distributed.num_processes()
        self._tell(
            f"{self._dataset.stream.name} ended after {found:,} images"
            f"{' of this process' * (processes > 1)}, and an epoch has {len(self._dataset):,} "
            "(data.num_images): it begins again, so some images come twice in an epoch"
        )

    def _tell(self, line: str) -> None:
        """Report a line once."""
        if line not in self._told:
            self._told.add(line)
            self._dataset.report(line)


_Pending: TypeAlias = Callable[[], Batch]
"""Waits for a batch being loaded and returns it."""


def make_loader(
    dataset: Dataset, *, batch_size: int, seed: int, crops: Sequence[Crop] | None, draw: Draw
) -> Loader | StreamLoader:
    """Loader that suits a data set; see `Loader` for the arguments."""
    if isinstance(dataset, StreamedDataset):
        return StreamLoader(dataset, batch_size=batch_size, seed=seed, crops=crops, draw=draw)
    return Loader(dataset, batch_size=batch_size, seed=seed, crops=crops, draw=draw)
