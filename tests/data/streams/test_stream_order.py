"""Order of a stream: by (seed, epoch) alone, each image once, in little memory."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparring.data.streams import stream_order
from sparring.data.streams.stream import FirstImages, Limited, Record, Stream
from sparring.data.streams.stream_order import epoch_records, shuffled
from sparring.errors import DataError
from sparring.seeding import generator


class Counted(Stream):
    """Stream of shards of given sizes, whose images are their numbers as text.

    Args:
        sizes: number of images of each shard.
        faults: numbers of the openings that fail after two images.
    """

    def __init__(self, *sizes: int, faults: tuple[int, ...] = ()) -> None:
        self.name, self._sizes, self.num_shards = "counted", sizes, len(sizes)
        self.opened: list[int] = []
        self._faults = faults

    def shard_name(self, shard: int) -> str:
        return f"shard {shard}"

    def fingerprint(self) -> str:
        return str(self._sizes)

    def _records(self, shard: int) -> Iterator[Record]:
        self.opened.append(shard)
        fails = len(self.opened) - 1 in self._faults
        for row in range(self._sizes[shard]):
            if fails and row == 2:
                raise OSError(5, "Input/output error")
            yield Record(shard, row, f"{shard}/{row}", f"{shard}/{row}".encode(), row % 3)


def order(stream: Stream, count: int, **changed: Any) -> list[int]:
    given = {"seed": 0, "epoch": 0, "buffer": 4, "shard": (0, 1), "ended": lambda found: None}
    return [record.number for record in islice(epoch_records(stream, **given | changed), count)]


def test_an_epoch_has_each_image_once_in_an_order_of_its_own() -> None:
    first, again = order(Counted(5, 7, 4), 16), order(Counted(5, 7, 4), 16)
    assert first == again
    assert len(set(first)) == 16
    second = order(Counted(5, 7, 4), 16, epoch=1)
    assert sorted(second) == sorted(first)
    assert second != first
    assert order(Counted(5, 7, 4), 16, seed=1) != first


def test_shards_divided_among_readers_are_read_once() -> None:
    readers = [order(Counted(5, 5, 5, 5), 10, shard=(reader, 2)) for reader in range(2)]
    assert sorted([*readers[0], *readers[1]]) == sorted(order(Counted(5, 5, 5, 5), 20))
    assert {n >> 32 for n in readers[0]}.isdisjoint({n >> 32 for n in readers[1]})


def test_a_stream_that_ends_begins_again_in_another_order() -> None:
    ends: list[int] = []
    found = order(Counted(3, 3), 12, ended=ends.append)
    assert sorted(found[:6]) == sorted(found[6:])
    assert found[:6] != found[6:]
    assert ends == [6]


def test_an_empty_stream_is_refused() -> None:
    with pytest.raises(DataError, match="counted holds no image"):
        order(Counted(0, 0), 1)


def test_the_buffer_grows_while_images_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_order, "FIRST_HELD", 4)
    taken = 0

    def records() -> Iterator[Record]:
        nonlocal taken
        for record in Counted(100).records(0):
            taken += 1
            yield record

    waits = [
        taken - given for given, _ in enumerate(shuffled(records(), 16, generator(0, "x")), start=1)
    ]
    assert waits[0] in (3, 4)
    assert max(waits) == 15
    assert waits[-1] == 0


def test_the_buffer_holds_no_more_bytes_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_order, "BUFFER_BYTES", 10)  # of records of 3 bytes
    records = Counted(10).records(0)
    leaving = shuffled(records, 10**6, generator(0, "x"))
    next(leaving)
    assert next(records).row == 4


def test_a_shard_that_fails_is_opened_again_and_read_on() -> None:
    stream = Counted(4, faults=(0, 1))
    assert [record.row for record in stream.records(0)] == [0, 1, 2, 3]
    assert stream.opened == [0, 0, 0]


def test_a_shard_that_fails_thrice_ends_the_run() -> None:
    with pytest.raises(DataError, match="shard 0 cannot be read after 2 images: Input/output"):
        list(Counted(4, faults=(0, 1, 2)).records(0))


def test_first_images_come_from_many_shards() -> None:
    first = FirstImages(Counted(10, 1, 10), 6)
    assert [first.key(n) for n in range(6)] == ["0/0", "0/1", "1/0", "2/0", "2/1", "0/2"]
    labels = first.labels()
    assert labels is not None
    assert labels.tolist() == [0, 1, 0, 0, 1, 2]
    assert len(FirstImages(Counted(10, 1, 10), 30).loaded()) == 21


def test_a_limit_takes_the_first_images_of_the_first_shards() -> None:
    limited = Limited(Counted(3, 3, 3), 4)
    assert sorted(order(limited, 4)) == sorted([0, 1, 2, 1 << 32])
    assert set(order(limited, 8)) == {0, 1, 2, 1 << 32}


@pytest.mark.slow
def test_a_million_images_pass_in_constant_memory() -> None:
    held: list[int] = []
    records = epoch_records(
        Counted(*[10_000] * 100), seed=0, epoch=0, buffer=2048, shard=(0, 1), ended=held.append
    )
    sizes = {}
    seen = np.zeros(1_000_000, bool)
    for count, record in enumerate(islice(records, 1_000_000), start=1):
        seen[record.shard * 10_000 + record.row] = True
        if count in (100_000, 1_000_000):
            sizes[count] = resident_bytes()
    assert seen.all()
    assert sizes[1_000_000] - sizes[100_000] < 20 * 2**20


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
