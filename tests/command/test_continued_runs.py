"""A run that continues from the weights of another one, from the command line to its scores."""

import json
from pathlib import Path

import pytest

import sparring
from sparring.errors import RunError
from tiny import Command, train_arguments


def test_a_run_from_weights_is_scored_beside_its_start_weights(
    command: Command, trained: Path, photos: Path, tmp_path: Path
) -> None:
    out, weights = tmp_path / "run", trained / "backbone.safetensors"
    settings = {"encoder.weights": weights, "encoder.frozen_stages": 1}
    done = command(*train_arguments(photos, out, settings=settings))
    assert done.code == 0, done.err
    assert "players.encoder.learning_rate=0.018" in done.err
    assert "the stem and 1 stage" in done.err
    assert "which is random" not in done.err
    scores = json.loads(command("evaluate", out, "--protocol", "knn", "--json").out)
    assert scores.keys() == {"trained", "start weights", "test"}
    ends = json.loads((trained / "scores.json").read_text())["trained"]["knn"]
    assert scores["start weights"]["knn"]["accuracy"] == ends["accuracy"]
    found = sparring.Run(out)
    assert {"trained", "start weights"} < found.scores.keys()
    assert "untrained" not in found.scores
    assert found.predictions("knn", encoder="start weights") is not None
    with pytest.raises(RunError, match=r"knn \(start weights, "):
        found.predictions("knn", encoder="untrained")
    shown = command("evaluate", out, "--protocol", "knn").out
    assert "start weights" in shown.splitlines()[0]
    assert "untrained" not in shown
