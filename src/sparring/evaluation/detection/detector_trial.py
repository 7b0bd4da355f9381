"""Shared by object detection and instance segmentation: open both sets, train a detector, score
it."""

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from sparring.data.sources.annotations import AnnotatedImages
from sparring.data.sources.detection_layouts import ACCEPTED, open_detection_images
from sparring.data.sources.run_lengths import needs_coco_eval, run_lengths_of
from sparring.errors import DataError
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.detection.coco_score import AnnotatedObjects, coco_score
from sparring.evaluation.detection.detector_settings import DetectorSettings
from sparring.evaluation.detection.detector_training import (
    batches,
    detect,
    drawing,
    learnable,
    train,
)
from sparring.evaluation.detection.detectors import resize_to
from sparring.evaluation.protocol import Result
from sparring.models.encoder import Encoder
from sparring.seeding import generator

_FEW_IMAGES = 4


class Build(Protocol):
    """Makes a detector from an encoder; see `detectors`."""

    def __call__(
        self, encoder: Encoder, settings: DetectorSettings, *, num_classes: int
    ) -> nn.Module: ...


@dataclass(frozen=True, kw_only=True)
class DetectionTask:
    """The kind of objects a detector is trained to find: boxes, or outlines too."""

    name: str
    build: Build
    scores: dict[str, Literal["bbox", "segm"]]
    """Kind of overlap that is counted, by the prefix of its numbers; the one without prefix comes
    first."""

    @property
    def has_masks(self) -> bool:
        """Whether the detector learns outlines."""
        return "segm" in self.scores.values()


@dataclass(frozen=True, kw_only=True)
class DetectionSets:
    """Annotated images to learn from and to score, their classes under the same numbers."""

    train: AnnotatedImages
    train_rows: list[int]
    test: AnnotatedImages
    test_rows: list[int]
    test_labels: Tensor
    """The detector's label of each class of the test set; 0 where it has none and no object
    either."""


def trial(
    evaluated: EvaluatedEncoder,
    data: EvaluationData,
    settings: DetectorSettings,
    task: DetectionTask,
) -> Result:
    """Train a detector that starts from the encoder, and score it.

    Raises:
        DataError: for sets that cannot be used.
        ConfigError: for a backbone that is no ResNet.
        TrainingError: for a loss that is not finite.
    """
    sets = open_sets(data, task, reports=evaluated.is_trained)
    names = sets.train.class_names
    with drawing(data.seed, data.device):
        model = task.build(evaluated.trainable_copy(), settings, num_classes=len(names))
        source = batches(
            sets.train,
            sets.train_rows,
            batch_size=settings.batch_size,
            seed=data.seed,
            with_masks=task.has_masks,
        )
        with closing(source):
            steps = data.progress(f"{task.name} of the {evaluated.name} encoder, training")
            loss = train(model, source, settings, device=data.device, progress=steps)
    resize_to(model, settings.test_size)
    detecting = data.progress(f"{task.name} of the {evaluated.name} encoder, test images")
    found = detect(model, sets.test, sets.test_rows, device=data.device, progress=detecting)
    truths = [truth(sets, row, with_masks=task.has_masks) for row in sets.test_rows]
    result: Result = {}
    for prefix, by in task.scores.items():
        scored = coco_score(truths, found, class_names=names, by=by)
        result.update(
            scored
            if not prefix
            else {f"{prefix}{key}": value for key, value in scored.items() if key.startswith("ap")}
        )
    return {**result, **_facts(sets, settings, loss)}


def open_sets(data: EvaluationData, task: DetectionTask, *, reports: bool) -> DetectionSets:
    """Open both sets and check them for whatever would stop the trial later.

    Raises:
        DataError: if one is missing, has no objects or no outlines, or an image is not as
            annotated.
    """
    needs_coco_eval()
    if data.train is None or data.test is None:
        raise DataError(
            f"{task.name} learns from annotated images and is scored on others: give both, "
            f"--train-data and --data, {ACCEPTED}"
        )
    train_set, test_set = open_detection_images(data.train), open_detection_images(data.test)
    train_set.form, test_set.form = data.form(train_set), data.form(test_set)
    if train_set.fingerprint() == test_set.fingerprint():
        raise DataError(
            f"{task.name} needs other images to score than to learn from; --train-data and "
            "--data are the same"
        )
    for which, images in (("training", train_set), ("test", test_set)):
        if task.has_masks and images.outlines_missing:
            raise DataError(
                f"{task.name} needs outlines, and the {which} set has none: "
                f"{images.outlines_missing}"
            )
        for line in _oddities(which, images) if reports else ():
            data.report(line)
    limits = data.limits
    learned = learnable(train_set)
    if not learned:
        raise DataError(
            f"none of the {len(train_set):,} training images shows an object to learn from"
        )
    chosen = _limited(list(range(len(test_set))), limits[1])
    labels = _matched(train_set.class_names, test_set, chosen)
    checking = data.progress("sizes of the test images")
    for number, row in enumerate(chosen, start=1):
        test_set.check(row)  # before the hours that training takes
        if checking is not None:
            checking(number, len(chosen))
    return DetectionSets(
        train=train_set,
        train_rows=_limited(learned, limits[0]),
        test=test_set,
        test_rows=chosen,
        test_labels=labels,
    )


def truth(sets: DetectionSets, row: int, *, with_masks: bool) -> AnnotatedObjects:
    """The annotated objects of a test image, in the detector's labels."""
    objects = sets.test.objects(row)
    height, width = sets.test.sizes[row].tolist()
    outlines = None
    if with_masks:
        outlines = run_lengths_of(sets.test.masks(row))
    return AnnotatedObjects(
        objects=replace(objects, labels=sets.test_labels[objects.labels - 1]),
        size=(height, width),
        outlines=outlines,
    )


def _oddities(which: str, images: AnnotatedImages) -> list[str]:
    lines = []
    if images.num_clipped:
        lines.append(
            f"{images.num_clipped:,} boxes of the {which} set reach beyond their image; they "
            "were cut off at its edge"
        )
    if images.num_dropped:
        lines.append(
            f"{images.num_dropped:,} boxes of the {which} set cover nothing of their image; "
            "they were left out"
        )
    return lines


def _limited(rows: list[int], limit: int | None) -> list[int]:
    if limit is None or limit >= len(rows):
        return rows
    order = torch.randperm(len(rows), generator=generator(0, "limit"))[:limit].sort().values
    return [rows[place] for place in order.tolist()]


def _matched(names: tuple[str, ...], test_set: AnnotatedImages, rows: list[int]) -> Tensor:
    """The detector's label of each class of the test set."""
    objects = test_set.everything
    counted = objects.labels[torch.isin(objects.image, torch.tensor(rows)) & ~objects.is_ignored]
    if not len(counted):
        raise DataError(f"none of the {len(rows):,} test images shows an object to find")
    present = {test_set.class_names[label - 1] for label in torch.unique(objects.labels).tolist()}
    if unknown := sorted(present - set(names)):
        raise DataError(
            f"the test set has classes that the training set lacks: {', '.join(unknown)}; it "
            f"has {', '.join(names)}"
        )
    return torch.tensor(
        [names.index(name) + 1 if name in names else 0 for name in test_set.class_names],
        dtype=torch.long,
    )


def _facts(sets: DetectionSets, settings: DetectorSettings, loss: float) -> Result:
    """Facts that stand beside the score in the result."""
    facts: Result = {
        "architecture": settings.architecture,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "training_loss": loss,
        "classes": len(sets.train.class_names),
        "train_images": len(sets.train_rows),
        "test_images": len(sets.test_rows),
    }
    if settings.batch_size < _FEW_IMAGES:
        facts["note"] = (
            f"the batch norms learned from {settings.batch_size} images per step; the papers "
            "take 16, and fewer cost precision"
        )
    return facts
