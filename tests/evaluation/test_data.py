"""Images under evaluation: honest splits, classes matched by name, a sentence for what cannot be
scored."""

from typing import Any

import pytest
from pixel_encoder import Images, Pixels, coloured, matrices, run

from sparring.errors import DataError
from sparring.measures.knn import knn_accuracy


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
        knn_accuracy(
            features[30:], labels[30:], queries[1::2], expected[1::2], num_neighbors=20
        )  # the images of each class
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
    data = matrices((images, labels), (images[keep], labels[keep]))
    expected = knn_accuracy(*data, num_neighbors=20)  # the images of each class
    assert score["accuracy"] == pytest.approx(
        expected
    )  # the test folder numbers its classes from bee = 0
    assert expected > 0.5


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
