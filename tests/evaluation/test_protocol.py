"""Running protocols: features computed once, results told at once, joint protocols run once."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pixel_encoder import SIZE, Pixels, coloured, matrices, run

from sparring.errors import DataError
from sparring.evaluation.catalogue import PROTOCOLS, choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.frozen.logistic import linear_probe
from sparring.evaluation.protocol import Result, evaluate, spread
from sparring.measures.geometry import effective_rank
from sparring.measures.knn import knn_accuracy


def test_scores_are_those_of_the_measures_on_features_computed_once() -> None:
    train, test, encoder = coloured(90, 0), coloured(60, 1), Pixels()
    scores = run(["linear", "knn", "geometry"], train, test, encoder, seed=4)
    assert list(scores) == ["linear", "knn", "geometry"]
    assert encoder.seen == 150
    data = matrices(train, test)
    fitting = pytest.approx(knn_accuracy(*data, num_neighbors=30), abs=1e-9)
    assert scores["knn"]["accuracy"] == fitting
    assert scores["knn"]["num_neighbors"] == 30  # the images of each of three classes
    assert scores["linear"]["accuracy"] == pytest.approx(linear_probe(*data, seed=4).accuracy)
    assert scores["geometry"]["effective_rank"] == pytest.approx(effective_rank(data[2]), rel=1e-6)
    assert scores["linear"]["test_images"] == 60


@pytest.mark.parametrize("which", ["training", "test"])
def test_missing_labels_are_named_before_any_feature_is_computed(which: str) -> None:
    train, test, encoder = coloured(6, 0), coloured(6, 1), Pixels()
    given = (train[0], test) if which == "training" else (train, test[0])
    with pytest.raises(DataError, match=f"{which} images have no labels"):
        run(["geometry", "knn"], *given, encoder)
    assert not encoder.seen


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


def test_spread_is_the_sample_deviation() -> None:
    assert spread([0.5, 0.7]) == pytest.approx((0.6, np.std([0.5, 0.7], ddof=1)))
    assert spread([0.3]) == (0.3, 0.0)
