"""The protocol table: one extraction, honest splits, and a sentence for what cannot be scored."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError, DataError
from sparring.evaluation.linear import linear_probe
from sparring.evaluation.protocols import PROTOCOLS, evaluate
from sparring.measures.geometry import alignment, effective_rank
from sparring.measures.knn import knn_accuracy


class Images:
    """Images whose mean colour tells their class, more or less."""

    def __init__(self, count: int, seed: int, *, classes: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.labels: np.ndarray | None = np.arange(count) % classes
        base = np.eye(3)[:classes] * 60 + 80
        noise = rng.normal(0, 40, (count, 3, 1, 1)) + rng.normal(0, 20, (count, 3, 4, 4))
        values = (base[self.labels][:, :, None, None] + noise).clip(0, 255)
        self.values = torch.from_numpy(values.astype(np.uint8))

    def __len__(self) -> int:
        return len(self.values)

    def images(self, indices: np.ndarray) -> Tensor:
        return self.values[torch.from_numpy(indices)]


class Encoder(nn.Module):
    """Pixels as features; counts the images it has seen."""

    seen = 0

    def features(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images.flatten(1)


def pixels(data: Images) -> Tensor:
    return data.values.flatten(1).float() / 255


def test_scores_are_those_of_the_measures_on_features_computed_once() -> None:
    train, test, encoder = Images(90, 0), Images(60, 1), Encoder()
    assert train.labels is not None
    assert test.labels is not None
    scores = evaluate(encoder, train, test, protocols=["linear", "knn", "geometry"], seed=4)
    assert list(scores) == ["linear", "knn", "geometry"]
    assert encoder.seen == 150
    matrices = pixels(train), torch.from_numpy(train.labels), pixels(test), torch.from_numpy(test.labels)
    assert scores["knn"]["accuracy"] == pytest.approx(knn_accuracy(*matrices), abs=1e-9)
    assert scores["knn"]["num_neighbors"] == 90
    assert scores["linear"]["accuracy"] == pytest.approx(linear_probe(*matrices, seed=4).accuracy)
    assert scores["geometry"]["effective_rank"] == pytest.approx(effective_rank(pixels(test)), rel=1e-6)
    assert scores["linear"]["test_images"] == 60


@pytest.mark.parametrize("copy", [False, True])
def test_the_same_images_twice_are_split_so_that_none_scores_itself(copy: bool) -> None:
    train = Images(100, 2, classes=2)
    test = Images(100, 2, classes=2) if copy else train
    scores = evaluate(Encoder(), train, test, protocols=["knn"], seed=0)["knn"]
    assert (scores["train_images"], scores["test_images"]) == (80, 20)
    assert "20%" in str(scores["tested_on"])
    assert "held out" not in str(evaluate(Encoder(), train, Images(10, 3), protocols=["knn"])["knn"]["tested_on"])


def test_images_without_a_label_are_left_out() -> None:
    train, test = Images(90, 0), Images(60, 1)
    assert train.labels is not None
    assert test.labels is not None
    train.labels[:30], test.labels[::2] = -1, -1
    score = evaluate(Encoder(), train, test, protocols=["knn"])["knn"]
    rest = slice(30, None), slice(1, None, 2)
    expected = knn_accuracy(
        pixels(train)[rest[0]],
        torch.from_numpy(train.labels[rest[0]]),
        pixels(test)[rest[1]],
        torch.from_numpy(test.labels[rest[1]]),
    )
    assert score["accuracy"] == pytest.approx(expected)
    assert (score["train_images"], score["test_images"]) == (60, 30)


def test_geometry_needs_no_labels_and_aligns_views_if_given() -> None:
    train, test = Images(20, 0), Images(30, 1)
    train.labels = test.labels = None
    without = evaluate(Encoder(), train, test, protocols=["geometry"])["geometry"]
    assert "alignment" not in without
    flipped = evaluate(Encoder(), train, test, protocols=["geometry"], views=lambda images: (images / 255, images.flip(3) / 255))[
        "geometry"
    ]
    expected = alignment(pixels(test), test.values.flip(3).flatten(1).float())
    assert flipped["alignment"] == pytest.approx(expected, rel=1e-4)
    assert {key: flipped[key] for key in without} == without


def test_collapsed_features_carry_a_warning() -> None:
    class Blind(Encoder):
        def features(self, images: Tensor) -> Tensor:
            return torch.ones(len(images), 8)

    assert "collapsed" in str(evaluate(Blind(), Images(9, 0), Images(9, 1), protocols=["geometry"])["geometry"]["warning"])
    assert "warning" not in evaluate(Encoder(), Images(90, 0), Images(90, 1), protocols=["geometry"])["geometry"]


def test_an_unknown_protocol_is_answered_with_the_nearest() -> None:
    encoder = Encoder()
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        evaluate(encoder, Images(6, 0), Images(6, 1), protocols=["knn", "liner"])
    assert not encoder.seen
    assert set(PROTOCOLS) == {"knn", "linear", "geometry"}


@pytest.mark.parametrize("which", ["training", "test"])
def test_missing_labels_are_named_before_any_feature_is_computed(which: str) -> None:
    train, test, encoder = Images(6, 0), Images(6, 1), Encoder()
    (train if which == "training" else test).labels = None
    with pytest.raises(DataError, match=f"{which} images have no labels"):
        evaluate(encoder, train, test, protocols=["geometry", "knn"])
    assert not encoder.seen


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match="single class"):
        evaluate(Encoder(), Images(6, 0, classes=1), Images(6, 1), protocols=["knn"])


def test_progress_counts_the_images_of_both_sets() -> None:
    calls: list[tuple[int, int]] = []
    evaluate(Encoder(), Images(300, 0), Images(60, 1), protocols=["knn"], progress=lambda *done: calls.append(done))
    assert calls == [(256, 360), (300, 360), (360, 360)]
