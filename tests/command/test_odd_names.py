"""File names that are no text go through every command without loss of its result."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tiny import Command, train_arguments, write_photos


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="names are bytes only there")
def test_names_that_are_not_utf8_reach_scores_report_and_features(
    command: Command, tmp_path: Path
) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9p\xf4t"))
    photos, run = write_photos(place / "photos"), place / "run"
    for folder in sorted(photos.iterdir()):
        for path in sorted(folder.iterdir()):
            path.rename(Path(os.fsdecode(os.fsencode(path)[:-4] + b"\xff\n.png")))
        folder.rename(Path(os.fsdecode(os.fsencode(folder) + b"\xe9")))
    (photos / os.fsdecode(b"blue\xe9") / "broken.png").write_bytes(b"no image")

    trained = command(*train_arguments(photos, run))
    assert trained.code == 0, trained.err
    assert len((run / "quarantine.txt").read_text().splitlines()) == 1
    protocol = ("--protocol", "transfer", "--set", "transfer.candidates=2", "--json")
    evaluated = command("evaluate", run, *protocol)
    assert evaluated.code == 0, evaluated.err
    table = json.loads(evaluated.out)["trained"]["transfer"]["table"]["rows"]
    assert {row[0] for row in table} == {r"blue\xe9", r"red\xe9"}
    assert json.loads((run / "scores.json").read_bytes())["trained"]["transfer"]
    assert command("report", run, "--out", place / "report.html").code == 0
    assert (place / "report.html").read_bytes().decode("utf-8").startswith("<!")
    embedded = command("embed", run, "--data", photos, "--out", place / "f.npz")
    assert embedded.code == 0, embedded.err
    with np.load(place / "f.npz") as arrays:
        assert arrays["keys"][0] == r"blue\xe9/000\xff\n.png"
        "".join(arrays["keys"]).encode("utf-8")
    resumed = command("resume", run)
    assert resumed.code == 0, resumed.err
