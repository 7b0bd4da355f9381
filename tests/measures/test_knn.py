"""Nearest neighbours equal scikit-learn's and values by hand, and are invariant where they must
be."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from sparring.acceleration import largest
from sparring.measures.knn import fitting_neighbors, knn_accuracy, knn_predict, nearest


def clouds(count: int, seed: int, *, classes: int = 5, dim: int = 16) -> tuple[Tensor, Tensor]:
    """Overlapping Gaussian clouds, one per class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    return centres[labels] + 1.3 * torch.randn(count, dim, generator=generator), labels


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (20, 0.1), (200, 0.07), (50, 1.0)])
def test_predictions_equal_those_of_scikit_learn(k: int, temperature: float) -> None:
    (train, labels), (test, truth) = clouds(600, 0), clouds(300, 1)
    oracle = KNeighborsClassifier(
        k,
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((1 - distance) / temperature),
    ).fit(train.double().numpy(), labels.numpy())
    expected = torch.from_numpy(oracle.predict(test.double().numpy()))
    predicted = knn_predict(
        train.double(), labels, test.double(), num_neighbors=k, temperature=temperature
    )
    assert torch.equal(predicted, expected)
    assert knn_accuracy(
        train.double(), labels, test.double(), truth, num_neighbors=k, temperature=temperature
    ) == pytest.approx(oracle.score(test.double().numpy(), truth.numpy()))


def test_a_near_neighbour_outvotes_two_far_ones_only_at_low_temperature() -> None:
    train = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]])
    labels, query = torch.tensor([1, 0, 0]), torch.tensor([[5.0, 0.0]])
    # One vote of exp(1 / t) against two of exp(0.8 / t): the border is t = 0.2 / log 2 = 0.289.
    assert knn_predict(train, labels, query, temperature=0.28).item() == 1
    assert knn_predict(train, labels, query, temperature=0.30).item() == 0


def test_blocks_do_not_change_the_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    (train, labels), (test, truth) = clouds(101, 2), clouds(57, 3)
    whole = nearest(train, test, 7)
    score = knn_accuracy(train, labels, test, truth, num_neighbors=7)
    monkeypatch.setattr(largest, "_BLOCK_ELEMENTS", 5 * 101)  # blocks of 5 queries, the last of 2
    parts = nearest(train, test, 7)
    assert torch.equal(whole[1], parts[1])
    assert torch.allclose(whole[0], parts[0], atol=1e-6)  # GEMM may sum in another order
    assert knn_accuracy(train, labels, test, truth, num_neighbors=7) == score


def test_order_and_length_of_the_rows_do_not_matter() -> None:
    (train, labels), (test, truth) = clouds(200, 4), clouds(100, 5)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    scale = torch.rand(200, 1, generator=torch.Generator().manual_seed(1)) + 0.5
    base = knn_accuracy(train, labels, test, truth, num_neighbors=10)
    assert (
        knn_accuracy((train * scale)[order], labels[order], 3 * test, truth, num_neighbors=10)
        == base
    )


def test_more_neighbours_than_rows_means_all_rows() -> None:
    (train, labels), (test, truth) = clouds(30, 6), clouds(40, 7)
    assert nearest(train, test, 1000)[1].shape == (40, 30)
    assert knn_accuracy(train, labels, test, truth, num_neighbors=1000) == knn_accuracy(
        train, labels, test, truth, num_neighbors=30
    )


def test_equal_votes_go_to_the_smallest_class() -> None:
    train = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert knn_predict(train, torch.tensor([3, 2]), torch.tensor([[1.0, 0.0]])).item() == 2


def test_a_tiny_temperature_does_not_overflow() -> None:
    # exp(0.995 / 0.001) and exp(0.93 / 0.001) are both infinite in float32: a tie that the smaller
    # class would win.
    train, query = torch.tensor([[1.0, 0.0], [0.9, 0.5]]), torch.tensor([[1.0, 0.1]])
    assert knn_predict(train, torch.tensor([1, 0]), query, temperature=1e-3).item() == 1


def test_rows_without_a_label_neither_vote_nor_count() -> None:
    (train, labels), (test, truth) = clouds(120, 8), clouds(80, 9)
    hidden_train, hidden_test = labels.clone(), truth.clone()
    hidden_train[::3], hidden_test[::2] = -1, -1
    rows = hidden_train >= 0
    expected = knn_accuracy(train[rows], labels[rows], test[1::2], truth[1::2], num_neighbors=9)
    assert knn_accuracy(train, hidden_train, test, hidden_test, num_neighbors=9) == expected
    with pytest.raises(ValueError, match="labelled row"):
        knn_accuracy(train, torch.full((120,), -1), test, truth)


def test_nearest_gives_the_cosines_in_falling_order() -> None:
    features, queries = clouds(50, 10)[0], clouds(6, 11)[0]
    cosines, indices = nearest(features, queries, 4)
    every = torch.cosine_similarity(queries[:, None], features[None], dim=2)
    assert torch.allclose(cosines, every.gather(1, indices), atol=1e-6)
    assert torch.equal(indices, every.argsort(dim=1, descending=True)[:, :4])
    assert nearest(features, queries[:0], 4)[1].shape == (0, 4)


@pytest.mark.parametrize(
    ("settings", "message"), [({"temperature": 0.0}, "temperature"), ({"num_neighbors": 0}, ">= 1")]
)
def test_values_out_of_range_are_named(settings: dict[str, float], message: str) -> None:
    train, labels = clouds(10, 12)
    with pytest.raises(ValueError, match=message):
        knn_predict(train, labels, train, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([5000] * 10, 200),
        ([90, 90], 90),
        ([4, 4], 8),
        ([10] * 102, 20),
        ([12, 4], 8),
        ([150, 49, 1], 3),
        ([500] * 9 + [1], 10),
        ([7], 7),
    ],
)
def test_as_many_neighbours_vote_as_small_classes_can_fill(sizes: list[int], expected: int) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    assert fitting_neighbors(labels) == expected
    unknown = torch.cat([labels, torch.full((50,), -1)])
    assert fitting_neighbors(unknown, most=20) == min(20, expected)


def test_a_small_class_wins_among_its_own_images_with_the_fitting_number_and_not_with_200() -> None:
    draw = torch.Generator().manual_seed(0)
    # A large cloud and a small one whose cosines differ less than the temperature.
    centres = torch.tensor([[1.0, 0.02, 0.0], [1.0, -0.02, 0.0]])
    labels = torch.tensor([0] * 150 + [1] * 10)
    train = centres[labels] + 0.002 * torch.randn(160, 3, generator=draw)
    test, truth = centres[1].expand(20, 3), torch.ones(20, dtype=torch.long)
    fitting = fitting_neighbors(labels)
    assert knn_accuracy(train, labels, test, truth, num_neighbors=fitting) == 1
    assert knn_accuracy(train, labels, test, truth, num_neighbors=200) == 0
