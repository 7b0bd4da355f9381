"""What detection and instance segmentation have in common: open both sets, train a detector, score
what it finds."""

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from sparring.data.sources.annotations import AnnotatedImages
from sparring.data.sources.detection_layouts import ACCEPTED, open_detection_images
from sparring.data.sources.run_lengths import needs_coco_eval, run_lengths_of
from sparring.errors import DataError
from sparring.evaluation.data import Contestant, Material
from sparring.evaluation.detection.coco_score import Truth, coco_score
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
    """Makes a detector; see `detectors`."""

    def __call__(
        self, encoder: Encoder, settings: DetectorSettings, *, num_classes: int
    ) -> nn.Module: ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be found."""

    name: str
    build: Build
    scores: dict[str, Literal["bbox", "segm"]]
    """How overlap is counted, by the prefix of the numbers; the one without prefix comes first."""

    @property
    def has_masks(self) -> bool:
        """Whether outlines are learned."""
        return "segm" in self.scores.values()


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Annotated images to learn from and to score, with the same numbers for the same classes."""

    train: AnnotatedImages
    train_rows: list[int]
    test: AnnotatedImages
    test_rows: list[int]
    test_labels: Tensor
    """Label that the detector has learned for each of the test set's classes; 0 where there is
    none, and no object either."""


def trial(
    contestant: Contestant, material: Material, settings: DetectorSettings, task: Task
) -> Result:
    """Train a detector on the encoder, and score it.

    Raises:
        DataError: for sets that cannot be used.
        ConfigError: for a backbone that is no ResNet.
        TrainingError: for a loss that is not finite.
    """
    sets = open_sets(material, task, tells=contestant.is_trained)
    names = sets.train.class_names
    with drawing(material.seed, material.device):
        model = task.build(contestant.learner(), settings, num_classes=len(names))
        source = batches(
            sets.train,
            sets.train_rows,
            batch_size=settings.batch_size,
            seed=material.seed,
            with_masks=task.has_masks,
        )
        with closing(source):
            steps = material.progress(f"{task.name} of the {contestant.name} encoder, training")
            loss = train(model, source, settings, device=material.device, progress=steps)
    resize_to(model, settings.test_size)
    looked = material.progress(f"{task.name} of the {contestant.name} encoder, test images")
    found = detect(model, sets.test, sets.test_rows, device=material.device, progress=looked)
    truths = [truth(sets, row, with_masks=task.has_masks) for row in sets.test_rows]
    result: Result = {}
    for prefix, by in task.scores.items():
        scored = coco_score(truths, found, class_names=names, by=by)
        result.update(
            scored
            if not prefix
            else {f"{prefix}{key}": value for key, value in scored.items() if key.startswith("ap")}
        )
    return {**result, **_told(sets, settings, loss)}


def open_sets(material: Material, task: Task, *, tells: bool) -> Sets:
    """Both sets, looked at for whatever would stop the trial later.

    Raises:
        DataError: if one is missing, has no objects or no outlines, or an image is not as
            annotated.
    """
    needs_coco_eval()
    if material.train is None or material.test is None:
        raise DataError(
            f"{task.name} learns from annotated images and is scored on others: give both, "
            f"--train-data and --data, {ACCEPTED}"
        )
    train_set, test_set = (
        open_detection_images(material.train),
        open_detection_images(material.test),
    )
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
        for line in _oddities(which, images) if tells else ():
            material.report(line)
    limits = material.limits
    learned = learnable(train_set)
    if not learned:
        raise DataError(
            f"none of the {len(train_set):,} training images shows an object to learn from"
        )
    chosen = _limited(list(range(len(test_set))), limits[1])
    labels = _matched(train_set.class_names, test_set, chosen)
    look = material.progress("sizes of the test images")
    for number, row in enumerate(chosen, start=1):
        test_set.check(row)  # before the hours that training takes
        if look is not None:
            look(number, len(chosen))
    return Sets(
        train=train_set,
        train_rows=_limited(learned, limits[0]),
        test=test_set,
        test_rows=chosen,
        test_labels=labels,
    )


def truth(sets: Sets, row: int, *, with_masks: bool) -> Truth:
    """What a test image shows, in the labels that the detector has learned."""
    objects = sets.test.objects(row)
    height, width = sets.test.sizes[row].tolist()
    outlines = None
    if with_masks:
        outlines = run_lengths_of(sets.test.masks(row))
    return Truth(
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
    """Learned label of each class of the test set."""
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


def _told(sets: Sets, settings: DetectorSettings, loss: float) -> Result:
    """What stands beside the score."""
    told: Result = {
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
        told["note"] = (
            f"the batch norms learned from {settings.batch_size} images per step; the papers "
            "take 16, and fewer cost precision"
        )
    return told
