"""Confusions, scores by class and mistaken images, by hand-made predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparring.data.sources.source import open_source
from sparring.evaluation.predictions import Predictions
from sparring.measures.accuracy import wilson_interval
from sparring.reporting.confusion import (
    class_scores,
    confused_order,
    confused_pairs,
    confusion_of,
    grouped,
)
from sparring.reporting.confusion_matrix import confusion_matrix
from sparring.reporting.confusion_section import confusion_section
from sparring.reporting.mistakes import mistake_images, shown_mistakes
from sparring.reporting.summary import RunSummary
from sparring.training.scores import ImageSet, ScoredResult

CLASSES = ("cat", "truck", "dog", "car")


def predictions(
    targets: list[int],
    predicted: list[int] | list[list[int]],
    *,
    classes: tuple[str, ...] = CLASSES,
) -> Predictions:
    said = np.array(predicted)
    return Predictions(
        keys=tuple(f"{number:03d}.png" for number in range(len(targets))),
        classes=classes,
        targets=np.array(targets),
        predicted=said,
        fits=tuple(f"fit {number}" for number in range(len(said))) if said.ndim == 2 else (),
    )


ANIMALS = predictions(
    # Cats and dogs are confused, trucks and cars are; one image is of a class not learned.
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4],
    [0, 0, 2, 2, 1, 1, 1, 3, 2, 2, 2, 0, 3, 3, 1, 3, 0],
)


def run(**changes: object) -> RunSummary:
    whole = RunSummary(
        label="AdCo", path="runs/one", predictions={"knn": ANIMALS}, config={"method": "adco"}
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_nearly_all_images_of_a_class_are_not_shown_as_all() -> None:
    confusion = confusion_of(predictions([0] * 1000 + [1], [0] * 996 + [1] * 5, classes=("a", "b")))
    assert confusion is not None
    table = confusion_matrix(confusion, name="one")
    assert "<b>&gt;99</b><i>996</i>" in table
    assert "<b>&lt;1</b><i>4</i>" in table
    assert "<b>100</b><i>1</i>" in table


def test_rows_are_true_classes_and_columns_predicted_ones() -> None:
    confusion = confusion_of(ANIMALS)
    assert confusion is not None
    assert confusion.counts.tolist() == [
        [2, 0, 2, 0],
        [0, 3, 0, 1],
        [1, 0, 3, 0],
        [0, 1, 0, 3],
        [1, 0, 0, 0],
    ]
    assert confusion.images.tolist() == [4, 4, 4, 4]


def test_scores_of_a_class_are_those_of_their_definitions() -> None:
    confusion = confusion_of(ANIMALS)
    assert confusion is not None
    cat = class_scores(confusion)[0]
    assert cat.recall is not None
    assert cat.precision is not None
    assert cat.f1 is not None
    assert cat.recall.value == 2 / 4
    assert cat.precision.value == 2 / 4  # one dog and the image of a class not learned
    assert cat.f1.value == pytest.approx(2 * 0.5 * 0.5 / (0.5 + 0.5))
    assert (cat.recall.low, cat.recall.high) == wilson_interval(0.5, 4)
    assert cat.f1.low < cat.f1.value < cat.f1.high


def test_the_interval_of_f1_covers_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0)
    truth, covered, rounds = 2 * 0.7 / (0.7 * 2 + 0.3 + 0.2), 0, 400
    for _ in range(rounds):
        # 70 % of the images of class 0 are found, and as many others as 20 % of them are added.
        targets = np.repeat([0, 1], [200, 400])
        said = np.concatenate([draws.random(200) >= 0.7, draws.random(400) >= 0.1]).astype(int)
        confusion = confusion_of(predictions(targets.tolist(), said.tolist(), classes=("a", "b")))
        assert confusion is not None
        share = class_scores(confusion)[0].f1
        assert share is not None
        covered += share.low <= truth <= share.high
    # The numbers of found and of added images vary apart, which the interval allows for.
    assert covered / rounds >= 0.93


def test_a_class_without_images_or_predictions_has_no_score() -> None:
    confusion = confusion_of(predictions([0, 0], [0, 1]))
    assert confusion is not None
    scores = class_scores(confusion)
    assert scores[1].recall is None
    assert scores[2].precision is None
    assert scores[2].f1 is None


def test_classes_that_are_confused_are_neighbours() -> None:
    confusion = confusion_of(ANIMALS)
    assert confusion is not None
    order = confused_order(confusion)
    assert {tuple(sorted(order[:2])), tuple(sorted(order[2:]))} == {(0, 2), (1, 3)}
    assert order == confused_order(confusion)


def test_groups_hold_every_image_once() -> None:
    confusion = confusion_of(ANIMALS)
    assert confusion is not None
    two = grouped(confusion, [[0, 2], [1, 3]])
    assert two.classes == ("cat, dog", "truck, car")
    assert two.counts.tolist() == [[8, 0], [0, 8], [1, 0]]


def test_several_fits_are_averaged() -> None:
    confusion = confusion_of(predictions([0, 1], [[0, 1], [1, 1]]))
    assert confusion is not None
    assert confusion.num_fits == 2
    assert confusion.counts[0].tolist() == [0.5, 0.5, 0, 0]


def test_images_of_several_classes_have_no_confusions() -> None:
    tags = Predictions(
        keys=("a",), classes=("x", "y"), targets=np.array([[1, 0]]), predicted=np.array([[1, 1]])
    )
    assert confusion_of(tags) is None
    assert confusion_section([run(predictions={"knn": tags})]) == ""


def test_the_most_frequent_mistakes_come_first_and_right_answers_never() -> None:
    confusion = confusion_of(ANIMALS)
    assert confusion is not None
    pairs = confused_pairs(confusion, 10)
    assert pairs[0][:2] == (0, 2)
    assert [pair.images for pair in pairs] == [2, 1, 1, 1]
    perfect = confusion_of(predictions([0, 1], [0, 1]))
    assert perfect is not None
    assert confused_pairs(perfect, 10) == []


def test_mistakes_that_another_protocol_makes_too_are_shown_first() -> None:
    linear = replace(ANIMALS, predicted=np.where(np.arange(17) == 3, 2, ANIMALS.targets % 4))
    alone = shown_mistakes({"knn": ANIMALS}, "knn")[0]
    beside = shown_mistakes({"knn": ANIMALS, "linear": linear}, "knn")[0]
    assert list(alone.rows) == [2, 3]
    assert list(beside.rows) == [3, 2]


def test_the_section_shows_every_part_and_needs_no_images() -> None:
    page = confusion_section([run(start_predictions={"knn": ANIMALS})])
    for text in ("classes not learned", "cat</b> taken for <b>dog", "Recall", "untrained", "50.0"):
        assert text in page
    assert "were not found again" in page
    assert "<img" not in page
    assert confusion_section([run(predictions={})]) == ""


def test_runs_are_folded_and_the_first_is_open() -> None:
    page = confusion_section([run(), run(label="MoCo v2")])
    assert page.count('<details class="run-classes" open>') == 1
    assert page.count('<details class="run-classes">') == 1
    assert page.count('name="run0-knn"') == page.count('name="run1-knn"') == 2


def test_predictions_that_are_lost_are_told() -> None:
    lost = run(predictions={}, lost_predictions=("knn.npz is missing; use `sparring evaluate`",))
    assert "knn.npz is missing" in confusion_section([lost])


def many(count: int, images: int = 3000) -> Predictions:
    draws = np.random.default_rng(0)
    targets = draws.integers(0, count, images)
    said = np.where(draws.random(images) < 0.6, targets, draws.integers(0, count, images))
    names = tuple(f"class {number}" for number in range(count))
    return predictions(targets.tolist(), said.tolist(), classes=names)


@pytest.mark.parametrize(("count", "rows"), [(2, 2), (30, 30), (31, 16), (100, 16)])
def test_many_classes_are_shown_in_groups(count: int, rows: int) -> None:
    page = confusion_section([run(predictions={"knn": many(count)})])
    matrix = page[page.index("<table") : page.index("</table>")]
    assert matrix.count("<tr>") == rows + 1
    assert page.count("taken for <b>") == min(6, count)
    assert len(page.encode()) < 150_000


@pytest.mark.slow
def test_a_thousand_classes_leave_a_small_section() -> None:
    page = confusion_section([run(predictions={"knn": many(1000, 20_000)})])
    assert "940 classes in the middle are left out" in page
    assert len(page.encode()) < 150_000


def photos(folder: Path, *, value: int = 0) -> Path:
    folder.mkdir()
    for number in range(17):
        image = np.full((8, 8, 3), 10 * number + value, np.uint8)
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder


def scored(folder: Path) -> RunSummary:
    fingerprint = open_source(folder).content_fingerprint()
    test = ImageSet(name=str(folder), fingerprint=fingerprint, images=17)
    record = ScoredResult(encoder="trained", protocol="knn", test=test)
    return run(records={"knn": record})


def test_mistaken_images_are_found_where_they_lie_or_where_they_moved(tmp_path: Path) -> None:
    summary = scored(photos(tmp_path / "photos"))
    found = mistake_images(summary)["knn"]
    assert found["002.png"].mean() == 20
    assert len(found) == 5
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert mistake_images(summary) == {"knn": {}}
    assert mistake_images(summary, tmp_path / "moved")["knn"]["002.png"].mean() == 20


def test_other_images_of_the_same_names_are_never_shown(tmp_path: Path) -> None:
    summary = scored(photos(tmp_path / "photos"))
    other = photos(tmp_path / "other", value=5)
    (tmp_path / "photos").rename(tmp_path / "gone")
    assert mistake_images(summary, other) == {"knn": {}}


def test_a_command_in_a_run_folder_is_never_started(tmp_path: Path) -> None:
    place = tmp_path / "started"
    record = ScoredResult(
        encoder="trained", protocol="knn", test=ImageSet(name=f"pipe:touch {place}")
    )
    assert mistake_images(run(records={"knn": record})) == {"knn": {}}
    assert not place.exists()


def test_names_of_classes_and_images_are_escaped() -> None:
    evil = "<script>alert(1)</script>"
    given = predictions([0, 1], [1, 1], classes=(evil, '"x'))
    given = replace(given, keys=(evil, "b"))
    pixels = np.zeros((4, 4, 3), np.uint8)
    page = confusion_section([run(predictions={"knn": given}, mistakes={"knn": {evil: pixels}})])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<img" in page
