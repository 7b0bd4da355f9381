"""`sparring train --from RUN`, and the best look of a run, as a command."""

import json
from pathlib import Path

import pytest

from tiny import Command


def test_a_new_run_on_the_images_of_the_first_one(
    command: Command, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "further"
    keep = ("--set", "training.keep_best=knn_accuracy")
    done = command("train", "--from", trained, "--epochs", "1", "--out", out, *keep)
    assert done.code == 0, done.err
    assert f"from {trained} at step 8: encoder, teacher, bank, dial; optimiser state" in done.err
    assert f"the encoder of {out}: the best by knn_accuracy of 1 look, step 4 of 4" in done.err
    scores = json.loads((out / "scores.json").read_text())
    assert "it looked at labels of 16 of the" in scores["trained"]["knn"]["chosen_by"]
    assert scores["start weights"]["knn"] != scores["trained"]["knn"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--recipe", "adco-small"), "each give a whole configuration"),
        (("--method", "simclr"), "method was adco and is simclr"),
        (("--set", "training.keep_best=effective_ranc"), "did you mean 'effective_rank'"),
        (("--set", "training.stop_after_looks=2"), "needs training.keep_best"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    command: Command, trained: Path, tmp_path: Path, options: tuple[str, str], sentence: str
) -> None:
    out = tmp_path / "further"
    done = command("train", "--from", trained, "--out", out, *options)
    assert done.code == 2
    assert sentence in done.error
    assert not out.exists()
