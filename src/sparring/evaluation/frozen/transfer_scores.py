"""Scores of the transfer protocol: accuracies, average precisions and the hardest classes."""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.sources.public_sets import PublicSet
from sparring.errors import DataError
from sparring.evaluation.protocol import Result, table
from sparring.measures.accuracy import class_accuracies
from sparring.measures.average_precision import (
    area_average_precision,
    eleven_point_average_precision,
)

AVERAGE_PRECISION = {
    "11-point-mAP": eleven_point_average_precision,
    "area-mAP": area_average_precision,
}
_LISTED_CLASSES = 20


def accuracies_by_metric(
    is_right: Bool[Tensor, "images"], labels: Int[Tensor, "images"]
) -> dict[str, float]:
    """Accuracy over all images, and its mean over classes, by name of the metric."""
    return {
        "top-1": is_right.cpu().double().mean().item(),
        "mean-per-class": class_accuracies(is_right, labels)[1].mean().item(),
    }


def average_precisions(
    logits: Float[Tensor, "rows classes"], presence: Int[Tensor, "rows classes"], metric: str
) -> list[float | None]:
    """Average precision of each class, on the images that are not only difficult in it; None for a
    class that no image shows."""
    measure, found = AVERAGE_PRECISION[metric], []
    for scores, there in zip(logits.T, presence.T, strict=True):
        is_known = there >= 0
        found.append(
            measure(scores[is_known], there[is_known] == 1) if bool((there == 1).any()) else None
        )
    return found


def mean_over_classes(values: Sequence[float | None], named: PublicSet) -> float:
    """Mean of the values over the classes that occur."""
    known = [value for value in values if value is not None]
    if not known:
        raise DataError(
            f"no image of {named.name} that is to be scored shows any class; look at more images"
        )
    return sum(known) / len(known)


def hardest_classes(is_right: Tensor, labels: Tensor, dataset: Dataset) -> Result:
    """Table of the classes with the lowest accuracy."""
    classes, accuracies = class_accuracies(is_right, labels)
    names, order = dataset.class_names, accuracies.argsort(stable=True)[:_LISTED_CLASSES].tolist()
    rows = []
    for place in order:
        label = int(classes[place])
        name = names[label] if names is not None and label < len(names) else str(label)
        rows.append((name, int((labels == label).sum()), accuracies[place].item()))
    title = (
        "Accuracy by class"
        if len(classes) <= _LISTED_CLASSES
        else f"The {_LISTED_CLASSES} hardest of {len(classes)} classes"
    )
    return table(["class", "test images", "accuracy %"], rows, title=title)
