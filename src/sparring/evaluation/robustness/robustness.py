"""The robustness protocol: a linear probe under attack, and under common corruptions of its images.

The probe is fitted on clean features as in `linear`. Encoder and probe together are one classifier
of pixels, and nothing of it learns from what is done to the images. An image that an attack has
broken stays broken for it at larger epsilons, whose balls contain the smaller one: curves never
rise, and no step is spent on images that are lost.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Int
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from sparring.config import Settings
from sparring.data.dataset import Dataset
from sparring.errors import unknown_name
from sparring.evaluation.classified import Classified
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.device_work import DeviceImages
from sparring.evaluation.features import FeatureEncoder, ReportProgress, evaluating, unit_images
from sparring.evaluation.frozen.logistic import REGULARISATIONS, fitted_probe
from sparring.evaluation.protocol import Protocol, Result
from sparring.evaluation.robustness.attacks import (
    ATTACKS,
    Attack,
    Ball,
    Classifier,
    Images,
    cross_entropy_loss,
)
from sparring.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from sparring.evaluation.robustness.robustness_result import attack_result, corruption_result, share
from sparring.models.encoder import Encoder
from sparring.seeding import generator
from sparring.transfers import sent

_NOTE = (
    "Accuracy under attack is an upper bound: other attacks may break more. The strengths of "
    "the corruptions are this library's own, "
    "so their numbers are not comparable with ImageNet-C or CIFAR-C."
)

# Images per forward pass. Noise is drawn by batch, so another number would be another draw.
_BATCH = 100


PROTOCOL = Protocol(
    name="robustness",
    function="robustness",
    settings="RobustnessSettings",
    title="Robustness of a linear probe",
    question="how much accuracy is lost under corruptions and attacks?",
    labels="classes",
    headline="corruption_accuracy",
    measure="accuracy under common corruptions, mean over kinds and severities",
    source="Hendrycks & Dietterich 2019, arXiv:1903.12261; Croce & Hein 2020, arXiv:2003.01690",
    variants={"corruptions": {"attacks": ()}},
    is_for_colours=True,
)


class RobustnessSettings(Settings):
    """Settings of `robustness`."""

    images: int = Field(default=1000, ge=1)
    """Test images to attack and to corrupt, drawn by the seed; at most all. 1,000 is usual, for the
    attacks take long."""
    attacks: tuple[str, ...] = tuple(ATTACKS)
    """Some of `random-signs` (a control), `fgsm`, `pgd` and `apgd-ce`; none: only corruptions."""
    grey_levels: tuple[Annotated[float, Field(gt=0, le=255)], ...] = Field(
        default=(0.25, 0.5, 1, 2, 4, 8), min_length=1
    )
    """Largest changes of a pixel, in grey levels of 255. The literature's 8 is for classifiers
    trained against attacks (Madry et al. 2018); others are lost far below it."""
    steps: int = Field(default=20, ge=1)
    """Gradient steps of PGD and APGD; Madry et al. evaluate with 20 too, Croce & Hein 2020 with
    100."""
    restarts: int = Field(default=1, ge=1)
    """Random starts of PGD and APGD; an image counts as right if it withstands all."""
    corruptions: tuple[str, ...] = tuple(CORRUPTIONS)
    """Kinds of `sparring.evaluation.robustness.corruptions`; none: only attacks."""
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(
        default=SEVERITIES, min_length=1
    )
    """From 1 (slight) to 5 (severe)."""
    regularisations: tuple[float, ...] = REGULARISATIONS
    """Weight penalties of the probe, to choose from on held-out training images."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Part of each class of the training images to choose on."""

    @field_validator("attacks")
    @classmethod
    def _attacks_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known("attack", names, ATTACKS)

    @field_validator("corruptions")
    @classmethod
    def _corruptions_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known("corruption", names, CORRUPTIONS)

    @field_validator("grey_levels", "severities")
    @classmethod
    def _rising(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _something_is_done(self) -> "RobustnessSettings":
        if not self.attacks and not self.corruptions:
            raise ValueError(
                "attacks and corruptions are both empty, so there is nothing to measure; name "
                "some of either"
            )
        return self


def _known(kind: str, names: tuple[str, ...], accepted: Mapping[str, Any]) -> tuple[str, ...]:
    """The names, each once, in the order of those accepted."""
    for name in names:
        if name not in accepted:
            raise ValueError(unknown_name(kind, name, accepted))
    return tuple(name for name in accepted if name in names)


@dataclass(frozen=True)
class _Sample:
    """The test images that are attacked and corrupted."""

    dataset: Dataset
    rows: Int[Tensor, "sample"]
    labels: Int[Tensor, "sample"]
    device: torch.device
    seed: int

    def batches(self) -> Iterator[tuple[Images, Int[Tensor, "batch"]]]:
        """Images in [0, 1] and their classes; the same batches at every call."""
        images = DeviceImages(self.dataset, self.device, stays=False)
        labels = torch.split(sent(self.labels, self.device), _BATCH)
        for pixels, classes in zip(
            images.batches(torch.split(self.rows, _BATCH)), labels, strict=True
        ):
            yield unit_images(pixels, self.device), classes

    def part(self, known: Classified) -> Classified:
        """The sample in the place of all test images."""
        return replace(known, test_rows=self.rows, test_labels=self.labels)

    def sizes(self, known: Classified) -> dict[str, int | str]:
        """Numbers of images for the result."""
        if len(self.rows) == len(known.test_rows):
            return known.sizes
        return {
            **self.part(known).sizes,
            "tested_on": f"{len(self.rows):,} images, drawn from {known.tested_on}",
        }


def robustness(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: RobustnessSettings
) -> Result:
    """Accuracy of the probe on clean images, under attacks by grey level, and under corruptions by
    severity.

    Source: Croce & Hein 2020, arXiv:2003.01690; Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    sample = _sample(data, settings.images)
    encoder = _in_full_precision(evaluated.encoder)
    classifier = _classifier(encoder, evaluated, data, settings)
    attacking = data.progress(f"attacks on the {evaluated.name} encoder")
    corrupting = data.progress(f"corruptions of the images of the {evaluated.name} encoder")
    with evaluating(encoder.modules()):
        predicted = torch.cat(
            [_predicted(classifier, images) for images, _ in sample.batches()]
        ).cpu()
        clean = share(predicted == sample.labels)
        survived = _under_attack(classifier, sample, settings, attacking)
        damaged = _under_corruption(classifier, sample, settings, corrupting)
    under_corruption = {
        name: [share(found == sample.labels) for found in severities]
        for name, severities in damaged.items()
    }
    fits = {"clean": predicted} | {
        f"{name}, severity {severity}": found
        for name, severities in damaged.items()
        for severity, found in zip(settings.severities, severities, strict=True)
    }
    found = [
        attack_result(survived, settings.grey_levels, clean=clean),
        corruption_result(under_corruption, settings.severities, clean=clean),
    ]
    merged = {
        key: value
        for result in found
        for key, value in result.items()
        if key not in ("table", "curves")
    }
    return {
        "clean_accuracy": clean,
        **merged,
        "table": [result["table"] for result in found if result],
        "curves": [result["curves"] for result in found if result],
        "note": _NOTE,
        "predictions": sample.part(data.classes).predictions(
            torch.stack(list(fits.values())), list(fits)
        ),
        **sample.sizes(data.classes),
    }


def _sample(data: EvaluationData, count: int) -> _Sample:
    known = data.classes
    chosen = (
        torch.randperm(len(known.test_rows), generator=generator(data.seed, "robustness images"))[
            :count
        ]
        .sort()
        .values
    )
    return _Sample(
        dataset=known.test,
        rows=known.test_rows[chosen],
        labels=known.test_labels[chosen],
        device=data.device,
        seed=data.seed,
    )


def _in_full_precision(encoder: FeatureEncoder) -> FeatureEncoder:
    """A copy of the encoder in full precision: half precision would round away changes of a grey
    level."""
    encoder = deepcopy(encoder)
    if isinstance(encoder, Encoder):
        encoder.autocast_dtype = None
    return encoder


def _classifier(
    encoder: FeatureEncoder,
    evaluated: EvaluatedEncoder,
    data: EvaluationData,
    settings: RobustnessSettings,
) -> Classifier:
    labelled = data.labelled(evaluated)
    head = fitted_probe(
        labelled.train_features,
        labelled.train_labels,
        seed=data.seed,
        regularisations=settings.regularisations,
        validation_share=settings.validation_share,
    )
    return lambda images: head.logits(encoder.features(images))


def _predicted(classifier: Classifier, images: Images) -> Int[Tensor, "batch"]:
    return classifier(images).argmax(dim=1)


def _under_attack(
    classifier: Classifier,
    sample: _Sample,
    settings: RobustnessSettings,
    progress: ReportProgress | None,
) -> dict[str, Bool[Tensor, "levels sample"]]:
    """For each attack, which images are still classified correctly at each grey level."""
    withstood: dict[str, list[Tensor]] = {name: [] for name in settings.attacks}
    total, done = len(settings.attacks) * len(sample.rows), 0
    for number, (images, labels) in enumerate(sample.batches()):
        for name in settings.attacks:
            noises = [
                torch.rand(
                    images.shape, generator=generator(sample.seed, "attack", name, number, restart)
                ).to(images)
                for restart in range(settings.restarts)
            ]
            withstood[name].append(
                _withstood(ATTACKS[name], classifier, (images, labels), noises, settings)
            )
            done += len(images)
            if progress is not None:
                progress(done, total)
    return {name: torch.cat(parts, dim=1).cpu() for name, parts in withstood.items()}


def _withstood(
    attack: Attack,
    classifier: Classifier,
    batch: tuple[Images, Tensor],
    noises: Sequence[Images],
    settings: RobustnessSettings,
) -> Bool[Tensor, "levels batch"]:
    """Which images of a batch withstand an attack at each grey level; those lost before are not
    attacked again."""
    images, labels = batch
    left = (classifier(images).argmax(dim=1) == labels).nonzero().flatten()
    withstood = torch.zeros(
        len(settings.grey_levels), len(images), dtype=torch.bool, device=images.device
    )
    for level, grey_levels in enumerate(settings.grey_levels):
        for noise in noises:
            if len(left):
                loss_of, ball = (
                    cross_entropy_loss(classifier, labels[left]),
                    Ball(images[left], grey_levels / 255),
                )
                left = left[attack(loss_of, ball, noise[left], settings.steps).is_right]
        withstood[level].index_fill_(0, left, True)
    return withstood


def _under_corruption(
    classifier: Classifier,
    sample: _Sample,
    settings: RobustnessSettings,
    progress: ReportProgress | None,
) -> dict[str, list[Int[Tensor, "sample"]]]:
    """For each corruption, the predicted classes at each severity."""
    found: dict[str, list[list[Tensor]]] = {
        name: [[] for _ in settings.severities] for name in settings.corruptions
    }
    total, done = len(settings.corruptions) * len(sample.rows), 0
    for number, (images, _) in enumerate(sample.batches()):
        for name in settings.corruptions:
            for place, severity in enumerate(settings.severities):
                draws = generator(sample.seed, "corruption", name, number)
                damaged = corrupted(images, name, severity=severity, generator=draws)
                found[name][place].append(_predicted(classifier, damaged))
            done += len(images)
            if progress is not None:
                progress(done, total)
    return {name: [torch.cat(parts).cpu() for parts in places] for name, places in found.items()}
