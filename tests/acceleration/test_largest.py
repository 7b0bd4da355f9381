"""The folded search finds the entries of `torch.topk`, whatever the shape."""

import pytest
import torch

from sparring.acceleration.largest import falling, largest, largest_by_place, largest_products


@pytest.mark.parametrize("count", [1, 2, 7, 60, 500])
@pytest.mark.parametrize("num_columns", [500, 501, 502, 503, 4096, 5003])
def test_values_and_columns_are_those_of_topk(num_columns: int, count: int) -> None:
    rows = torch.randn(9, num_columns, generator=torch.Generator().manual_seed(num_columns))
    values, columns = falling(*largest(rows, count))
    expected = rows.topk(count, dim=1)
    assert torch.equal(values, expected.values)
    assert torch.equal(columns, expected.indices)  # no two numbers are equal


@pytest.mark.parametrize("direction", [1, -1])
def test_sorted_rows_hide_nothing(direction: int) -> None:
    rows = torch.arange(3000.0)[None] * direction  # all of the largest stand in neighbouring folds
    assert torch.equal(falling(*largest(rows, 40))[0], rows.topk(40, dim=1).values)


def test_among_equals_none_comes_twice() -> None:
    rows = torch.randint(0, 3, (20, 2001), generator=torch.Generator().manual_seed(0)).float()
    values, columns = falling(*largest(rows, 300))
    assert torch.equal(values, rows.topk(300, dim=1).values)
    assert torch.equal(values, rows.gather(1, columns))
    assert all(len(set(row)) == 300 for row in columns.tolist())


def test_rows_full_of_minus_infinity_and_float64_are_searched_too() -> None:
    rows = torch.full((3, 1000), -torch.inf, dtype=torch.float64)
    rows[:, ::100] = 1.0
    values, columns = largest(rows, 15)
    assert (values == 1.0).sum(dim=1).tolist() == [10, 10, 10]
    assert all(len(set(row)) == 15 for row in columns.tolist())


def test_a_column_that_is_no_number_is_found_as_topk_finds_it() -> None:
    rows = torch.randn(2, 900, generator=torch.Generator().manual_seed(0))
    rows[:, 555] = torch.nan
    assert (
        falling(*largest(rows, 3))[1][:, 0].tolist()
        == [555, 555]
        == rows.topk(3, dim=1).indices[:, 0].tolist()
    )


def test_products_are_searched_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    left, right = (
        torch.randn(23, 8, generator=draw).double(),
        torch.randn(700, 8, generator=draw).double(),
    )
    monkeypatch.setattr("sparring.acceleration.largest._BLOCK_ELEMENTS", 5 * 700)
    parts = [falling(*found) for found in largest_products(left, right, 11)]
    assert [len(values) for values, _ in parts] == [5, 5, 5, 5, 3]
    expected = (left @ right.T).topk(11, dim=1)
    torch.testing.assert_close(torch.cat([values for values, _ in parts]), expected.values)
    assert torch.equal(torch.cat([columns for _, columns in parts]), expected.indices)
    assert list(largest_products(left[:0], right, 11)) == []


@pytest.mark.parametrize("count", [1, 7, 300])
def test_of_equal_values_the_first_columns_are_taken(count: int) -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randint(-3, 3, (20, 500), generator=draw).float() * 0.1
    rows[:, ::7] *= -1  # minus zero is zero
    values, columns = largest_by_place(rows, count)
    expected = (rows + 0.0).sort(dim=1, descending=True, stable=True)
    assert torch.equal(values, expected.values[:, :count])
    assert torch.equal(columns, expected.indices[:, :count])
