"""Matching of the classes of two sets by name."""

import pytest

from sparring.data.classes import canonical, listed, match_classes
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
