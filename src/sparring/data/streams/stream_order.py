"""Order of a stream's images in an epoch: shards in random order, then a shuffle buffer.

All draws follow from (seed, epoch), so that an epoch can be read again up to any of its images.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, count

import numpy as np
import torch

from sparring.data.streams.stream import Record, Stream
from sparring.errors import DataError
from sparring.seeding import generator

FIRST_HELD = 256
"""Images in the buffer before the first one leaves it, so that the first step need not wait for
all of them."""
BUFFER_BYTES = 2**29
"""Most bytes of encoded images in a shuffle buffer, whatever its number of images."""
DRAWN_AT_ONCE = 1024
"""Random numbers that are drawn together, which is faster than one by one."""


def epoch_records(
    stream: Stream,
    *,
    seed: int,
    epoch: int,
    buffer: int,
    shard: tuple[int, int],
    ended: Callable[[int], None],
) -> Generator[Record, None, None]:
    """Images of an epoch in their order, without an end: the stream begins again where it ends.

    Args:
        stream: images.
        seed: seed of the run.
        epoch: number of the epoch.
        buffer: most images in the shuffle buffer; 1: none are shuffled.
        shard: number of this reader, and of readers among which the shards are divided.
        ended: called with the number of images that this reader found when the stream ends.

    Raises:
        DataError: if a reader's shards hold no image.
    """
    reader, readers = shard
    for again in count():
        draw = generator(seed, "shards", epoch, again)
        shards = torch.randperm(stream.num_shards, generator=draw)[reader::readers].tolist()
        records = chain.from_iterable(stream.records(number) for number in shards)
        draws = generator(seed, "shuffle buffer", epoch, again, *(shard if readers > 1 else ()))
        found = 0
        for record in shuffled(records, buffer, draws):
            found += 1
            yield record
        if not found:
            raise DataError(f"{stream.name} holds no image; give a set with images")
        ended(found)


def shuffled(records: Iterable[Record], buffer: int, draws: torch.Generator) -> Iterator[Record]:
    """Records in the order in which they leave a buffer at random.

    The buffer grows by one image for each that leaves it, until it holds the given number or
    `BUFFER_BYTES`.

    Args:
        records: in their stored order.
        buffer: most records in the buffer.
        draws: source of the order.
    """
    held: list[Record] = []
    held_bytes, shares = 0, _shares(draws)

    def drawn() -> Record:
        """A record taken out of the buffer at random."""
        nonlocal held_bytes
        place = int(next(shares) * len(held))
        held[place], held[-1] = held[-1], held[place]
        held_bytes -= _size(held[-1])
        return held.pop()

    is_waiting = True
    for number, record in enumerate(records):
        held.append(record)
        held_bytes += _size(record)
        is_full = len(held) >= buffer or held_bytes >= BUFFER_BYTES
        is_waiting = is_waiting and not is_full and len(held) < FIRST_HELD
        if is_full or (not is_waiting and number % 2):
            yield drawn()
    while held:
        yield drawn()


def _shares(draws: torch.Generator) -> Iterator[float]:
    """Uniform draws from [0, 1), made many at once."""
    while True:
        yield from torch.rand(DRAWN_AT_ONCE, dtype=torch.float64, generator=draws).tolist()


def _size(record: Record) -> int:
    content = record.content
    return content.nbytes if isinstance(content, np.ndarray) else len(content)
