"""Fields of annotation files: what has one meaning is read, everything else is refused."""

from collections.abc import Callable

import pytest

from sparring.data.sources.fields import field, identifier, in_order, mark, number, shown
from sparring.errors import DataError


@pytest.mark.parametrize("value", [3, 3.0, "3", " 3.0 "])
def test_a_number_may_be_a_text(value: object) -> None:
    assert number(value) == 3.0


@pytest.mark.parametrize("value", [None, ""])
def test_null_is_no_number_and_no_mark(value: object) -> None:
    assert number(value) is None
    assert mark(value) is False


@pytest.mark.parametrize(
    ("read", "value"),
    [
        *((number, value) for value in (True, "x", [], {}, float("nan"), float("inf"), 10**400)),
        (number, "1e999"),
        *((mark, value) for value in ("perhaps", 2, [], -1, float("nan"))),
        *((identifier, value) for value in (None, True, "", [1], {}, 1.5, float("nan"))),
    ],
)
def test_what_has_no_single_meaning_is_refused_with_file_and_field(
    read: Callable[[object], object], value: object
) -> None:
    with pytest.raises(
        DataError, match=r"^a\.json: image 7 has 'width' .*; it must be a?"
    ) as error:
        field(read, value, where="a.json: image 7", key="width")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_ids_are_compared_as_texts() -> None:
    assert {identifier(value) for value in (7, 7.0, "7", " 7 ")} == {"7"}
    assert identifier("07") != identifier(7)


def test_ids_are_ordered_by_value_before_texts() -> None:
    assert in_order(["b", "-1", "10", "9", "9" * 5000]) == ["-1", "9", "10", "9" * 5000, "b"]


def test_values_in_messages_are_short() -> None:
    nested: list[object] = []
    for _ in range(500):
        nested = [nested]
    for value in (10**5000, nested, "x" * 10_000, ["x" * 10_000] * 50):
        assert len(shown(value)) < 500
