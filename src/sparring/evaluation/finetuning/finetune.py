"""Fine-tuning protocol: test accuracy of the whole network trained on all labels."""

from itertools import product
from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from sparring.config import Settings
from sparring.evaluation.classified import Classified
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.finetuning.finetuning import (
    Classifier,
    FineTuningSettings,
    budget_warning,
    predictions,
    tuned_copy,
)
from sparring.evaluation.protocol import Protocol, Result, table
from sparring.evaluation.resident_images import resident
from sparring.evaluation.split import split
from sparring.measures.accuracy import ACCURACIES, AccuracyName
from sparring.seeding import derived_seed
from sparring.training.encoder_names import UNTRAINED

PROTOCOL = Protocol(
    name="finetune",
    function="finetune",
    settings="FinetuneSettings",
    title="Fine-tuning",
    question="how accurate is the network fine-tuned on all labels?",
    labels="classes",
    source=(
        "Kornblith et al. 2019, arXiv:1805.08974; the variant after Ericsson et al. 2021, "
        "arXiv:2011.13377"
    ),
    variants={
        "ssl-transfer": {
            "tuning": {"steps": 5000, "nesterov": True},
            "scratch": {"steps": 5000, "nesterov": True},
            "learning_rates": [1e-4, 1e-3, 1e-2, 1e-1],
            "weight_decays": [0.0, 1e-6, 1e-5, 1e-4, 1e-3],
        }
    },
    is_frozen=False,
)


class FinetuneSettings(Settings):
    """Settings of `finetune`."""

    tuning: FineTuningSettings = FineTuningSettings(
        steps=1000, backbone_learning_rate=0.05, head_learning_rate=0.05, weight_decay=5e-4
    )
    """Fine-tuning of a pretrained encoder."""
    scratch: FineTuningSettings = FineTuningSettings(
        steps=1000, backbone_learning_rate=0.1, head_learning_rate=0.1, weight_decay=5e-4
    )
    """Fine-tuning of the untrained encoder: supervised learning from scratch."""
    learning_rates: tuple[float, ...] = ()
    """Rates to choose from on held-out training images, for backbone and head alike; empty: those
    above."""
    weight_decays: tuple[float, ...] = ()
    """Decays to choose from, each divided by the rate; empty: the one above."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Part of each class to choose on, if there is a choice and the set has no official validation
    images."""
    metric: Literal["auto"] | AccuracyName = "auto"
    """Share of all test images (`top-1`), or the mean of the classes' shares; auto: as is usual for
    a public set, else `top-1`."""


def finetune(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: FinetuneSettings
) -> Result:
    """Test accuracy of the network fine-tuned on all training labels; for the untrained encoder
    this is supervised learning from scratch.

    Raises:
        TrainingError: if a loss is not finite.
    """
    classified, tried, metric = data.classes, [], _metric(data, settings)
    measure = ACCURACIES[metric]
    candidates = _candidates(
        settings, settings.tuning if evaluated.name != UNTRAINED else settings.scratch
    )
    best = candidates[0]
    if len(candidates) > 1:
        kept, held_out = _parted(classified, settings, seed=data.seed)
        for candidate in candidates:
            classifier = _tuned(evaluated, data, kept, candidate)
            predicted = predictions(
                classifier, resident(data, classified.train), classified.train_rows[held_out]
            )
            tried.append(measure(predicted, classified.train_labels[held_out]))
        best = candidates[max(range(len(candidates)), key=tried.__getitem__)]
    classifier = _tuned(evaluated, data, None, best)
    predicted = predictions(classifier, resident(data, classified.test), classified.test_rows)
    rows = [
        [c.backbone_learning_rate, c.weight_decay, score]
        for c, score in zip(candidates, tried, strict=False)
    ]
    chosen = {
        "learning_rate": best.backbone_learning_rate,
        "weight_decay": best.weight_decay,
        "steps": best.steps,
    }
    grid = (
        {
            "table": table(
                ["learning rate", "weight decay", "validation %"],
                rows,
                title="Choice on held-out training images",
            )
        }
        if rows
        else {}
    )
    return {
        "accuracy": measure(predicted, classified.test_labels),
        "metric": metric,
        **chosen,
        **grid,
        **budget_warning(settings.tuning, settings.scratch, protocol=PROTOCOL.name),
        "predictions": classified.predictions(predicted),
        **classified.sizes,
    }


def _metric(data: EvaluationData, settings: FinetuneSettings) -> AccuracyName:
    if settings.metric != "auto":
        return settings.metric
    usual = data.learned.metric if data.learned is not None else "top-1"
    return "mean-per-class" if usual == "mean-per-class" else "top-1"


def _parted(
    classified: Classified, settings: FinetuneSettings, *, seed: int
) -> tuple[Int[Tensor, "kept"], Int[Tensor, "held_out"]]:
    """Positions of the training rows to learn from and to choose on: the official validation images
    where the set has some."""
    if classified.validation is None:
        return split(classified.train_labels, share=settings.validation_share, seed=seed)
    is_validation = torch.zeros(len(classified.train_rows), dtype=torch.bool)
    is_validation[classified.validation] = True
    return (~is_validation).nonzero().flatten(), classified.validation


def _candidates(settings: FinetuneSettings, base: FineTuningSettings) -> list[FineTuningSettings]:
    """Fine-tuning settings to choose from: every pair of rate and decay; only the base if there is
    nothing to choose."""
    rates = [
        {"backbone_learning_rate": r, "head_learning_rate": r} for r in settings.learning_rates
    ] or [{}]
    found = []
    for rate, decay in product(rates, settings.weight_decays or [None]):
        tuning = base.model_copy(update=rate)
        found.append(
            tuning
            if decay is None
            else tuning.model_copy(update={"weight_decay": decay / tuning.backbone_learning_rate})
        )
    return found


def _tuned(
    evaluated: EvaluatedEncoder,
    data: EvaluationData,
    chosen: Int[Tensor, "chosen"] | None,
    tuning: FineTuningSettings,
) -> Classifier:
    """A classifier fine-tuned on the chosen training rows; None: on all rows."""
    rows = torch.arange(len(data.classes.train_rows)) if chosen is None else chosen
    seed, what = (
        derived_seed(data.seed, "finetune"),
        f"fine-tuning at rate {tuning.backbone_learning_rate:g}",
    )
    return tuned_copy(evaluated, data, rows, settings=tuning, seed=seed, what=what)
