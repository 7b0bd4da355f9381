"""Outlines are filled as COCO's own tool fills them, or refused; never another shape."""

import numpy as np
import pytest
import torch
from pycocotools import mask as reference

from sparring.data.run_lengths import box_of, check_outline, mask_of, run_lengths_of
from sparring.errors import DataError


def masks(count: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    sizes = draw.integers(1, 90, (count, 2))
    return [
        (draw.random((height, width)) < draw.random()).astype(np.uint8) for height, width in sizes
    ]


def test_compressed_run_lengths_are_those_of_pycocotools() -> None:
    for values in masks(40):
        runs = reference.encode(np.asfortranarray(values))
        height, width = values.shape
        for counts in (runs["counts"], runs["counts"].decode()):
            outline = {"size": [height, width], "counts": counts}
            assert np.array_equal(mask_of(outline, height=height, width=width).numpy(), values)


def test_run_lengths_of_masks_are_read_back() -> None:
    made = torch.rand(3, 17, 29, generator=torch.Generator().manual_seed(0)) < 0.4
    for values, runs in zip(made, run_lengths_of(made), strict=True):
        assert torch.equal(mask_of(runs, height=17, width=29), values)


@pytest.mark.parametrize(
    "outline",
    [
        [[10, 10, 30, 40]],
        [[10, 10, 30, 40], [5, 5, 6, 6, 7, 7]],
        [[5, 5, 5, 5, 5, 5, 5, 5]],
        [[0.1, 0.1, 0.2, 0.2, 0.3, 0.3]],
        [[10, 10, 30, 40, 30]],
        [10, 10, 30, 40],
        [[]],
        [],
        [[10, 10, float("nan"), 40, 5, 5]],
        [[10, 10, float("inf"), 40, 5, 5]],
        [[10, 10, 1e9, 40, 5, 5]],
        [[10, 10, None, 40, 5, 5]],
        {"size": [64, 64], "counts": "\ud800"},
        [{"x": 1}],
        "10 10 30 40",
        {"size": [64, 64]},
        {"size": [64, 64], "counts": [64 * 64 - 1]},
        {"size": [64, 64], "counts": [2**70, 1]},
        {"size": [64, 64], "counts": [1.5, 64 * 64 - 1.5]},
        {"size": [64, 64], "counts": ""},
        {"size": [64, 64], "counts": "o" * 40},
        {"size": [64, 64], "counts": "\u00e9\u00e9"},
        {"size": [10**6, 10**6], "counts": [10**12]},
    ],
)
def test_what_encloses_nothing_or_is_damaged_is_refused_in_one_line(outline: object) -> None:
    for look in (mask_of, check_outline):
        with pytest.raises(DataError) as error:
            look(outline, height=64, width=64)  # type: ignore[operator]
        assert "\n" not in str(error.value)


def test_a_polygon_that_crosses_itself_or_is_not_nested_is_a_polygon() -> None:
    crossing = [0, 0, 20, 20, 20, 0, 0, 20]
    assert mask_of([crossing], height=64, width=64).any()
    flat = mask_of(crossing, height=64, width=64)
    assert torch.equal(flat, mask_of([crossing], height=64, width=64))
    texts = mask_of([[str(value) for value in crossing]], height=64, width=64)
    assert torch.equal(texts, flat)


def test_the_box_of_an_outline_is_where_it_is() -> None:
    assert box_of([[4, 5, 20, 9, 6, 30], [1, 1, 2, 2]]) == (4, 5, 20, 30)
    values = torch.zeros(1, 12, 20, dtype=torch.bool)
    values[0, 3:7, 5:9] = True
    assert box_of(run_lengths_of(values)[0]) == (5, 3, 9, 7)
    assert box_of(None) is box_of([[1, 1]]) is None
    assert box_of(run_lengths_of(values & False)[0]) is None
