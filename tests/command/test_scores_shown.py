"""What a user finds in a run folder after evaluating, resuming and evaluating again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparring
from sparring.errors import RunError
from tiny import Command, train_arguments, write_photos

QUICK = ("--protocol", "knn,transfer", "--set", "transfer.candidates=2", "--json")


def scores(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "scores.json").read_text()))


def test_every_result_says_what_it_is_of(command: Command, run: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "test", per_class=8)
    found = json.loads(
        command("evaluate", run, "--data", photos, "--protocol", "knn", "--json").out
    )
    assert set(found) == {"trained", "untrained", "test"}
    knn, geometry = (scores(run)["trained"][name] for name in ("knn", "geometry"))
    assert (knn["test"], geometry["test"]) == (str(photos), "held-out images")
    assert knn["step"] == geometry["step"] == scores(run)["step"] == 8
    *_, trained, untrained = scores(run)["results"]
    assert (trained["encoder"], untrained["encoder"]) == ("trained", "untrained")
    assert (trained["step"], untrained["step"], trained["protocol"]) == (8, 0, "knn")
    assert trained["settings"]["temperature"] == 0.1
    assert trained["result"]["num_neighbors"] == knn["num_neighbors"]
    assert (trained["train"]["images"], trained["test"]["images"]) == (64, 16)
    assert trained["test"]["fingerprint"] != trained["train"]["fingerprint"]
    assert trained["version"] == sparring.__version__
    assert trained["time"]
    assert "predictions" not in trained["result"]
    assert (run / trained["predictions"]).suffix == ".npz"


def test_the_same_evaluation_replaces_its_result_and_another_one_is_kept(
    command: Command, run: Path, tmp_path: Path
) -> None:
    photos = write_photos(tmp_path / "test", per_class=8)
    moved = write_photos(tmp_path / "copy", per_class=8)
    ask = ("evaluate", run, "--protocol", "knn", "--json")
    before = len(scores(run)["results"])
    files = []
    for data in (photos, photos, moved):
        assert command(*ask, "--data", data).code == 0
        files.append(sorted(path.name for path in (run / "predictions").iterdir()))
    assert len(scores(run)["results"]) == before + 2
    assert files[0] == files[1] == files[2], "equal images elsewhere are the same images"
    assert command(*ask, "--data", photos, "--set", "knn.num_neighbors=3").code == 0
    assert len(scores(run)["results"]) == before + 4


@pytest.mark.slow
def test_results_of_an_earlier_checkpoint_are_not_shown_as_the_later_ones(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert command(*train_arguments(photos, run, "--max-steps", "2")).code == 0
    assert command("evaluate", run, *QUICK).code == 0
    early = scores(run)
    sparring.resume(run, max_steps=4, progress=False)  # without scoring
    assert scores(run)["trained"] == scores(run)["untrained"] == {}
    assert scores(run)["step"] == 4
    assert scores(run)["results"] == early["results"]
    with pytest.raises(RunError, match=r"no predictions of 'knn' \(trained\) for its checkpoint"):
        sparring.Run(run).predictions("knn")
    assert command("evaluate", run, *QUICK).code == 0
    later = scores(run)["trained"]
    assert {name: found["step"] for name, found in later.items()} == {"knn": 4, "transfer": 4}
    assert {one["step"] for one in scores(run)["results"]} == {0, 2, 4}
    page = command("report", run, "--out", tmp_path / "page.html")
    assert page.code == 0
    assert "4 of 8 (2 epochs planned)" in (tmp_path / "page.html").read_text()


def test_predictions_of_two_encoders_line_up_row_by_row(run: Path) -> None:
    found = sparring.Run(run)
    trained = found.predictions("knn")
    untrained = found.predictions("knn", encoder="untrained")
    assert list(trained.keys) == list(untrained.keys)
    assert np.array_equal(trained.targets, untrained.targets)
    assert trained.classes == ("blue", "red")
    assert trained.is_right.mean() == pytest.approx(found.scores["trained"]["knn"]["accuracy"])


def test_predictions_that_are_not_there_are_named_with_those_that_are(run: Path) -> None:
    found = sparring.Run(run)
    with pytest.raises(
        RunError, match=r"'finetune' \(trained\).*there are knn \(trained, held-out"
    ):
        found.predictions("finetune")
    with pytest.raises(RunError, match=r"'knn' \(trained, elsewhere\)"):
        found.predictions("knn", test="elsewhere")
    (run / "scores.json").unlink()
    with pytest.raises(RunError, match="there are none; use `sparring evaluate`"):
        found.predictions("knn")
