"""The verdict protocol: whether this pretraining pays on these images with these labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from sparring.config import Settings
from sparring.errors import ConfigError
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
from sparring.models.encoder import Encoder
from sparring.seeding import derived_seed
from sparring.training.encoder_names import START_WEIGHTS, UNTRAINED
from sparring.training.encoders import drawn_anew
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


THIS_RUN, CONTINUED = "this run", f"{START_WEIGHTS}, continued"
"""Name of the run's own rows; the second one if it started from weights."""


class VerdictSettings(Settings):
    """Settings of `verdict`."""

    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the labels that may be used; those of each class, at least one image of each."""
    draws: int = Field(default=3, ge=1)
    """Repetitions, each with other labelled images (if not all) and other draws of the training."""
    tuning: FineTuningSettings = FineTuningSettings(
        steps=600, backbone_learning_rate=0.05, head_learning_rate=0.05, weight_decay=5e-4
    )
    """Fine-tuning of pretrained encoders, start weights among them."""
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
    is_start: bool = False
    """Whether it is of the weights from which this run started."""
    predicted: tuple[Int[Tensor, "test"], ...] = ()
    """Predicted classes of each draw."""

    @property
    def mean(self) -> float:
        """Mean accuracy over the draws."""
        return spread(self.accuracies)[0]


def verdict(evaluated: EvaluatedEncoder, data: EvaluationData, settings: VerdictSettings) -> Result:
    """Accuracy of this run beside the untrained encoder, supervised learning from scratch, the
    weights from which it started, if any, and external encoders, with equal labels.

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
    best = {
        name: row.mean
        for name, kind in (("without_pretraining", "is_without"), ("start_weights", "is_start"))
        for row in _best(rows, kind)
    }
    return {
        "accuracy": _best(rows, "is_ours")[0].mean,
        **best,
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
    """Sentence that says whether pretraining pays, after one that says whether continuing from
    start weights does: a difference counts if every draw of the better is above every draw of the
    other.

    Args:
        rows: at least one of this run, and one without pretraining or one of its start weights.
        labels: how many were used.
    """
    (ours,) = _best(rows, "is_ours")
    count = len(ours.accuracies)
    draws = "a single draw, which is no evidence" if count == 1 else f"{count} draws"
    others = [
        row
        for row in rows
        if not (row.is_ours or row.is_without or row.is_start)
        and min(row.accuracies) > max(ours.accuracies)
    ]
    better = f"; {max(others, key=lambda row: row.mean).name} is better than both" if others else ""
    continuing = [("Continuing", f"the {row.name} alone", row) for row in _best(rows, "is_start")]
    scratch = [
        ("Pretraining", "the best without pretraining", row) for row in _best(rows, "is_without")
    ]
    sentences = [
        f"{_compared(what, ours, other)}: with {labels:,} labels this run reaches "
        f"{100 * ours.mean:.1f} % ({ours.how}) and {whose} {100 * other.mean:.1f} % "
        f"({_shown(other)}), {draws}"
        for what, whose, other in (*continuing, *scratch)
    ]
    return f"{'. '.join(sentences)}{better}."


def _best(rows: list[Approach], kind: str) -> list[Approach]:
    """The row of a kind with the highest mean, alone in a list; none if there is no such row."""
    found = [row for row in rows if getattr(row, kind)]
    return [max(found, key=lambda row: row.mean)] if found else []


def _compared(what: str, ours: Approach, other: Approach) -> str:
    """What every draw of both says of `Continuing` or of `Pretraining`."""
    if min(ours.accuracies) > max(other.accuracies):
        return f"{what} pays here"
    if max(ours.accuracies) < min(other.accuracies):
        return f"{what} does not pay here"
    return f"{what} makes no clear difference" if what == "Continuing" else "No clear difference"


def _shown(row: Approach) -> str:
    return row.how if row.is_start else f"{row.name}, {row.how}"


def _rows(
    evaluated: EvaluatedEncoder,
    others: list[EvaluatedEncoder],
    data: EvaluationData,
    settings: VerdictSettings,
    draws: list[Tensor],
) -> Iterator[Approach]:
    """Rows of the table, one after the other."""
    start, untrained = _starts(evaluated, data)
    tuning, labels = settings.tuning, data.classes.test_labels
    pretraining, tuned = _pretraining_images(data), tuning.steps * tuning.batch_size

    def row(name: str, how: str, predicted: list[Tensor], images: int) -> Approach:
        """Row of the table from an approach's predictions, one tensor for each draw."""
        return Approach(
            name,
            how,
            [top_1(found, labels) for found in predicted],
            images,
            is_ours=name in (THIS_RUN, CONTINUED),
            is_without=name == UNTRAINED,
            is_start=name == START_WEIGHTS,
            predicted=tuple(predicted),
        )

    if untrained is not None:
        scratch, how = settings.scratch, "supervised from scratch"
        yield row(UNTRAINED, "linear probe", _linear(untrained, data, draws), 0)
        yield row(UNTRAINED, how, _tuned(untrained, data, scratch, draws), tuned)
        if settings.whole_budget and pretraining:
            steps = scratch.steps + round(pretraining / scratch.batch_size)
            found = _tuned(untrained, data, scratch.model_copy(update={"steps": steps}), draws)
            yield row(UNTRAINED, f"{how}, whole budget", found, tuned + pretraining)
    for other in others:
        yield row(other.name, "linear probe", _linear(other, data, draws), 0)
        yield row(other.name, "fine-tuned", _tuned(other, data, tuning, draws), 0)
    if start is not None:
        yield row(START_WEIGHTS, "frozen, linear probe", _linear(start, data, draws), 0)
        yield row(START_WEIGHTS, "fine-tuned", _tuned(start, data, tuning, draws), 0)
    ours = THIS_RUN if start is None else CONTINUED
    yield row(ours, "linear probe", _linear(evaluated, data, draws), pretraining)
    yield row(ours, "fine-tuned", _tuned(evaluated, data, tuning, draws), pretraining + tuned)


def _starts(
    evaluated: EvaluatedEncoder, data: EvaluationData
) -> tuple[EvaluatedEncoder | None, EvaluatedEncoder | None]:
    """Start weights of the run, if it has any, and an untrained encoder of the same network, all of
    whose layers learn, if its layers can be drawn anew."""
    origin = evaluated.origin
    assert origin is not None
    if origin.name == UNTRAINED:
        return None, origin
    assert isinstance(origin.encoder, Encoder)
    assert data.config is not None
    try:
        drawn = drawn_anew(origin.encoder, data.config, device=data.device)
    except ConfigError as error:
        data.report(f"verdict: no rows from scratch, since {error}")
        return origin, None
    return origin, EvaluatedEncoder(UNTRAINED, drawn)


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
