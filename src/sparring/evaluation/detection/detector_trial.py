"""Shared by object detection and instance segmentation: open both sets, train a detector, score
it."""

from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from sparring.data.classes import canonical, match_classes
from sparring.data.run_lengths import needs_coco_eval, run_lengths_of
from sparring.data.sources.annotations import AnnotatedImages
from sparring.data.sources.detection_layouts import ACCEPTED, open_detection_images
from sparring.errors import DataError
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.detection.coco_score import AnnotatedObjects, coco_score
from sparring.evaluation.detection.detector_settings import DetectorSettings
from sparring.evaluation.detection.detector_training import (
    batches,
    detect,
    learnable,
    train,
)
from sparring.evaluation.detection.detectors import resize_to
from sparring.evaluation.protocol import Result
from sparring.evaluation.readable import readable
from sparring.models.encoder import Encoder
from sparring.seeding import drawing, generator

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
    """The detector's label of each class of the test set; 0 where it has none and no object to find
    either."""
    class_names: tuple[str, ...]
    """Classes of the detector's labels 1, 2, ..., then those that only the test set shows."""
    num_shown: int
    """Number of classes that the images to learn from show."""


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
    sets = data.once(("detection", task.name), lambda: open_sets(data, task))
    data.use(sets.train, sets.train_rows, sets.test, sets.test_rows)
    num_classes = len(sets.train.class_names)
    # From the global generators torchvision draws layers, sizes and regions.
    with drawing(data.seed, "detector", device=data.device):
        model = task.build(evaluated.trainable_copy(), settings, num_classes=num_classes)
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
        scored = coco_score(truths, found, class_names=sets.class_names, by=by)
        result.update(
            scored
            if not prefix
            else {f"{prefix}{key}": value for key, value in scored.items() if key.startswith("ap")}
        )
    return {**result, **_facts(sets, settings, loss)}


def open_sets(data: EvaluationData, task: DetectionTask) -> DetectionSets:
    """Open both sets and check them for whatever would stop the trial later. Images that cannot be
    read are left out and told.

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
    if train_set.content_fingerprint() == test_set.content_fingerprint():
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
        for line in (*images.notes, *_oddities(which, images)):
            data.report(line)
    limits = data.limits
    learned = learnable(train_set)
    if not learned:
        raise DataError(
            f"none of the {len(train_set):,} training images shows an object to learn from"
        )
    rows = []
    for which, images, chosen in (
        ("training", train_set, _limited(learned, limits[0], seed=data.seed)),
        (
            "test",
            test_set,
            _limited(list(range(len(test_set))), limits[1], seed=data.split_seed),
        ),
    ):
        look = partial(_look, images, with_masks=task.has_masks)
        rows.append(list(readable(chosen, look, what=f"{which} images", data=data)))
    return _matched(train_set, rows[0], test_set, rows[1], data)


def _look(images: AnnotatedImages, row: int, *, with_masks: bool) -> None:
    """Read an image and its outlines before the hours that training takes."""
    images.image(row)
    if with_masks:
        images.masks(row)


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


def _limited(rows: list[int], limit: int | None, *, seed: int) -> list[int]:
    if limit is None or limit >= len(rows):
        return rows
    order = torch.randperm(len(rows), generator=generator(seed, "limit"))[:limit].sort().values
    return [rows[place] for place in order.tolist()]


def _shown(images: AnnotatedImages, rows: list[int]) -> list[str]:
    """Classes of the objects to learn or to find in some images."""
    objects = images.everything
    counted = objects.labels[torch.isin(objects.image, torch.tensor(rows)) & ~objects.is_ignored]
    return [images.class_names[label - 1] for label in torch.unique(counted).tolist()]


def _matched(
    train: AnnotatedImages,
    train_rows: list[int],
    test: AnnotatedImages,
    test_rows: list[int],
    data: EvaluationData,
) -> DetectionSets:
    """Both sets, their classes matched by name."""
    learned, scored = _shown(train, train_rows), _shown(test, test_rows)
    if not scored:
        raise DataError(f"none of the {len(test_rows):,} test images shows an object to find")
    for note in match_classes(learned, scored).notes:
        data.report(note)
    labels = {canonical(name): label for label, name in enumerate(train.class_names, start=1)}
    new = [name for name in scored if canonical(name) not in labels]
    labels |= {
        canonical(name): len(train.class_names) + place for place, name in enumerate(new, start=1)
    }
    return DetectionSets(
        train=train,
        train_rows=train_rows,
        test=test,
        test_rows=test_rows,
        test_labels=torch.tensor(
            [labels.get(canonical(name), 0) for name in test.class_names], dtype=torch.long
        ),
        class_names=(*train.class_names, *new),
        num_shown=len(learned),
    )


def _facts(sets: DetectionSets, settings: DetectorSettings, loss: float) -> Result:
    """Facts that stand beside the score in the result."""
    facts: Result = {
        "architecture": settings.architecture,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "training_loss": loss,
        "classes": sets.num_shown,
        "train_images": len(sets.train_rows),
        "test_images": len(sets.test_rows),
    }
    if settings.batch_size < _FEW_IMAGES:
        facts["note"] = (
            f"the batch norms learned from {settings.batch_size} images per step; the papers "
            "take 16, and fewer cost precision"
        )
    return facts
