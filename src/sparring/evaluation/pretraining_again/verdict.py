"""The verdict protocol: whether this pretraining pays on these images with these labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from sparring.config import Settings
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.finetuning.finetuning import (
    FineTuningSettings,
    budget_warning,
    predictions,
    tuned_copy,
)
from sparring.evaluation.frozen.logistic import fitted_probe
from sparring.evaluation.pretraining_again.external_encoders import external_encoder
from sparring.evaluation.protocol import Protocol, Result, spread, table
from sparring.evaluation.split import labelled_rows
from sparring.measures.accuracy import top_1
from sparring.seeding import derived_seed
from sparring.training.metrics import read_metrics

PROTOCOL = Protocol(
    name="verdict",
    function="verdict",
    settings="VerdictSettings",
    title="Verdict",
    question="should I pretrain at all?",
    labels="classes",
    measure="accuracy of this run's better classifier",
    source=(
        "our own; equal labels, and supervised learning from scratch with equal steps and "
        "with the whole budget"
    ),
    is_frozen=False,
    is_joint=True,
)


class VerdictSettings(Settings):
    """Settings of `verdict`."""

    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the labels that may be used; those of each class, at least one image of each."""
    draws: int = Field(default=3, ge=1)
    """Repetitions, each with other labelled images (if not all) and other draws of the training."""
    tuning: FineTuningSettings = FineTuningSettings(
        steps=600, backbone_learning_rate=0.05, head_learning_rate=0.05, weight_decay=5e-4
    )
    """Fine-tuning of pretrained encoders."""
    scratch: FineTuningSettings = FineTuningSettings(
        steps=600, backbone_learning_rate=0.1, head_learning_rate=0.1, weight_decay=5e-4
    )
    """Fine-tuning of the untrained encoder: supervised learning from scratch."""
    whole_budget: bool = True
    """Also let the untrained encoder learn from the labels for as many images as pretraining and
    fine-tuning see together."""
    pretrained: tuple[str, ...] = ()
    """Other pretrained encoders to compare with: run folders, `NAME` of timm, or `NAME:FILE` with
    weights under timm's names."""


@dataclass(frozen=True)
class Approach:
    """A row of the table: an encoder with a classifier, and its accuracies."""

    name: str
    how: str
    accuracies: list[float]
    images: int
    """Images through the network forwards and backwards, pretraining included; 0 if unknown, as for
    external encoders."""
    is_ours: bool = False
    is_without: bool = False
    """Whether the row needs no pretraining."""
    predicted: tuple[Int[Tensor, "test"], ...] = ()
    """Predicted classes of each draw."""

    @property
    def mean(self) -> float:
        """Mean accuracy over the draws."""
        return spread(self.accuracies)[0]


def verdict(evaluated: EvaluatedEncoder, data: EvaluationData, settings: VerdictSettings) -> Result:
    """Accuracy of this run beside the untrained encoder, supervised learning from scratch and
    external encoders, with equal labels.

    Raises:
        ConfigError: for an encoder from elsewhere that does not exist.
        DataError: for weights that do not fit.
        TrainingError: if a loss is not finite.
    """
    assert evaluated.origin is not None
    others = [
        EvaluatedEncoder(
            text, external_encoder(text, image_size=data.image_size, device=data.device)
        )
        for text in settings.pretrained
    ]
    draws = [
        labelled_rows(
            data.classes.train_labels,
            share=settings.share,
            seed=derived_seed(data.seed, draw),
        )
        for draw in range(settings.draws)
    ]
    rows = list(_rows(evaluated, others, data, settings, draws))
    cells: list[list[str | float | int | None]] = [
        [row.name, row.how, *spread(row.accuracies), row.images or None] for row in rows
    ]
    sentence = judgement(rows, labels=len(draws[0]))
    columns = ["encoder", "classifier", "accuracy %", "spread %", "images learned from"]
    ours, without = (
        max((r for r in rows if getattr(r, kind)), key=lambda r: r.mean)
        for kind in ("is_ours", "is_without")
    )
    return {
        "accuracy": ours.mean,
        "without_pretraining": without.mean,
        "draws": {f"{row.name}, {row.how}": row.accuracies for row in rows},
        "note": sentence,
        "table": table(columns, cells, title=f"{len(draws[0]):,} labels, {len(draws)} draws"),
        **budget_warning(settings.tuning, settings.scratch, protocol=PROTOCOL.name),
        "predictions": data.classes.predictions(
            torch.stack([found for row in rows for found in row.predicted]),
            [
                f"{row.name}, {row.how}, draw {draw + 1}"
                for row in rows
                for draw in range(len(row.predicted))
            ],
        ),
        **data.classes.sizes,
    }


def judgement(rows: list[Approach], *, labels: int) -> str:
    """Sentence that says whether pretraining pays: a difference counts if every draw of the better
    is above every draw of the other.

    Args:
        rows: at least one of this run and one without pretraining.
        labels: how many were used.
    """
    ours = max((row for row in rows if row.is_ours), key=lambda row: row.mean)
    without = max((row for row in rows if row.is_without), key=lambda row: row.mean)
    figures = (
        f"with {labels:,} labels this run reaches {100 * ours.mean:.1f} % ({ours.how}) and "
        "the best without pretraining "
        f"{100 * without.mean:.1f} % ({without.name}, {without.how})"
    )
    if min(ours.accuracies) > max(without.accuracies):
        verdict = "Pretraining pays here"
    elif max(ours.accuracies) < min(without.accuracies):
        verdict = "Pretraining does not pay here"
    else:
        verdict = "No clear difference"
    others = [
        row
        for row in rows
        if not (row.is_ours or row.is_without) and min(row.accuracies) > max(ours.accuracies)
    ]
    better = f"; {max(others, key=lambda row: row.mean).name} is better than both" if others else ""
    draws = (
        "a single draw, which is no evidence"
        if len(ours.accuracies) == 1
        else f"{len(ours.accuracies)} draws"
    )
    return f"{verdict}: {figures}, {draws}{better}."


def _rows(
    evaluated: EvaluatedEncoder,
    others: list[EvaluatedEncoder],
    data: EvaluationData,
    settings: VerdictSettings,
    draws: list[Tensor],
) -> Iterator[Approach]:
    """Rows of the table, one after the other."""
    untrained, labels = evaluated.origin, data.classes.test_labels
    assert untrained is not None
    pretraining, tuned = (
        _pretraining_images(data),
        settings.tuning.steps * settings.tuning.batch_size,
    )

    def row(name: str, how: str, predicted: list[Tensor], images: int) -> Approach:
        """Row of the table from an approach's predictions, one tensor for each draw."""
        return Approach(
            name,
            how,
            [top_1(found, labels) for found in predicted],
            images,
            is_ours=name == "this run",
            is_without=name == "untrained",
            predicted=tuple(predicted),
        )

    yield row("untrained", "linear probe", _linear(untrained, data, draws), 0)
    scratch, how = settings.scratch, "supervised from scratch"
    yield row("untrained", how, _tuned(untrained, data, scratch, draws), tuned)
    if settings.whole_budget and pretraining:
        steps = scratch.steps + round(pretraining / scratch.batch_size)
        found = _tuned(untrained, data, scratch.model_copy(update={"steps": steps}), draws)
        yield row("untrained", f"{how}, whole budget", found, tuned + pretraining)
    for other in others:
        yield row(other.name, "linear probe", _linear(other, data, draws), 0)
        yield row(other.name, "fine-tuned", _tuned(other, data, settings.tuning, draws), 0)
    yield row("this run", "linear probe", _linear(evaluated, data, draws), pretraining)
    found = _tuned(evaluated, data, settings.tuning, draws)
    yield row("this run", "fine-tuned", found, pretraining + tuned)


def _linear(
    evaluated: EvaluatedEncoder, data: EvaluationData, draws: list[Int[Tensor, "drawn"]]
) -> list[Tensor]:
    """Classes of the test images by a linear probe on each draw."""
    labelled = data.labelled(evaluated)
    found = []
    for number, chosen in enumerate(draws):
        rows, seed = chosen.to(data.device), derived_seed(data.seed, "verdict", number)
        probe = fitted_probe(labelled.train_features[rows], labelled.train_labels[rows], seed=seed)
        found.append(probe.predicted(labelled.test_features).cpu())
    return found


def _tuned(
    evaluated: EvaluatedEncoder,
    data: EvaluationData,
    tuning: FineTuningSettings,
    draws: list[Int[Tensor, "drawn"]],
) -> list[Tensor]:
    """Classes of the test images by the network fine-tuned on each draw."""
    classified, found = data.classes, []
    for number, chosen in enumerate(draws):
        seed, what = (
            derived_seed(data.seed, "verdict", number),
            f"{tuning.steps:,} steps, draw {number + 1}",
        )
        classifier = tuned_copy(evaluated, data, chosen, settings=tuning, seed=seed, what=what)
        found.append(predictions(classifier, classified.test, classified.test_rows))
    return found


def _pretraining_images(data: EvaluationData) -> int:
    """Number of views that the run's encoder was trained on; 0 if nothing is known of the run."""
    if data.config is None or data.folder is None:
        return 0
    records = read_metrics(data.folder / "metrics.jsonl")
    steps = max((int(record["step"] or 0) for record in records), default=-1) + 1
    views = len(data.config.method_settings.views.resolve(data.image_size))
    return steps * data.config.training.batch_size * views
