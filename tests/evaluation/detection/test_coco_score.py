"""Average precision: known answers, and pycocotools on random detections."""

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from sparring.data.run_lengths import run_lengths_of
from sparring.data.sources.annotations import ObjectAnnotation, stack_annotations
from sparring.errors import DataError
from sparring.evaluation.detection.coco_score import AnnotatedObjects, DetectedObjects, coco_score

SIZE = (240, 320)
NAMES = ("a", "b", "c")
Box = tuple[float, float, float, float]


def truth(
    *marks: tuple[Box, int],
    crowd: Sequence[int] = (),
    difficult: Sequence[int] = (),
    masks: Tensor | None = None,
) -> AnnotatedObjects:
    found = [
        ObjectAnnotation(
            0,
            box,
            label,
            (box[2] - box[0]) * (box[3] - box[1]),
            number in crowd,
            number in difficult,
        )
        for number, (box, label) in enumerate(marks)
    ]
    return AnnotatedObjects(
        objects=stack_annotations(found),
        size=SIZE,
        outlines=None if masks is None else run_lengths_of(masks),
    )


def found(*detections: tuple[Box, int, float], masks: Tensor | None = None) -> DetectedObjects:
    return DetectedObjects(
        boxes=torch.tensor([box for box, _, _ in detections]).reshape(-1, 4),
        labels=torch.tensor([label for _, label, _ in detections], dtype=torch.long),
        scores=torch.tensor([score for _, _, score in detections]),
        outlines=None if masks is None else run_lengths_of(masks),
    )


def score(truths: list[AnnotatedObjects], detections: list[DetectedObjects]) -> dict[str, Any]:
    return coco_score(truths, detections, class_names=NAMES, by="bbox")


SMALL, MEDIUM, LARGE = (10, 10, 30, 30), (50, 50, 100, 110), (100, 20, 250, 180)


def test_perfect_detections_have_precision_one_at_every_size() -> None:
    result = score(
        [truth((SMALL, 1), (MEDIUM, 2)), truth((LARGE, 1))],
        [found((MEDIUM, 2, 0.3), (SMALL, 1, 0.9)), found((LARGE, 1, 0.2))],
    )
    assert all(
        result[key] == pytest.approx(1)
        for key in (
            "ap",
            "ap50",
            "ap75",
            "ap_small",
            "ap_medium",
            "ap_large",
            "ap50_11_points",
            "ar",
        )
    )
    assert result["table"]["rows"] == [
        ["a", 2, pytest.approx(1), pytest.approx(1)],
        ["b", 1, pytest.approx(1), pytest.approx(1)],
        ["c", 0, None, None],
    ]


def test_a_box_that_overlaps_by_six_tenths_is_right_up_to_that_threshold() -> None:
    # Width 80, shifted by 20: 60 of 100 columns are shared. 0.6 itself is left to rounding, so a
    # little less is taken.
    result = score([truth(((0, 0, 80, 80), 1))], [found(((19.4, 0, 99.4, 80), 1, 0.9))])
    assert result["ap50"] == pytest.approx(1)
    assert result["ap75"] == 0
    assert result["ap"] == pytest.approx(0.3)  # right at 0.5, 0.55 and 0.6
    assert result["ap_large"] is None
    assert result["ap_medium"] == pytest.approx(0.3)


def test_a_better_scored_mistake_halves_precision_and_a_worse_one_costs_nothing() -> None:
    right, wrong = (MEDIUM, 1), (200, 150, 250, 190)
    assert score([truth(right)], [found((MEDIUM, 1, 0.5), (wrong, 1, 0.9))])["ap"] == pytest.approx(
        0.5
    )
    assert score([truth(right)], [found((MEDIUM, 1, 0.5), (wrong, 1, 0.1))])["ap"] == pytest.approx(
        1
    )


def test_a_second_detection_of_one_object_is_a_mistake() -> None:
    both = [truth((MEDIUM, 1)), truth((MEDIUM, 1))]
    twice = [found((MEDIUM, 1, 0.9), (MEDIUM, 1, 0.8)), found((MEDIUM, 1, 0.7))]
    # Precision 1 up to recall 1/2 (51 of 101 recalls), then 2/3.
    assert score(both, twice)["ap"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert score(both, twice)["ap50_11_points"] == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_the_wrong_class_finds_nothing_and_classes_count_alike() -> None:
    result = score([truth((MEDIUM, 1), (LARGE, 2))], [found((MEDIUM, 2, 0.9), (LARGE, 2, 0.8))])
    assert [row[2] for row in result["table"]["rows"]] == [0, pytest.approx(0.5), None]
    assert result["ap"] == pytest.approx(0.25)


@pytest.mark.parametrize("kind", ["crowd", "difficult"])
def test_crowds_and_difficult_objects_are_neither_missed_nor_mistaken(kind: str) -> None:
    shown = truth((MEDIUM, 1), (LARGE, 1), **{kind: [1]})  # type: ignore[arg-type]
    assert score([shown], [found((MEDIUM, 1, 0.5))])["ap"] == pytest.approx(1)
    parts = [((110, 30, 150, 60), 1, 0.9), ((160, 30, 200, 60), 1, 0.8)]  # within the crowd
    assert score([shown], [found((MEDIUM, 1, 0.5), *parts)])["ap"] == pytest.approx(1)
    assert score([shown], [found((MEDIUM, 1, 0.5), ((5, 5, 40, 40), 1, 0.9))])[
        "ap"
    ] == pytest.approx(0.5)
    assert score([shown], [found((MEDIUM, 1, 0.5))])["table"]["rows"][0][1] == 1


def test_nothing_found_is_zero_and_only_the_first_hundred_of_an_image_count() -> None:
    assert score([truth((MEDIUM, 1))], [found()])["ap"] == 0
    wrong = [((200.0, 150.0, 250.0, 190.0), 1, 0.9)] * 100
    assert score([truth((MEDIUM, 1))], [found(*wrong, (MEDIUM, 1, 0.5))])["ap"] == 0
    assert score([truth((MEDIUM, 1))], [found(*wrong[1:], (MEDIUM, 1, 0.5))])[
        "ap"
    ] == pytest.approx(0.01)


def test_outlines_are_compared_as_outlines() -> None:
    whole = torch.zeros(1, *SIZE, dtype=torch.bool)
    whole[0, 50:110, 50:100] = True
    half = whole.clone()
    half[0, 50:78] = False  # 32 of 60 rows stay: overlap 0.533
    shown, seen = truth((MEDIUM, 1), masks=whole), found((MEDIUM, 1, 0.9), masks=half)
    result = coco_score([shown], [seen], class_names=NAMES, by="segm")
    assert (result["ap50"], result["ap"]) == (pytest.approx(1), pytest.approx(0.1))
    assert coco_score([shown], [seen], class_names=NAMES, by="bbox")["ap"] == pytest.approx(1)


def reference(
    truths: Sequence[AnnotatedObjects], detections: Sequence[DetectedObjects], by: str
) -> list[float]:
    """pycocotools' AP, AP50, AP75, small, medium, large."""
    truths_json: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (shown, seen) in enumerate(zip(truths, detections, strict=True), start=1):
        objects = shown.objects
        for row, box in enumerate(objects.boxes.tolist()):
            entry = {
                "id": len(truths_json) + 1,
                "image_id": image,
                "category_id": int(objects.labels[row]),
            }
            entry |= {
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": float(objects.areas[row]),
            }
            entry |= {"iscrowd": int(objects.is_ignored[row])} | (
                {"segmentation": shown.outlines[row]} if shown.outlines else {}
            )
            truths_json.append(entry)
        for row, box in enumerate(seen.boxes.tolist()):
            entry = {
                "image_id": image,
                "category_id": int(seen.labels[row]),
                "score": float(seen.scores[row]),
            }
            if by == "segm":
                assert seen.outlines is not None
                results.append({**entry, "segmentation": seen.outlines[row]})
            else:
                results.append(
                    {**entry, "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
                )
    with contextlib.redirect_stdout(io.StringIO()):
        whole = COCO()
        whole.dataset = {
            "info": {},
            "images": [
                {"id": image, "height": SIZE[0], "width": SIZE[1]}
                for image in range(1, len(truths) + 1)
            ],
            "annotations": truths_json,
            "categories": [{"id": label} for label in range(1, len(NAMES) + 1)],
        }
        whole.createIndex()
        scoring = COCOeval(whole, whole.loadRes(results), by)
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return [float(value) for value in scoring.stats[:6]]


def random_sets(
    seed: int, *, with_masks: bool
) -> tuple[list[AnnotatedObjects], list[DetectedObjects]]:
    """Objects, crowds among them, and detections that are sometimes near them."""
    draw = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(6):
        sides = np.exp(draw.uniform(2.5, 5.6, (8, 2))) * draw.uniform(0.6, 1, (8, 2))
        corner = draw.uniform(0, np.array(SIZE)[::-1] - np.minimum(sides, 190), (8, 2))
        boxes = np.clip(np.concatenate([corner, corner + sides], axis=1), 0, [*SIZE[::-1]] * 2)
        labels = draw.integers(1, 4, 8)
        near = np.clip(
            np.repeat(boxes, 2, axis=0) + draw.normal(0, 4, (16, 4)), 0, [*SIZE[::-1]] * 2
        )
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 2)
        seen = np.where(draw.random(16) < 0.8, np.repeat(labels, 2), draw.integers(1, 4, 16))
        scores = draw.random(16).round(2)  # with ties
        crowd = draw.choice(8, 2, replace=False).tolist()
        marks = [
            ((*map(float, box),), int(label)) for box, label in zip(boxes, labels, strict=True)
        ]
        found_ones = [
            ((*map(float, box),), int(label), float(s))
            for box, label, s in zip(near, seen, scores, strict=True)
        ]
        masks = (ellipses(boxes), ellipses(near)) if with_masks else (None, None)
        truths.append(truth(*marks, crowd=crowd, masks=masks[0]))  # type: ignore[arg-type]
        detections.append(found(*found_ones, masks=masks[1]))  # type: ignore[arg-type]
    return truths, detections


def ellipses(boxes: np.ndarray) -> Tensor:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = [
        ((columns - (left + right) / 2) / (right - left)) ** 2
        + ((rows - (top + bottom) / 2) / (bottom - top)) ** 2
        < 0.25
        for left, top, right, bottom in boxes
    ]
    return torch.from_numpy(np.stack(inside))


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools and NumPy 2
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("by", ["bbox", "segm"])
def test_random_detections_score_as_with_pycocotools(by: Any, seed: int) -> None:
    truths, detections = random_sets(seed, with_masks=by == "segm")
    result = coco_score(truths, detections, class_names=NAMES, by=by)
    ours = [result[key] for key in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")]
    expected = reference(truths, detections, by)
    assert 0.05 < expected[0] < 0.95
    # Both count the same pairs in double precision.
    assert None not in ours
    assert ours == pytest.approx(expected, abs=1e-6)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    score([truth((MEDIUM, 1))], [found((MEDIUM, 1, 0.5))])
    assert capfd.readouterr() == ("", "")


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(DataError, match=r"pip install 'sparring\[detection\]'"):
        score([truth((MEDIUM, 1))], [found()])
