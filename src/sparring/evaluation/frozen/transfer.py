"""Linear transfer: logistic regression on frozen features of another set, by the conventions of the
transfer literature.

After Kornblith et al. 2019, arXiv:1805.08974, and Ericsson et al. 2021, arXiv:2011.13377: one view
of each image, no augmentation, a full fit by L-BFGS; the penalty is chosen among 45 on validation
images, the classifier is fitted again on training and validation images together, and the test
images are used once. The penalty is that of the summed loss, 1 / C for scikit-learn's C, as in
the code of the latter; a fit on n images minimises mean loss + penalty / (2 n) ||W||^2, so both
fits trade loss for weights alike.

Two deviations: features are standardised by the images that are fitted on (theirs are raw), which
makes one grid fit every encoder, and the fits go from the strongest penalty to the weakest and end
by the tolerance of `logistic`; theirs rise and end after scikit-learn's 100 iterations.

An image of Pascal VOC shows several classes. There each class has a logistic regression against the
rest, without the images in which it is only difficult, and one penalty for all is chosen by mean
average precision over classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10
from typing import Literal, Self, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from sparring.config import Settings
from sparring.data.dataset import Dataset
from sparring.data.sources.public_sets import Metric, PublicSet
from sparring.errors import ConfigError, DataError
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.features import ReportProgress
from sparring.evaluation.frozen.logistic import Probe, regularisation_path, standardise
from sparring.evaluation.frozen.one_against_all import one_against_all_path
from sparring.evaluation.frozen.transfer_scores import (
    AVERAGE_PRECISION,
    accuracies_by_metric,
    average_precisions,
    hardest_classes,
    mean_over_classes,
)
from sparring.evaluation.predictions import Predictions
from sparring.evaluation.protocol import Protocol, Result, curves, table
from sparring.evaluation.split import split

Logits: TypeAlias = Float[Tensor, "rows classes"]
Fit: TypeAlias = Callable[[Tensor, Tensor, Sequence[float], ReportProgress | None], list[Probe]]
Score: TypeAlias = Callable[[Tensor, Tensor], float]
_Rows: TypeAlias = tuple[Tensor, Tensor, str]
"""Rows to fit on, rows to choose the penalty on, and which these are in words."""

PROTOCOL = Protocol(
    name="transfer",
    function="transfer",
    settings="TransferSettings",
    title="Linear transfer",
    question="how well do frozen features classify another set?",
    labels="tags",
    headline="score",
    measure="accuracy, mean-per-class accuracy or mAP, as is usual for the set",
    source="Kornblith et al. 2019, arXiv:1805.08974; Ericsson et al. 2021, arXiv:2011.13377",
)


class TransferSettings(Settings):
    """Settings of `transfer`."""

    metric: Literal["auto", "top-1", "mean-per-class", "11-point-mAP", "area-mAP"] = "auto"
    """Metric of the score and of the choice of the penalty; auto: the convention of a public set,
    else `top-1`.

    Mean average precision is for images that show several classes, and only for them."""
    candidates: int = Field(default=45, ge=2)
    """Penalties to choose from, evenly spaced on a logarithmic scale; Kornblith et al. 2019 and
    Ericsson et al. 2021."""
    weakest: float = Field(default=1e-6, gt=0)
    """Smallest penalty of the summed loss: 1 / C for scikit-learn's C; Ericsson et al. 2021."""
    strongest: float = Field(default=1e5, gt=0)
    """Largest penalty of the summed loss; Ericsson et al. 2021."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Part of the images to learn from to choose the penalty on, where there are no official
    validation images; Ericsson et al. 2021."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.weakest >= self.strongest:
            raise ValueError(
                f"weakest must be below strongest, got {self.weakest:g} and {self.strongest:g}"
            )
        return self

    @property
    def penalties(self) -> list[float]:
        """Penalties to choose from, the strongest first."""
        ratio = self.weakest / self.strongest
        return [
            self.strongest * ratio ** (step / (self.candidates - 1))
            for step in range(self.candidates)
        ]


def transfer(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: TransferSettings
) -> Result:
    """Score of a linear classifier of frozen features on another set, by the metric that the
    literature uses for that set."""
    for named in (data.learned, data.named(data.test)):
        if named is not None and named.presence:
            return _of_several_classes(evaluated, data, settings, named)
    return _of_one_class(evaluated, data, settings)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """How a classifier is fitted and scored, for images of one class or of several."""

    fit: Fit
    score: Score
    progress: ReportProgress | None


@dataclass(frozen=True)
class _Chosen:
    """A classifier whose penalty was chosen without the test images."""

    test_logits: Logits
    result: Result


def _of_one_class(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: TransferSettings
) -> Result:
    """Result on images that each show one class."""
    metric = _metric(settings, data.learned, accepted=("top-1", "mean-per-class"))
    known, labelled = data.classes, data.labelled(evaluated)
    official = (
        None if known.validation is None else known.validation.to(labelled.train_labels.device)
    )
    rows = _validation_rows(official, labelled.train_labels, settings, seed=data.seed)

    def score(logits: Tensor, targets: Tensor) -> float:
        return accuracies_by_metric(logits.argmax(dim=1) == targets, targets)[metric]

    def fit(
        features: Tensor,
        targets: Tensor,
        penalties: Sequence[float],
        progress: ReportProgress | None,
    ) -> list[Probe]:
        """Classifiers for the penalties, each divided by the number of samples."""
        return regularisation_path(
            features, targets, [penalty / len(features) for penalty in penalties], progress=progress
        )

    task = _Task(fit=fit, score=score, progress=_progress(evaluated, data))
    chosen = _choose(
        (labelled.train_features, labelled.test_features),
        labelled.train_labels,
        rows=rows,
        settings=settings,
        task=task,
    )
    # Of the test set's own classes: those that training lacks are several, and wrong.
    predicted, classes = (
        chosen.test_logits.argmax(dim=1).cpu(),
        _labels(known.test)[known.test_rows],
    )
    is_right = predicted == known.test_labels
    found = accuracies_by_metric(is_right, classes)
    return {
        "score": found[metric],
        "metric": metric,
        "accuracy": found["top-1"],
        "mean_per_class_accuracy": found["mean-per-class"],
        **chosen.result,
        **known.sizes,
        "predictions": known.predictions(predicted),
        "table": hardest_classes(is_right, classes, known.test),
    }


def _of_several_classes(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: TransferSettings, named: PublicSet
) -> Result:
    """Result on a public set whose images show several classes."""
    metric = _metric(settings, named, accepted=tuple(AVERAGE_PRECISION))
    if data.test != named.name or data.train not in (None, named.name):
        raise DataError(
            f"{named.name} is learned from and scored on its own images only; give --data "
            f"{named.name} and no --train-data"
        )
    train, test = data.images
    features = data.train_features(evaluated), data.features(evaluated)
    # Read after the features, for only then is it known which files cannot be read.
    truth, test_truth = (_presence(dataset, named).to(data.device) for dataset in (train, test))
    validation = named.validation
    keys = set() if validation is None else {validation.key(row) for row in range(len(validation))}
    official = torch.tensor([key in keys for key in train.keys]).nonzero().flatten().to(data.device)
    rows = _validation_rows(official, torch.zeros_like(truth[:, 0]), settings, seed=data.seed)

    def score(logits: Tensor, presence: Tensor) -> float:
        return mean_over_classes(average_precisions(logits, presence, metric), named)

    task = _Task(fit=_one_against_all, score=score, progress=_progress(evaluated, data))
    chosen = _choose(features, truth, rows=rows, settings=settings, task=task)
    found = {
        name: average_precisions(chosen.test_logits, test_truth, name) for name in AVERAGE_PRECISION
    }
    means = {name: mean_over_classes(values, named) for name, values in found.items()}
    counts = (test_truth == 1).sum(dim=0).tolist()
    return {
        "score": means[metric],
        "metric": metric,
        "map_11_point": means["11-point-mAP"],
        "map_area": means["area-mAP"],
        **chosen.result,
        "train_images": _num_known(truth),
        "test_images": _num_known(test_truth),
        "tested_on": f"test images of {named.name}",
        "predictions": Predictions(
            keys=tuple(test.keys),
            classes=named.class_names,
            targets=test_truth.cpu().numpy(),
            predicted=(chosen.test_logits > 0).long().cpu().numpy(),
            scores=chosen.test_logits.float().cpu().numpy(),
        ),
        "table": table(
            ["class", "test images", "11-point AP %", "area AP %"],
            list(
                zip(
                    named.class_names, counts, found["11-point-mAP"], found["area-mAP"], strict=True
                )
            ),
            title="Average precision by class",
        ),
    }


def _metric(
    settings: TransferSettings, named: PublicSet | None, *, accepted: tuple[str, ...]
) -> str:
    default: Metric = named.metric if named is not None else "top-1"
    metric = default if settings.metric == "auto" else settings.metric
    if metric not in accepted:
        shown = "several classes" if "top-1" not in accepted else "one class"
        raise ConfigError(
            f"transfer.metric={metric}: these images show {shown} each; choose auto, "
            f"{' or '.join(accepted)}"
        )
    return metric


def _validation_rows(
    official: Tensor | None, labels: Int[Tensor, "rows"], settings: TransferSettings, *, seed: int
) -> _Rows:
    """Rows to fit on and rows to choose on: the official validation images if there are some and
    others too, else a share of each class."""
    if official is not None and 0 < len(official) < len(labels):
        is_kept = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
        is_kept[official] = False
        return is_kept.nonzero().flatten(), official, "official validation images"
    kept, held_out = (
        rows.to(labels.device) for rows in split(labels, share=settings.validation_share, seed=seed)
    )
    return kept, held_out, f"{settings.validation_share:.0%} of the images to learn from, held out"


def _choose(
    features: tuple[Tensor, Tensor],
    truth: Tensor,
    *,
    rows: _Rows,
    settings: TransferSettings,
    task: _Task,
) -> _Chosen:
    """Choice of the penalty with the best validation score, the strongest among equals, and the
    test logits of the fit on all rows."""
    kept, held_out, words = rows
    fitting, validating = standardise(features[0][kept], features[0][held_out])
    penalties = settings.penalties
    path = task.fit(fitting, truth[kept], penalties, task.progress)
    validated = [task.score(_logits(probe, validating), truth[held_out]) for probe in path]
    best = max(range(len(path)), key=validated.__getitem__)
    training, testing = standardise(*features)
    (final,) = task.fit(training, truth, [penalties[best]], None)
    points = [(log10(penalty), value) for penalty, value in zip(penalties, validated, strict=True)]
    result: Result = {
        "validation_score": validated[best],
        "validated_on": words,
        "penalty": penalties[best],
        "iterations": final.iterations + sum(probe.iterations for probe in path),
        "curves": curves(
            {"validation": points[::-1]},
            title="Choice of the penalty",
            x="penalty, log10",
            y="score %",
        ),
    }
    if best in (0, len(path) - 1):
        end, way = ("strongest", "raise") if best == 0 else ("weakest", "lower")
        result["note"] = f"the {end} penalty offered was the best one: {way} transfer.{end}"
    return _Chosen(_logits(final, testing), result)


def _logits(probe: Probe, features: Tensor) -> Tensor:
    return torch.addmm(probe.bias, features, probe.weight.T)


def _one_against_all(
    features: Tensor, presence: Tensor, penalties: Sequence[float], progress: ReportProgress | None
) -> list[Probe]:
    return one_against_all_path(features, presence, penalties, progress=progress)


def _presence(dataset: Dataset, named: PublicSet) -> Int[Tensor, "images classes"]:
    """Which classes each image shows: 1, 0, or -1 where that is unknown, as for images that cannot
    be read."""
    unread = {key for key, _ in dataset.quarantine}
    unknown = torch.full((len(named.class_names),), -1)
    rows = [
        unknown if key in unread else torch.from_numpy(named.presence[key]).long()
        for key in dataset.keys
    ]
    return torch.stack(rows)


def _num_known(presence: Int[Tensor, "images classes"]) -> int:
    return int((presence >= 0).any(dim=1).sum())


def _labels(dataset: Dataset) -> Int[Tensor, "images"]:
    assert dataset.labels is not None
    return torch.from_numpy(dataset.labels)


def _progress(evaluated: EvaluatedEncoder, data: EvaluationData) -> ReportProgress | None:
    return data.progress(f"penalties, {evaluated.name} encoder")
