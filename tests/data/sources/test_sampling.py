"""Estimates from a sample of headers."""

import numpy as np
import pytest

from sparring.data.sources.arrays import Arrays
from sparring.data.sources.image_source import Source
from sparring.data.sources.sampling import suited_size, typical_size
from sparring.data.sources.source import open_source
from sparring.errors import DataError


class Varied(Source):
    """Many images; records every row that is read."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes, self.seen = sizes, set[int]()

    def __len__(self) -> int:
        return len(self.sizes)

    def key(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> bytes | np.ndarray:
        self.seen.add(index)
        height, width = self.sizes[index]
        return np.zeros((height, width), np.uint8) if height else b""

    def fingerprint(self) -> str:
        return "varied"


def test_the_typical_size_is_the_median_of_the_longer_sides() -> None:
    assert typical_size(Arrays(np.zeros((3, 20, 30), np.uint8))) == 30
    assert typical_size(Varied([(40, 10), (20, 20), (5, 90)])) == 40


def test_a_sample_is_spread_over_the_whole_source_and_small() -> None:
    source = Varied([(8, 8)] * 100_000)
    typical_size(source)
    assert len(source.seen) == 64
    assert (min(source.seen), max(source.seen)) == (0, 99_999)


def test_unreadable_images_do_not_count() -> None:
    assert typical_size(Varied([(0, 0), (8, 8), (0, 0)])) == 8


def test_a_source_of_garbage_is_refused_with_an_example() -> None:
    with pytest.raises(
        DataError, match=r"none of the 3 images looked at can be read, such as 0 \(empty file\)"
    ):
        typical_size(Varied([(0, 0)] * 3))


@pytest.mark.parametrize(
    ("pixels", "size"), [(1, 32), (28, 32), (32, 32), (50, 64), (100, 96), (240, 224), (4000, 224)]
)
def test_the_suited_size_is_the_nearest_usual_one(pixels: int, size: int) -> None:
    assert suited_size(pixels) == size


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "size"), [("cifar10-test", 32), ("pacs-96px", 96), ("bccd-320x240-val", 224)]
)
def test_shared_sets_get_their_usual_size(shared_data: object, name: str, size: int) -> None:
    assert suited_size(typical_size(open_source(f"{shared_data}/{name}.parquet"))) == size
