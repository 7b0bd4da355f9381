"""Average precision as COCO defines it, of boxes and of outlines; counted by faster-coco-eval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparring.data.run_lengths import RunLengths, area_of, needs_coco_eval
from sparring.data.sources.annotations import Objects
from sparring.evaluation.protocol import Result, table

MAX_DETECTIONS = 100
"""Number of best-scored detections per image that count, by COCO's rule."""
# Rows of the precision array: thresholds 0.5, 0.55, ... 0.95.
_AT_50, _AT_75 = 0, 5


@dataclass(frozen=True, kw_only=True)
class AnnotatedObjects:
    """The annotated objects of one image."""

    objects: Objects
    size: tuple[int, int]
    """Height and width in pixels."""
    outlines: list[RunLengths] | None = None
    """One per object; None where boxes are scored."""


@dataclass(frozen=True, kw_only=True)
class DetectedObjects:
    """The objects that a detector finds in one image."""

    boxes: Float[Tensor, "found 4"]
    """Left, top, right, bottom in pixels."""
    labels: Int[Tensor, "found"]
    scores: Float[Tensor, "found"]
    outlines: list[RunLengths] | None = None


def coco_score(
    truths: Sequence[AnnotatedObjects],
    found: Sequence[DetectedObjects],
    *,
    class_names: Sequence[str],
    by: Literal["bbox", "segm"],
) -> Result:
    """COCO average precision over ten thresholds of overlap, and its parts by threshold, size and
    class.

    A detection is right if it overlaps an object of its class, not yet found by a better-scored
    one, with intersection / union >= threshold. Where crowds or difficult objects are, detections
    count neither for nor against.

    Args:
        truths: one per image.
        found: one per image, in the same order.
        class_names: of the labels 1, 2, ...
        by: overlap of boxes or of outlines.

    Returns:
        `ap` (mean over thresholds 0.5, 0.55, ... 0.95), `ap50`, `ap75`; `ap_small`, `ap_medium`,
        `ap_large` (areas below 32^2, up to 96^2, above), None where no such object is;
        `ap50_11_points`, over the recalls 0, 0.1, ... 1 as VOC 2007 does; `ar`, the share of
        objects found, over the same thresholds; and a table by class. Classes that the images do
        not show have no part in a mean.

    Raises:
        DataError: without faster-coco-eval.

    Source: Lin et al. 2014 (COCO), arXiv:1405.0312, and its evaluation page; Everingham et al. 2010
    (VOC), section 4.2.
    """
    precision, recall = _counted(truths, found, num_classes=len(class_names), by=by)
    whole = precision[..., 0]  # all sizes
    sizes = {
        name: _mean(precision[..., place])
        for place, name in enumerate(("ap_small", "ap_medium", "ap_large"), start=1)
    }
    numbers = {
        "ap": _mean(whole),
        "ap50": _mean(whole[_AT_50]),
        "ap75": _mean(whole[_AT_75]),
        **sizes,
        "ap50_11_points": _mean(whole[_AT_50, ::10]),
        "ar": _mean(recall[..., 0]),
    }
    return {**numbers, "table": _by_class(whole, truths, class_names)}


def _counted(
    truths: Sequence[AnnotatedObjects],
    found: Sequence[DetectedObjects],
    *,
    num_classes: int,
    by: str,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Precision (thresholds, recalls, classes, sizes) and recall (thresholds, classes, sizes); -1
    where no object is annotated."""
    needs_coco_eval()
    from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

    images = [
        {"id": number, "height": truth.size[0], "width": truth.size[1]}
        for number, truth in enumerate(truths, start=1)
    ]
    categories = [{"id": label, "name": str(label)} for label in range(1, num_classes + 1)]
    tables = [
        COCO(
            {"images": images, "categories": categories, "annotations": annotations},
            print_function=_silent,
        )
        for annotations in (_true_annotations(truths), _found_annotations(found))
    ]
    scoring = COCOeval_faster(*tables, iouType=by, print_function=_silent)
    scoring.params.maxDets = [MAX_DETECTIONS]
    scoring.evaluate()
    scoring.accumulate()
    return np.asarray(scoring.eval["precision"])[..., -1], np.asarray(scoring.eval["recall"])[
        ..., -1
    ]


def _true_annotations(truths: Sequence[AnnotatedObjects]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for image, truth in enumerate(truths, start=1):
        objects = truth.objects
        for row, box in enumerate(objects.boxes.tolist()):
            outline = {"segmentation": truth.outlines[row]} if truth.outlines is not None else {}
            annotations.append(
                {
                    **_entry(len(annotations) + 1, image, int(objects.labels[row]), box),
                    "area": float(objects.areas[row]),
                    "iscrowd": int(objects.is_ignored[row]),
                    **outline,
                }
            )
    return annotations


def _found_annotations(found: Sequence[DetectedObjects]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for image, one in enumerate(found, start=1):
        for row, box in enumerate(one.boxes.tolist()):
            outline = {"segmentation": one.outlines[row]} if one.outlines is not None else {}
            area = (
                area_of(one.outlines[row])
                if one.outlines is not None
                else (box[2] - box[0]) * (box[3] - box[1])
            )
            entry = _entry(len(annotations) + 1, image, int(one.labels[row]), box)
            annotations.append(
                {**entry, "area": area, "iscrowd": 0, "score": float(one.scores[row]), **outline}
            )
    return annotations


def _entry(number: int, image: int, label: int, box: Sequence[float]) -> dict[str, Any]:
    left, top, right, bottom = box
    return {
        "id": number,
        "image_id": image,
        "category_id": label,
        "bbox": [left, top, right - left, bottom - top],
    }


def _mean(values: npt.NDArray[Any]) -> float | None:
    """Mean over the entries for which objects are annotated."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _by_class(
    precision: npt.NDArray[Any], truths: Sequence[AnnotatedObjects], class_names: Sequence[str]
) -> Result:
    labels = torch.cat([truth.objects.labels[~truth.objects.is_ignored] for truth in truths])
    rows = [
        [
            name,
            int((labels == place + 1).sum()),
            _mean(precision[:, :, place]),
            _mean(precision[_AT_50, :, place]),
        ]
        for place, name in enumerate(class_names)
    ]
    return table(["class", "objects", "AP %", "AP50 %"], rows, title="average precision by class")


def _silent(*_: object) -> None:
    """Suppress what the counting package prints."""
