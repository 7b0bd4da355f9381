"""Detection from end to end on coloured rectangles, and a sentence for what cannot be scored."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders

import rectangles
from sparring.data.sources.detection_layouts import open_detection_images
from sparring.errors import DataError
from sparring.evaluation.catalogue import choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.detection.detection import TASK, DetectionSettings, detection
from sparring.evaluation.detection.detector_trial import open_sets, truth
from sparring.evaluation.detection.instance_segmentation import (
    InstanceSegmentationSettings,
    instance_segmentation,
)

FAST: dict[str, Any] = {
    "steps": 100,
    "batch_size": 3,
    "min_size": (96,),
    "max_size": 128,
    "test_size": 96,
    "channels": 16,
    "hidden": 32,
    "regions": 32,
    "proposals": 50,
    "warmup_steps": 5,
    "precise_steps": 5,
    "learning_rate": 0.05,
}
QUICK = {**FAST, "steps": 2, "precise_steps": 1, "batch_size": 2}


def evaluated_encoder(name: str = "trained") -> EvaluatedEncoder:
    """An untrained ResNet-18 of a sixteenth of its width, with the usual stem: the other costs ten
    times as much here."""
    return EvaluatedEncoder(name, tiny_encoders.encoder(small_images=False))


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images to learn from and to score, as COCO annotations."""
    folder = tmp_path_factory.mktemp("rectangles")
    train, test = (
        rectangles.write_coco(folder / str(seed), rectangles.scenes(count, seed=seed))
        for count, seed in ((24, 1), (8, 2))
    )
    return train, test


def evaluation_data(train: Any, test: Any, *, seed: int = 0, **more: Any) -> EvaluationData:
    return EvaluationData(train, test, image_size=16, seed=seed, **more)


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.counted: dict[str, tuple[int, int]] = {}

    def report(self, line: str) -> None:
        self.lines.append(line)

    def count(self, what: str, done: int, total: int) -> None:
        self.counted[what] = done, total


@pytest.mark.parametrize("architecture", ["fpn", pytest.param("c4", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_rectangles_are_found_after_seconds_and_not_without_training(
    sets: tuple[Path, Path], architecture: str
) -> None:
    taught, encoder = (
        DetectionSettings.build({**FAST, "architecture": architecture}),
        evaluated_encoder(),
    )
    result = detection(encoder, evaluation_data(*sets), taught)
    untaught = detection(encoder, evaluation_data(*sets), taught.model_copy(update={"steps": 1}))
    assert result["ap50"] > 0.3
    assert untaught["ap50"] < 0.1
    assert 0 <= result["ap"] <= result["ap50"] <= 1
    assert (result["train_images"], result["test_images"], result["classes"]) == (24, 8, 2)
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("architecture", ["fpn", "c4"])
def test_the_encoder_stays_as_it_is_because_a_copy_learns(
    sets: tuple[Path, Path], architecture: str
) -> None:
    encoder = tiny_encoders.encoder(small_images=False)
    before = tiny_encoders.state_digest(encoder)
    detection(
        EvaluatedEncoder("trained", encoder),
        evaluation_data(*sets, limit=2),
        DetectionSettings.build({**QUICK, "architecture": architecture}),
    )
    assert tiny_encoders.state_digest(encoder) == before
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.slow
def test_two_runs_give_the_same_digits_and_another_seed_gives_others(
    sets: tuple[Path, Path],
) -> None:
    settings = DetectionSettings.build({**QUICK, "steps": 4, "score_threshold": 0.0})
    results = [
        detection(evaluated_encoder(), evaluation_data(*sets, seed=seed), settings)
        for seed in (3, 3, 4)
    ]
    assert results[0] == results[1]
    assert results[0]["training_loss"] != results[2]["training_loss"]


def test_labels_go_by_name_whatever_their_numbers(sets: tuple[Path, Path], tmp_path: Path) -> None:
    made = rectangles.scenes(8, seed=2)
    turned = rectangles.write_coco(tmp_path, made, rectangles.coco_tree(made, ids=(3, 7)))
    opened = [open_sets(evaluation_data(sets[0], path), TASK) for path in (sets[1], turned)]
    assert opened[0].test.class_names == tuple(reversed(opened[1].test.class_names))
    for row in range(8):
        straight, other = (
            truth(one, row, with_masks=False).objects.labels.tolist() for one in opened
        )
        assert (
            straight == other == [2 - kind for kind in made[row].classes]
        )  # red is 1 in the training set, blue 2


def test_voc_lists_and_open_sets_are_taken(tmp_path: Path) -> None:
    train = rectangles.write_voc(tmp_path / "VOC2007", rectangles.scenes(4))
    test = open_detection_images(
        rectangles.write_voc(tmp_path / "other", rectangles.scenes(3, seed=1))
    )
    result = detection(
        evaluated_encoder(), evaluation_data(str(train), test), DetectionSettings.build(QUICK)
    )
    assert (result["train_images"], result["test_images"]) == (4, 3)
    assert [row[0] for row in result["table"]["rows"]] == ["blue", "red"]


def test_limits_are_kept_and_progress_is_told(sets: tuple[Path, Path]) -> None:
    told = Told()
    chosen = DetectionSettings.build({**QUICK, "batch_size": 4})
    result = detection(evaluated_encoder(), evaluation_data(*sets, limit=3, listener=told), chosen)
    assert (result["train_images"], result["test_images"]) == (24, 3)
    assert told.counted["detection of the trained encoder, training"] == (2, 2)
    assert told.counted["detection of the trained encoder, test images"] == (3, 3)
    assert told.lines == []
    assert "note" not in result


def test_few_images_per_step_are_noted(sets: tuple[Path, Path]) -> None:
    result = detection(
        evaluated_encoder(), evaluation_data(*sets, limit=2), DetectionSettings.build(QUICK)
    )
    assert result["note"].startswith("the batch norms learned from 2 images per step")


def test_boxes_that_had_to_be_cut_are_reported_once(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    made = rectangles.scenes(4)
    tree = rectangles.coco_tree(made)
    tree["annotations"][0]["bbox"][2] = 500
    tree["annotations"][1]["bbox"][2] = 0
    path, told = rectangles.write_coco(tmp_path, made, tree), Told()
    data = evaluation_data(path, sets[1], listener=told, limit=2)
    for name in ("trained", "untrained"):
        detection(evaluated_encoder(name), data, DetectionSettings.build(QUICK))
    assert len(told.lines) == len(set(told.lines))
    assert [line for line in told.lines if "boxes" in line] == [
        "1 boxes of the training set reach beyond their image; they were cut off at its edge",
        "1 boxes of the training set cover nothing of their image; they were left out",
    ]


def fails(train: Any, test: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        detection(evaluated_encoder(), evaluation_data(train, test), DetectionSettings.build(QUICK))


def test_what_cannot_be_scored_is_told_before_any_training(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    train, test = sets
    fails(
        None,
        test,
        "learns from annotated images and is scored on others: give both, --train-data and "
        "--data, a COCO",
    )
    fails(train, None, "give both")
    fails(train, train, "--train-data and --data are the same")
    shutil.copytree(train.parent, tmp_path / "copy")
    fails(train, tmp_path / "copy" / train.name, "--train-data and --data are the same")
    fails(np.zeros((4, 8, 8, 3), np.uint8), test, "in memory have no boxes")
    made = rectangles.scenes(3)
    empty = rectangles.write_coco(
        tmp_path / "empty", made, {**rectangles.coco_tree(made), "annotations": []}
    )
    fails(empty, test, "none of the 3 training images shows an object to learn from")
    fails(train, empty, "none of the 3 test images shows an object to find")
    tree = rectangles.coco_tree(made)
    for category in tree["categories"]:
        category["name"] = f"dark {category['name']}"
    fails(
        train,
        rectangles.write_coco(tmp_path / "dark", made, tree),
        "no class is in both sets: the training images show 'red', 'blue', the test images "
        "'dark red', 'dark blue'; give both the same names",
    )
    wrong = rectangles.coco_tree(made)
    wrong["images"][2]["width"] = 300
    fails(
        train,
        rectangles.write_coco(tmp_path / "wrong", made, wrong),
        r"002\.png is 112 x 96 pixels, but its boxes are for 300 x 96",
    )


def test_a_class_that_the_test_set_lists_without_showing_it_may_be_unknown(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    made = rectangles.scenes(3)
    tree = rectangles.coco_tree(made)
    tree["categories"].append({"id": 1, "name": "green"})
    result = detection(
        evaluated_encoder(),
        evaluation_data(sets[0], rectangles.write_coco(tmp_path, made, tree)),
        DetectionSettings.build(QUICK),
    )
    assert result["classes"] == 2


def test_a_class_that_training_lacks_is_told_and_never_found(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    tree, told = rectangles.coco_tree(made := rectangles.scenes(8, seed=2)), Told()
    tree["categories"][0]["name"] = "green"  # it was blue
    data = evaluation_data(sets[0], rectangles.write_coco(tmp_path, made, tree), listener=told)
    result = detection(evaluated_encoder(), data, DetectionSettings.build(QUICK))
    rows = {row[0]: row[1:3] for row in result["table"]["rows"]}
    num_green = sum(scene.classes.count(0) for scene in made)
    assert rows["green"] == [num_green, 0]
    assert rows["blue"] == [0, None]
    assert any("do not show 'green'" in line and "errors" in line for line in told.lines)
    assert any("do not show 'blue'" in line for line in told.lines)
    assert result["classes"] == 2


@pytest.mark.parametrize("which", ["train", "test"])
def test_unreadable_images_are_left_out_counted_and_told(tmp_path: Path, which: str) -> None:
    paths, told = {}, Told()
    for name, seed in (("train", 1), ("test", 2)):
        paths[name] = rectangles.write_coco(tmp_path / name, rectangles.scenes(4, seed=seed))
    whole = (tmp_path / which / "001.png").read_bytes()
    (tmp_path / which / "001.png").write_bytes(whole[: len(whole) // 2])
    data = evaluation_data(paths["train"], paths["test"], listener=told)
    opened = open_sets(data, TASK)
    rows = {"train": opened.train_rows, "test": opened.test_rows}
    assert rows.pop(which) == [0, 2, 3]
    assert list(rows.values()) == [[0, 1, 2, 3]]
    assert len(told.lines) == 1
    assert "1 of the 4" in told.lines[0]
    assert "001.png cannot be read" in told.lines[0]


def test_outlines_and_their_boxes_are_scored(sets: tuple[Path, Path]) -> None:
    encoder = evaluated_encoder()
    before = tiny_encoders.state_digest(encoder.encoder)  # type: ignore[arg-type]
    settings = InstanceSegmentationSettings.build({**QUICK, "score_threshold": 0.0})
    result, again = (
        instance_segmentation(encoder, evaluation_data(*sets, limit=2), settings) for _ in range(2)
    )
    assert result == again
    assert {"ap", "ap50", "ap75", "ar", "box_ap", "box_ap50", "box_ap75"} <= result.keys()
    assert "box_table" not in result
    assert (
        result["training_loss"]
        != detection(encoder, evaluation_data(*sets, limit=2), DetectionSettings.build(QUICK))[
            "training_loss"
        ]
    )
    assert tiny_encoders.state_digest(encoder.encoder) == before  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["fpn", "c4"])
def test_instances_are_outlined_after_seconds(sets: tuple[Path, Path], architecture: str) -> None:
    settings = InstanceSegmentationSettings.build({**FAST, "architecture": architecture})
    result = instance_segmentation(evaluated_encoder(), evaluation_data(*sets), settings)
    assert result["ap50"] > 0.3
    assert result["box_ap50"] > 0.3
    untaught = instance_segmentation(
        evaluated_encoder(),
        evaluation_data(*sets, limit=4),
        settings.model_copy(update={"steps": 1}),
    )
    assert untaught["ap50"] < 0.1


def test_instances_need_outlines(tmp_path: Path, sets: tuple[Path, Path]) -> None:
    tree = rectangles.coco_tree(made := rectangles.scenes(3))
    tree["annotations"][0].pop("segmentation")
    bare = rectangles.write_coco(tmp_path, made, tree)
    for train, test, which in ((bare, sets[1], "training"), (sets[0], bare, "test")):
        with pytest.raises(DataError, match=f"needs outlines, and the {which} set has none: 1 of"):
            instance_segmentation(
                evaluated_encoder(),
                evaluation_data(train, test),
                InstanceSegmentationSettings.build(QUICK),
            )


def test_the_catalogue_knows_both() -> None:
    for name in ("detection", "instance-segmentation"):
        (chosen,) = choose([name], {name: {"steps": 7}})
        assert (chosen.settings.steps, chosen.protocol.headline, chosen.protocol.is_frozen) == (
            7,
            "ap",
            False,
        )  # type: ignore[attr-defined]
