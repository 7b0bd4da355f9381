"""The kNN protocol: which neighbours vote, and what its result says of it."""

import numpy as np
import pytest
from pixel_encoder import SIZE, Pixels, coloured

from sparring.evaluation.catalogue import choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.protocol import Result, evaluate


def knn(train: tuple[np.ndarray, np.ndarray], **settings: int) -> Result:
    """Result on 40 test images of two classes."""
    data = EvaluationData(train, coloured(40, 1, classes=2), image_size=SIZE)
    chosen = choose("knn", {"knn": settings} if settings else None)
    return evaluate([EvaluatedEncoder("trained", Pixels())], data, chosen)["trained"]["knn"]


def unequal(large: int, small: int) -> tuple[np.ndarray, np.ndarray]:
    """A large and a small class."""
    images, labels = coloured(2 * large, 0, classes=2)
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels)[:small]]))
    return images[chosen], labels[chosen]


def test_the_smallest_class_sets_the_number_of_neighbours_and_the_result_says_so() -> None:
    found = knn(unequal(90, 30))
    assert found["num_neighbors"] == 30
    assert "30 neighbours vote, not the usual 200" in found["note"]
    assert "the smallest class has 30 training images" in found["note"]


def test_a_number_that_is_set_is_capped_by_the_training_images_only() -> None:
    for given, used in ((50, 50), (200, 120)):
        found = knn(unequal(90, 30), num_neighbors=given)
        assert found["num_neighbors"] == used
        assert "note" not in found


def test_large_classes_keep_the_usual_number_without_a_note() -> None:
    found = knn(coloured(500, 0, classes=2))
    assert found["num_neighbors"] == 200
    assert "note" not in found


@pytest.mark.parametrize("per_class", [1, 4])
def test_few_images_in_equal_classes_all_vote(per_class: int) -> None:
    assert knn(coloured(2 * per_class, 0, classes=2))["num_neighbors"] == 2 * per_class


def test_the_interval_holds_the_accuracy() -> None:
    found = knn(coloured(60, 0, classes=2))
    low, high = found["interval"]
    assert low < found["accuracy"] < high or found["accuracy"] in (0, 1)
    assert high - low > 0.1  # of 40 test images
