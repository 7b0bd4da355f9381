"""From a run folder to its pictures."""

import shutil
from pathlib import Path

import pytest

from sparring.reporting.illustration import illustrated
from sparring.reporting.report import report_html
from sparring.training.run_folder import RunFolder


@pytest.mark.slow
def test_a_report_is_written_when_the_images_are_gone(run: Path, photos: Path) -> None:
    config = run / "config.toml"
    config.write_text(config.read_text().replace(str(photos), str(run / "gone")))
    shutil.rmtree(run / "predictions")
    summary = illustrated(RunFolder(run))
    assert summary.gallery is None
    assert f"are not at {run / 'gone'} any more" in summary.no_pictures
    page = report_html([summary])
    assert "No pictures: the images of this run are not at" in page
    assert "is missing; use `sparring evaluate` again" in page


@pytest.mark.slow
def test_mistakes_and_map_name_the_images_of_the_run(run: Path) -> None:
    summary = illustrated(RunFolder(run))
    assert summary.gallery is not None
    assert summary.gallery.embedding_map is not None
    keys = summary.gallery.embedding_map.keys
    assert len(keys) == len(summary.gallery.embedding_map.xy)
    assert all(key.endswith((".png", ".jpg")) for key in keys)
    assert {"knn", "linear"} <= summary.predictions.keys()
    assert summary.predictions.keys() == summary.mistakes.keys()
