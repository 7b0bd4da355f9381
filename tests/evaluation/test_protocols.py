"""Running protocols: one extraction for all, honest splits, and a sentence for what cannot be
scored."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError, DataError
from sparring.evaluation.catalogue import PROTOCOLS, headline_of, title_of
from sparring.evaluation.choice import choose, function_of, settings_class
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.frozen.logistic import linear_probe
from sparring.evaluation.protocol import Result, spread
from sparring.evaluation.protocols import evaluate
from sparring.measures.geometry import alignment, effective_rank
from sparring.measures.knn import knn_accuracy

Images = tuple[np.ndarray, np.ndarray]
SIZE = 8


class Pixels(nn.Module):
    """Pixels as features; counts the images it has seen."""

    seen = 0

    def features(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images.flatten(1)


def coloured(count: int, seed: int, *, classes: int = 3) -> Images:
    """Images whose mean colour tells their class, more or less."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    base = np.eye(3)[:classes] * 60 + 80
    noise = rng.normal(0, 40, (count, 1, 1, 3)) + rng.normal(0, 20, (count, SIZE, SIZE, 3))
    return (base[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8), labels


def run(
    names: list[str], train: Any, test: Any, encoder: nn.Module | None = None, **named: Any
) -> dict[str, Result]:
    """Results of the run's encoder."""
    evaluation_data = EvaluationData(train, test, image_size=SIZE, **named)
    return evaluate(
        [EvaluatedEncoder("trained", encoder or Pixels())], evaluation_data, choose(names)
    )["trained"]


def matrices(train: Images, test: Images) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def pixels(images: np.ndarray) -> Tensor:
        return torch.from_numpy(images).permute(0, 3, 1, 2).flatten(1).float() / 255

    return pixels(train[0]), torch.from_numpy(train[1]), pixels(test[0]), torch.from_numpy(test[1])


def test_scores_are_those_of_the_measures_on_features_computed_once() -> None:
    train, test, encoder = coloured(90, 0), coloured(60, 1), Pixels()
    scores = run(["linear", "knn", "geometry"], train, test, encoder, seed=4)
    assert list(scores) == ["linear", "knn", "geometry"]
    assert encoder.seen == 150
    data = matrices(train, test)
    assert scores["knn"]["accuracy"] == pytest.approx(knn_accuracy(*data), abs=1e-9)
    assert scores["knn"]["num_neighbors"] == 90
    assert scores["linear"]["accuracy"] == pytest.approx(linear_probe(*data, seed=4).accuracy)
    assert scores["geometry"]["effective_rank"] == pytest.approx(effective_rank(data[2]), rel=1e-6)
    assert scores["linear"]["test_images"] == 60


@pytest.mark.parametrize("test", [None, coloured(100, 2, classes=2)], ids=["one set", "a copy"])
def test_the_same_images_twice_are_split_so_that_none_scores_itself(test: Images | None) -> None:
    scores = run(["knn"], coloured(100, 2, classes=2), test)["knn"]
    assert (scores["train_images"], scores["test_images"]) == (80, 20)
    assert "20%" in scores["tested_on"]


def test_other_images_are_scored_whole() -> None:
    assert (
        "held out"
        not in run(["knn"], coloured(100, 2, classes=2), coloured(10, 3))["knn"]["tested_on"]
    )
    same_labels = run(["knn"], coloured(100, 2, classes=2), coloured(100, 3, classes=2))["knn"]
    assert same_labels["test_images"] == 100


def test_images_without_a_label_are_left_out() -> None:
    train, test = coloured(90, 0), coloured(60, 1)
    train[1][:30], test[1][::2] = -1, -1
    score = run(["knn"], train, test)["knn"]
    features, labels, queries, expected = matrices(train, test)
    assert score["accuracy"] == pytest.approx(
        knn_accuracy(features[30:], labels[30:], queries[1::2], expected[1::2])
    )
    assert (score["train_images"], score["test_images"]) == (60, 30)


def test_a_test_class_that_training_lacks_counts_as_wrong_and_is_told() -> None:
    train, test = coloured(60, 0, classes=2), coloured(60, 1, classes=3)
    for name, score in run(["knn", "linear"], train, test).items():
        known = run([name], train, (test[0][test[1] < 2], test[1][test[1] < 2]))[name]
        assert score["images_of_unseen_classes"] == 20
        assert score["accuracy"] == pytest.approx(known["accuracy"] * 40 / 60)
        assert "images_of_unseen_classes" not in known


def test_classes_are_matched_by_name_not_by_number(tmp_path: Any) -> None:
    from PIL import Image

    images, labels = coloured(60, 0)
    names = ["ant", "bee", "cat"]
    for which, classes in (("train", names), ("test", names[1:])):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            if names[label] in classes:
                path = tmp_path / which / names[label] / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    score = run(["knn"], tmp_path / "train", tmp_path / "test", Pixels())["knn"]
    keep = labels > 0
    expected = knn_accuracy(*matrices((images, labels), (images[keep], labels[keep])))
    assert score["accuracy"] == pytest.approx(
        expected
    )  # the test folder numbers its classes from bee = 0
    assert expected > 0.5


def test_geometry_needs_no_labels_and_aligns_views_if_given() -> None:
    train, test = coloured(20, 0)[0], coloured(30, 1)[0]
    without = run(["geometry"], train, test)["geometry"]
    assert "alignment" not in without
    flipped = run(
        ["geometry"], train, test, views=lambda images: (images / 255, images.flip(3) / 255)
    )["geometry"]
    pixels = torch.from_numpy(test).permute(0, 3, 1, 2).float()
    assert flipped["alignment"] == pytest.approx(
        alignment(pixels.flatten(1), pixels.flip(3).flatten(1)), rel=1e-4
    )
    assert {key: flipped[key] for key in without} == without


def test_collapsed_features_carry_a_warning() -> None:
    class Blind(Pixels):
        def features(self, images: Tensor) -> Tensor:
            return torch.ones(len(images), 8)

    assert (
        "collapsed"
        in run(["geometry"], coloured(9, 0), coloured(9, 1), Blind())["geometry"]["warning"]
    )
    assert "warning" not in run(["geometry"], coloured(90, 0), coloured(90, 1))["geometry"]


def test_an_unknown_protocol_variant_or_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        choose(["knn", "liner"])
    with pytest.raises(ConfigError, match=r"knn' has no variants, got 'knn:adco'"):
        choose(["knn:adco"])
    with pytest.raises(ConfigError, match=r"did you mean 'knn\.temperature'"):
        choose(["knn"], {"knn": {"temperatur": 0.2}})
    with pytest.raises(
        ConfigError, match=r"linear\.validation_share': that protocol was not asked for"
    ):
        choose(["knn"], {"linear": {"validation_share": 0.1}})
    with pytest.raises(ConfigError, match=r"unknown setting 'temperature'"):
        choose(["knn"], {"temperature": 0.2})
    with pytest.raises(ConfigError, match="no protocol given"):
        choose([])


def test_settings_are_defaults_then_the_variant_then_what_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = replace(PROTOCOLS["knn"], variants={"wu": {"temperature": 0.07, "num_neighbors": 20}})
    monkeypatch.setitem(PROTOCOLS, "knn", entry)
    plain, variant = choose(["knn", "knn:wu"], {"knn": {"num_neighbors": 5}})
    assert (plain.settings.model_dump(), variant.settings.model_dump()) == (
        {"num_neighbors": 5, "temperature": 0.1},
        {"num_neighbors": 5, "temperature": 0.07},
    )
    assert title_of("knn:wu") == "Nearest neighbours (kNN), wu"
    with pytest.raises(ConfigError, match="did you mean 'wu'"):
        choose(["knn:wuu"])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_documented_and_its_variants_are_valid(name: str) -> None:
    entry = PROTOCOLS[name]
    assert entry.question.endswith("?")
    assert entry.source
    assert (function_of(entry).__doc__ or "").strip()
    assert settings_class(entry).__doc__
    for variant in entry.variants:
        choose([f"{name}:{variant}"])


@pytest.mark.parametrize("which", ["training", "test"])
def test_missing_labels_are_named_before_any_feature_is_computed(which: str) -> None:
    train, test, encoder = coloured(6, 0), coloured(6, 1), Pixels()
    given = (train[0], test) if which == "training" else (train, test[0])
    with pytest.raises(DataError, match=f"{which} images have no labels"):
        run(["geometry", "knn"], *given, encoder)
    assert not encoder.seen


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match="single class"):
        run(["knn"], coloured(6, 0, classes=1), coloured(6, 1))


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="--data"):
        run(["geometry"], None, None)


def test_progress_counts_the_images_of_each_set() -> None:
    calls: list[tuple[str, int, int]] = []

    class Listener:
        def report(self, line: str) -> None: ...

        def count(self, what: str, done: int, total: int) -> None:
            calls.append((what, done, total))

    run(["knn"], coloured(300, 0), coloured(60, 1), listener=Listener())
    about = "features of the trained encoder, "
    assert calls == [
        (about + "training images", 256, 300),
        (about + "training images", 300, 300),
        (about + "test images", 60, 60),
    ]


def test_each_result_is_told_at_once_so_that_a_later_failure_costs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> Result:
        raise DataError("no")

    monkeypatch.setattr("sparring.evaluation.frozen.linear.linear", fails)
    told: list[tuple[str, str]] = []
    evaluation_data = EvaluationData(coloured(30, 0), coloured(30, 1), image_size=SIZE)
    encoders = [EvaluatedEncoder(name, Pixels()) for name in ("trained", "untrained")]
    with pytest.raises(DataError):
        evaluate(
            encoders,
            evaluation_data,
            choose(["knn", "linear"]),
            done=lambda who, what, _: told.append((who, what)),
        )
    assert told == [("trained", "knn"), ("untrained", "knn")]


def test_a_joint_protocol_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "knn", replace(PROTOCOLS["knn"], is_joint=True))
    evaluation_data = EvaluationData(coloured(30, 0), coloured(30, 1), image_size=SIZE)
    results = evaluate(
        [EvaluatedEncoder(name, Pixels()) for name in ("trained", "untrained")],
        evaluation_data,
        choose(["knn"]),
    )
    assert list(results["trained"]) == ["knn"]
    assert results["untrained"] == {}


def test_headlines_are_found_by_the_protocols_own_key() -> None:
    assert headline_of("knn", {"accuracy": 0.5}) == 0.5
    assert headline_of("geometry", {"effective_rank": 3.0}) is None
    assert headline_of("of another version", {"accuracy": 0.25}) == 0.25


def test_spread_is_the_sample_deviation() -> None:
    assert spread([0.5, 0.7]) == pytest.approx((0.6, np.std([0.5, 0.7], ddof=1)))
    assert spread([0.3]) == (0.3, 0.0)
