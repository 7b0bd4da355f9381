"""Matching of the classes of two sets by name."""

import numpy as np
import pytest

from sparring.data.classes import (
    canonical,
    complete_names,
    joined,
    listed,
    match_classes,
    numbered,
)
from sparring.errors import DataError


def test_classes_are_matched_by_name_and_not_by_their_order() -> None:
    assert match_classes(["cat", "dog"], ["dog", "cat"]).targets == (1, 0)
    assert not match_classes(["cat", "dog"], ["dog", "cat"]).notes


def test_names_are_compared_after_normalisation() -> None:
    assert match_classes(["caf\u00e9", "bar"], ["cafe\u0301 ", "bar"]).targets == (0, 1)
    assert canonical("A\u030a") == "\u00c5"


def test_a_class_that_training_lacks_is_never_predicted_and_told() -> None:
    found = match_classes(["ant", "bee", "cat"], ["bee", "cat", "dog"])
    assert found.targets == (1, 2, 3)
    assert any("'dog'" in note and "errors" in note for note in found.notes)
    assert any("'ant'" in note for note in found.notes)


@pytest.mark.parametrize("scored", [["0", "1"], ["bird", "fish"]])
def test_sets_without_a_common_class_are_refused(scored: list[str]) -> None:
    with pytest.raises(DataError, match=r"no class is in both sets.*'cat', 'dog'.*same names"):
        match_classes(["cat", "dog"], scored)


def test_long_lists_of_names_are_cut() -> None:
    assert listed([str(number) for number in range(9)]).endswith("'4' and 4 more")


@pytest.mark.parametrize(
    ("values", "labels", "names"),
    [
        ([3, None, "5", -4], [3, -1, 5, -1], None),
        (["b", "", None, "a", "b"], [1, -1, -1, 0, 1], ("a", "b")),
        (["01", "1", "10"], [0, 1, 2], ("01", "1", "10")),
        (["1.0", "2", "nan"], [1, 2, -1], None),
        ([1.0, float("nan"), 3.0], [1, -1, 3], None),
        ([True, False], [1, 0], ("False", "True")),
        (["cat", -1, "-1", 3], [1, -1, -1, 0], ("3", "cat")),
        ([b"cat", "cat"], [0, 0], ("cat",)),
        ([2**70, 1], [1, 0], ("1", str(2**70))),
        (["v1.5", "0.5"], [1, 0], ("0.5", "v1.5")),
        (["cafe\u0301", "caf\u00e9 "], [0, 0], ("caf\u00e9",)),
        ([], [], None),
    ],
    ids=str,
)
def test_labels_are_numbered(
    values: list[object], labels: list[int], names: tuple[str, ...] | None
) -> None:
    found, found_names = numbered(values)
    assert found.tolist() == labels
    assert found_names == names


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0.0, 0.5], "the labels hold 0.5, which is neither a class number nor a name"),
        (["1", "0.25"], r"hold 0\.25"),
        (["1e-3", "2"], "hold 1e-3"),
        ([float("inf")], "hold inf"),
        ([[0, 1], [1, 0]], r"hold values of type list, such as \[0, 1\]"),
        ([{"id": 3}], "hold values of type dict"),
    ],
)
def test_values_that_are_no_labels_are_refused(values: list[object], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        numbered(values)


def test_parts_of_a_set_are_joined_by_name() -> None:
    one, two = np.array([0, 1, -1]), np.array([1, 0, 2])
    labels, names = joined([(one, ("cat", "dog")), (two, ("dog", "cat", "eel"))], where=["a", "b"])
    assert names == ("cat", "dog", "eel")
    assert labels.tolist() == [0, 1, -1, 0, 1, 2]


def test_equal_names_keep_their_numbers() -> None:
    labels, names = joined([(np.array([1]), ("b", "a"))] * 2, where=["a", "b"])
    assert (labels.tolist(), names) == ([1, 1], ("b", "a"))


def test_a_part_without_a_known_label_joins_any_other() -> None:
    labels, names = joined([(np.array([-1]), None), (np.array([0]), ("a",))], where=["a", "b"])
    assert (labels.tolist(), names) == ([-1, 0], ("a",))


def test_a_part_of_names_and_one_of_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"b names its classes \('cat'\) and a numbers them"):
        joined([(np.array([0]), None), (np.array([0]), ("cat",))], where=["a", "b"])


def test_labels_beyond_the_names_are_named_by_their_number() -> None:
    assert complete_names(np.array([0, 3]), ("a", "b")) == ("a", "b", "2", "3")
    assert complete_names(np.array([0, 1]), ("a", "b")) == ("a", "b")
    assert complete_names(np.array([0, 10**12]), ("a", "b")) is None
