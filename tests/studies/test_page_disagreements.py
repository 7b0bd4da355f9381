"""The section of disputed images: counts from stored predictions, few small pictures, words."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_predictions import made_images, with_predictions
from made_studies import made_results, made_study
from page_views import Checked, view_of

from sparring.evaluation.predictions import Predictions
from sparring.studies.folder import StudyFolder
from sparring.studies.page.class_wins import class_wins
from sparring.studies.page.disagreements import NUM_IMAGES, section, shown_contrasts
from sparring.studies.page.view import PageView
from sparring.studies.page.votes import UNKNOWN, ballot
from sparring.studies.plan import Contrast, Study
from sparring.studies.results import Results

RATES = {"adco": 0.62, "adco/queue": 0.55, "mocov2": 0.5}
CONTRAST = Contrast(first="adco", second="mocov2")


@pytest.fixture
def view(tmp_path: Path) -> PageView:
    keys = made_images(tmp_path / "photos")
    study = made_study(tests=[{"name": "test", "data": str(tmp_path / "photos")}])
    folder = StudyFolder(tmp_path / "study")
    return view_of(with_predictions(made_results(study), folder, keys, rates=RATES), folder)


def stored(
    view: PageView, said: dict[str, list[list[int]]], targets: list[int], **fields: object
) -> Results:
    """Results whose runs said these classes, a row per seed."""
    records = []
    for record in view.results.records:
        predicted = np.array(said[record.name.arm][record.name.seed % 2])
        keys = [f"{number}.png" for number in range(len(targets))]
        content = Predictions(
            **{
                "keys": keys,
                "classes": ("a", "b"),
                "targets": np.array(targets),
                "predicted": predicted,
                **fields,
            }
        ).encoded()
        place = f"{view.folder.place(record.name)}.npz"
        (view.folder.path / place).write_bytes(content)
        records.append(replace(record, predictions={"test": {"knn": place}}))
    return replace(view.results, records=tuple(records))


def two_seeds(view: PageView) -> PageView:
    return view_of(made_results(made_study(seeds=2, tests=_tests(view))), view.folder)


def _tests(view: PageView) -> list[dict[str, str]]:
    return [{"name": one.name, "data": one.data} for one in view.study.tests]


def test_votes_are_counted_image_by_image_over_the_seeds_that_both_arms_have(
    view: PageView,
) -> None:
    small = two_seeds(view)
    said = {"adco": [[0, 0, 1, 0], [0, 1, 1, 0]], "mocov2": [[1, 0, 0, 0], [1, 1, 0, 0]]}
    results = stored(small, {**said, "adco/queue": said["adco"]}, [0, 0, 0, 2])
    votes = ballot(results, small.folder, CONTRAST, results.primary)
    assert votes is not None
    assert votes.first_share.tolist() == [1.0, 0.5, 0.0, 0.0]
    assert votes.second_share.tolist() == [0.0, 0.5, 1.0, 0.0]
    assert votes.gained.tolist() == [True, False, False, False]
    assert votes.lost.tolist() == [False, False, True, False]
    assert votes.targets.tolist() == [0, 0, 0, UNKNOWN]
    assert votes.between_arms() == pytest.approx(0.5)  # images 0 and 2, with both seeds
    assert votes.between_seeds() == pytest.approx(0.25)  # image 1, in both arms


def test_images_are_matched_by_key_where_seeds_hold_out_others(view: PageView) -> None:
    small = two_seeds(view)
    said = {"adco": [[0], [0]], "adco/queue": [[0], [0]], "mocov2": [[1], [1]]}
    results = stored(small, said, [0])
    for record in results.records:  # seed 1 scored another image
        if record.name.seed == 1:
            place = small.folder.path / record.predictions["test"]["knn"]
            read = Predictions.read(place)
            place.write_bytes(replace(read, keys=("other.png",)).encoded())
    votes = ballot(results, small.folder, CONTRAST, results.primary)
    assert votes is not None
    assert votes.keys == ("0.png", "other.png")
    assert votes.gained.tolist() == [True, True]
    assert votes.between_seeds() is None  # no image that two seeds scored


def test_predictions_that_are_missing_or_damaged_leave_their_seed_out(view: PageView) -> None:
    first, second = view.results.of_arm("adco", view.results.primary)[:2]
    (view.folder.path / first.predictions["test"]["knn"]).unlink()
    (view.folder.path / second.predictions["test"]["knn"]).write_bytes(b"PK damaged")
    votes = ballot(view.results, view.folder, CONTRAST, view.results.primary)
    assert votes is not None
    assert votes.seeds == (2, 3, 4)


def test_classes_are_ranked_by_gain_with_counts_and_an_interval(view: PageView) -> None:
    small = two_seeds(view)
    said = {"adco": [[0, 0, 1, 0], [0, 1, 1, 0]], "mocov2": [[1, 0, 1, 1], [1, 1, 1, 1]]}
    results = stored(small, {**said, "adco/queue": said["adco"]}, [0, 0, 1, 1])
    votes = ballot(results, small.folder, CONTRAST, results.primary)
    assert votes is not None
    best, worst = class_wins(votes)
    assert (best.name, best.images, best.first, best.second) == ("a", 2, 75.0, 25.0)
    assert (best.gained, best.lost, best.difference) == (1, 0, 50.0)
    assert (worst.name, worst.difference, worst.gained, worst.lost) == ("b", -50.0, 0, 1)
    assert best.interval is not None
    assert best.interval.low == best.interval.high == 50.0  # the same with both seeds


def test_the_page_shows_the_primary_contrast_and_the_game_minus_its_control(
    view: PageView,
) -> None:
    assert [one.name for one in shown_contrasts(view)] == [
        "adco minus adco/queue",
        "adco minus mocov2",
    ]


def test_pictures_are_few_small_and_described(view: PageView) -> None:
    page = section(view)
    checked = Checked(page)
    pictures = [attributes for tag, attributes in checked.elements if tag == "img"]
    assert 4 <= len(pictures) <= NUM_IMAGES
    assert len(page) < 300_000
    for one in pictures:
        assert str(one["src"]).startswith("data:image/")
        assert re.fullmatch(
            r"Image of class (cat|dog|bird)\. adco: right in \d of 5 runs.*", str(one["alt"])
        )
    assert "By class:" in checked.text


def test_the_counts_of_the_text_are_those_of_the_votes(view: PageView) -> None:
    votes = ballot(view.results, view.folder, CONTRAST, view.results.primary)
    assert votes is not None
    gained, lost = int(votes.gained.sum()), int(votes.lost.sum())
    assert gained > lost
    text = Checked(section(view)).text
    assert f"adco gains {gained} ({100 * gained / 36:.1f} %) on mocov2 and loses {lost}" in text


def test_without_the_images_the_counts_and_the_table_stay(view: PageView) -> None:
    shutil.rmtree(view.study.tests[0].data)
    page = section(view)
    assert "<img" not in page
    assert "could not be read again" in page
    assert "By class:" in page


def test_some_missing_images_are_counted(view: PageView) -> None:
    whole = section(view).count("<img")
    shutil.rmtree(Path(view.study.tests[0].data) / "dog")
    page = section(view)
    assert 0 < page.count("<img") < whole
    assert re.search(r"\d of the \d+ images chosen here could not be read again", page)


def test_without_predictions_there_is_no_section(view: PageView) -> None:
    assert section(view_of(made_results(made_study()), view.folder)) == ""


def test_a_study_of_one_arm_has_no_section(view: PageView) -> None:
    study = Study.build({"data": "photos", "arms": [{"name": "one", "method": "adco"}]})
    assert section(view_of(made_results(study), view.folder)) == ""


def test_names_from_outside_are_escaped(view: PageView) -> None:
    hostile = '<script>alert("x")</script>'
    tree = {**made_study(seeds=2).tree(), "tests": _tests(view)}
    tree["arms"][0]["name"] = hostile
    tree["arms"][1]["twin_of"] = hostile
    small = view_of(made_results(Study.build(tree)), view.folder)
    said = {hostile: [[0, 0]] * 2, "adco/queue": [[1, 1]] * 2, "mocov2": [[1, 1]] * 2}
    results = stored(
        small, said, [0, 0], classes=("<b>a", '"b'), keys=["cat/000.png", "cat/001.png"]
    )
    page = section(view_of(results, small.folder))
    assert page.count("<img") == 4
    assert "<script" not in page
    assert "<b>a" not in page
    Checked(page)


def test_the_same_study_gives_the_same_bytes(view: PageView) -> None:
    assert section(view) == section(view)


def test_draws_of_labels_are_votes_of_their_own(tmp_path: Path) -> None:
    keys = made_images(tmp_path / "photos")
    study = made_study(seeds=2, tests=[{"name": "test", "data": str(tmp_path / "photos")}])
    folder = StudyFolder(tmp_path / "study")
    results = with_predictions(made_results(study), folder, keys, rates=RATES, num_fits=3)
    assert "of 6 votes" in section(view_of(results, folder))


def test_images_of_several_classes_have_no_gallery(view: PageView) -> None:
    small = two_seeds(view)
    said = {name: [[[0, 1]], [[1, 0]]] for name in RATES}
    results = stored(small, said, [[0, 1]], keys=["0.png"])  # type: ignore[list-item]
    assert section(view_of(results, small.folder)) == ""
