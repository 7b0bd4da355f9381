"""Predictions per image: handed over by protocols, kept out of the result, read back safely."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pixel_encoder import SIZE, Pixels, coloured

from sparring.errors import RunError
from sparring.evaluation.catalogue import choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.predictions import Predictions
from sparring.evaluation.protocol import Protocol, Result, evaluate

SHORT = {"linear": {"regularisations": [0.1]}, "transfer": {"candidates": 2}}
SHORT_EPOCHS = {"linear": {"recipe": {"epochs": 2}}}


def told(
    protocol: str | Protocol, settings: dict[str, Any] | None = None, **named: Any
) -> tuple[Result, Result]:
    """What is told of a protocol's result, and what is left of it."""
    parts: list[Result] = []
    data = EvaluationData(coloured(60, 0), coloured(30, 1), image_size=SIZE, **named)
    results = evaluate(
        [EvaluatedEncoder("trained", Pixels())],
        data,
        choose([protocol], settings),
        done=lambda *told: parts.append(told[2]),
    )
    (kept,) = results["trained"].values()
    return parts[0], kept


@pytest.mark.parametrize(
    ("protocol", "settings"),
    [
        ("knn", {}),
        ("linear", {"linear": SHORT["linear"]}),
        ("linear:adco", SHORT_EPOCHS),
        ("linear:clae-best", SHORT_EPOCHS),
        ("transfer", {"transfer": SHORT["transfer"]}),
    ],
)
def test_the_share_of_right_predictions_is_the_accuracy(
    protocol: str, settings: dict[str, Any]
) -> None:
    result, kept = told(protocol, settings)
    found = result["predictions"]
    assert "predictions" not in kept
    assert found.is_right.mean() == pytest.approx(kept["accuracy"])
    assert list(found.keys) == [f"image {row}" for row in range(30)]
    assert found.classes == ("0", "1", "2")
    assert found.targets.tolist() == coloured(30, 1)[1].tolist()


def test_two_encoders_have_predictions_that_line_up() -> None:
    first, second = (told("knn", seed=seed)[0]["predictions"] for seed in (0, 1))
    assert first.keys == second.keys
    assert np.array_equal(first.targets, second.targets)


def test_held_out_images_are_the_same_whatever_the_seed_of_the_draws() -> None:
    def keys(seed: int, split_seed: int | None) -> Any:
        data = EvaluationData(
            coloured(60, 0), None, image_size=SIZE, seed=seed, split_seed=split_seed
        )
        return data.classes.test_rows.tolist()

    assert keys(0, 0) == keys(1, 0) == keys(0, None)
    assert keys(0, 0) != keys(1, 1)


def test_a_protocol_from_outside_hands_predictions_over() -> None:
    def always_first(_: Any, data: EvaluationData, __: Any) -> Result:
        predicted = data.classes.test_labels * 0
        return {"accuracy": 0.0, "predictions": data.classes.predictions(predicted)}

    def counts(*_: Any) -> Result:
        return {"accuracy": 0.0, "predictions": [1, 2]}

    result, kept = told(Protocol(name="first", function=always_first))
    assert result["predictions"].is_right.mean() == pytest.approx(1 / 3)
    assert "predictions" not in kept
    _, kept = told(Protocol(name="counts", function=counts))
    assert kept["predictions"] == [1, 2], "what JSON can hold stays"


def some(**changes: Any) -> Predictions:
    parts = {
        "keys": ("a.png", "caf\u00e9.png", "\udcff.png"),  # a name that is no text
        "classes": ("cat", "dog"),
        "targets": np.array([0, 1, 2]),
        "predicted": np.array([0, 0, 1]),
    }
    return Predictions(**{**parts, **changes})


SEVERAL_FITS = {"predicted": np.array([[0, 0, 1], [0, 1, 1]]), "fits": ("draw 1", "draw 2")}
SEVERAL_CLASSES = {
    "targets": np.array([[1, 0], [0, 1], [-1, 1]]),
    "predicted": np.array([[1, 0], [1, 1], [0, 1]]),
    "scores": np.array([[0.5, -1], [2, 1], [-1, 3]], np.float32),
}


@pytest.mark.parametrize("changes", [{}, SEVERAL_FITS, SEVERAL_CLASSES])
def test_predictions_are_read_as_they_were_written(changes: Any, tmp_path: Path) -> None:
    path = tmp_path / "found.npz"
    path.write_bytes(some(**changes).encoded())
    found = Predictions.read(path)
    assert found == some(**changes)
    assert found != some(**{**changes, "keys": ("a.png", "b.png", "c.png")})
    assert found.is_right.shape == found.predicted.shape


@pytest.mark.parametrize(
    "changes",
    [
        {"predicted": np.array([0, 0])},
        {"keys": ("a.png",)},
        {"fits": ("draw 1", "draw 2")},
        {"targets": np.array([[1, 0], [0, 1], [0, 1]])},
    ],
)
def test_predictions_that_do_not_fit_their_images_are_refused(changes: Any) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        some(**changes)


class Malicious:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_damaged_or_malicious_file_is_named_and_runs_nothing(tmp_path: Path) -> None:
    path, touched = tmp_path / "found.npz", tmp_path / "touched"
    with pytest.raises(RunError, match=r"found\.npz is missing"):
        Predictions.read(path)
    whole = some().encoded()
    content = io.BytesIO()
    np.savez(content, keys=np.array([Malicious(touched)], dtype=object))
    flipped = whole[:150] + bytes([whole[150] ^ 1]) + whole[151:]
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    malicious = content.getvalue(), pickle.dumps(Malicious(touched))
    for damaged in (b"", whole[:-40], flipped, array.getvalue(), *malicious):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"found\.npz is damaged; use `sparring evaluate`"):
            Predictions.read(path)
    assert not touched.exists()
