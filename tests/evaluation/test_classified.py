"""Images with known classes: matched by name, of the right part, none scored that was learned
without a word."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pixel_encoder import Images, Pixels, coloured, run

from sparring.errors import DataError


class Heard:
    """Keeps the lines that are reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def report(self, line: str) -> None:
        self.lines.append(line)

    def count(self, what: str, done: int, total: int) -> None: ...


def write(root: Path, images: Images, names: tuple[str, ...] = ("ant", "bee", "cat")) -> Path:
    for number, (image, label) in enumerate(zip(*images, strict=True)):
        path = root / names[label] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def scored(train: Any, test: Any) -> tuple[dict[str, Any], list[str]]:
    heard = Heard()
    return run(["knn"], train, test, Pixels(), listener=heard)["knn"], heard.lines


def test_names_against_numbers_are_refused(tmp_path: Path) -> None:
    train = write(tmp_path / "train", coloured(30, 0))
    with pytest.raises(
        DataError, match=r"no class is in both sets: .* 'ant', 'bee', 'cat', .* '0', '1', '2'"
    ):
        scored(train, coloured(12, 1))


def test_classes_of_one_side_only_are_told(tmp_path: Path) -> None:
    train = write(tmp_path / "train", coloured(30, 0))
    score, lines = scored(train, write(tmp_path / "test", coloured(12, 1), ("bee", "cat", "dog")))
    assert score["images_of_unseen_classes"] == 4
    assert "the training images do not show 'dog': the test images of it count as errors" in lines
    assert "the test images do not show 'ant'" in lines


def test_test_images_of_one_class_are_told() -> None:
    train, test = coloured(30, 0), coloured(12, 1)
    _, lines = scored(train, (test[0], np.zeros_like(test[1])))
    assert "all test images are of one class, '0'" in lines


def test_labels_that_cannot_be_used_are_the_reason_of_the_refusal(tmp_path: Path) -> None:
    write(tmp_path, coloured(6, 0))
    rows = [f"{path.relative_to(tmp_path)},0.5" for path in sorted(tmp_path.rglob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.raises(DataError, match=r"no labels to score with: .*hold 0\.5, which is neither"):
        scored(tmp_path / "list.csv", None)


def test_an_image_outside_the_class_folders_is_the_reason_of_the_refusal(tmp_path: Path) -> None:
    write(tmp_path, coloured(6, 0))
    (tmp_path / "ant" / "000.png").rename(tmp_path / "stray.png")
    with pytest.raises(DataError, match=r"\(stray\.png is in no class folder\)"):
        scored(tmp_path, None)


def test_composed_and_decomposed_names_of_two_tables_are_one_class(tmp_path: Path) -> None:
    names = ("cafe\u0301", "bar", "tea"), ("caf\u00e9", "bar", "tea")
    sets = [
        write(tmp_path / str(number), coloured(30, number), own) for number, own in enumerate(names)
    ]
    score, lines = scored(*sets)
    assert "images_of_unseen_classes" not in score
    assert not lines


def test_the_test_part_of_a_set_is_scored_by_itself(tmp_path: Path) -> None:
    train, test = coloured(30, 0), coloured(12, 1)
    write(tmp_path / "train", train)
    write(tmp_path / "test", test)
    score, lines = scored(tmp_path, None)
    assert (score["train_images"], score["test_images"]) == (30, 12)
    assert score["tested_on"] == "all labelled images of the part 'test'"
    assert score["accuracy"] == scored(train, test)[0]["accuracy"]
    assert [("only train" in line, "only test" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]


def test_the_training_part_may_be_scored_when_it_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train", coloured(30, 0))
    write(tmp_path / "val", coloured(12, 1))
    assert scored(tmp_path / "train", tmp_path / "val")[0]["test_images"] == 12
    held_out = scored(tmp_path / "train", None)[0]
    assert (held_out["train_images"], held_out["test_images"]) == (24, 6)


def test_a_shuffled_list_of_the_training_images_is_held_out(tmp_path: Path) -> None:
    write(tmp_path / "train", coloured(30, 0))
    files = sorted((tmp_path / "train").rglob("*.png"))
    order = np.random.default_rng(0).permutation(len(files))
    rows = [f"{files[n].relative_to(tmp_path)},{files[n].parent.name}" for n in order]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    score, _ = scored(tmp_path / "train", tmp_path / "list.csv")
    assert (score["train_images"], score["test_images"]) == (24, 6)
    assert "held out" in score["tested_on"]
    assert "images_also_learned_from" not in score


def test_a_part_of_the_training_images_under_other_names_is_held_out() -> None:
    images, labels = coloured(30, 0)
    score, _ = scored((images, labels), (images[15:][::-1], labels[15:][::-1]))
    assert (score["train_images"], score["test_images"]) == (27, 3)
    assert "images_also_learned_from" not in score


def test_some_common_images_are_counted_and_told() -> None:
    images, labels = coloured(30, 0)
    others, more = coloured(12, 1)
    test = np.concatenate([others, images[:4]]), np.concatenate([more, labels[:4]])
    score, lines = scored((images, labels), test)
    assert (score["train_images"], score["test_images"]) == (30, 16)
    assert score["images_also_learned_from"] == 4
    (line,) = lines
    assert line.startswith("4 of the 16 images to score are also learned from, such as image 12")


def test_copies_within_one_set_are_counted_across_the_held_out_part() -> None:
    images, labels = coloured(30, 0)
    twice = np.concatenate([images, images]), np.concatenate([labels, labels])
    score, lines = scored(twice, None)
    assert (score["train_images"], score["test_images"]) == (48, 12)
    assert 0 < score["images_also_learned_from"] <= 12
    assert "also learned from" in lines[0]


def test_a_class_of_a_single_image_is_never_scored_and_that_is_told(tmp_path: Path) -> None:
    images, labels = coloured(31, 0, classes=2)
    labels = np.where(np.arange(31) == 30, 2, labels)
    score, lines = scored(write(tmp_path / "set", (images, labels)), None)
    assert score["train_images"] + score["test_images"] == 31
    assert any("'cat': a single image of it" in line for line in lines)


def test_sets_without_a_common_image_report_nothing() -> None:
    score, lines = scored(coloured(30, 0), coloured(12, 1))
    assert not lines
    assert "images_also_learned_from" not in score
