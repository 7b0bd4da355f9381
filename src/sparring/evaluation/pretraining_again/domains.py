"""The domains protocol: accuracy on a domain that neither pretraining nor the labels contained.

Each domain is held out in turn. An encoder is pretrained on the images of the others, a stated
fraction of those is labelled, a classifier learns from these, and all images of the held-out domain
are scored. A domain may lack classes: then no label of them comes from it; a class that none of the
others shows cannot be learned, and its images count as errors.

The fractions and the change from a linear classifier to fine-tuning at 10 % of the labels follow
Zhang et al. 2022, arXiv:2107.06219, as we remember the paper (not verified); it reports 1, 5, 10
and 100 %.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator
from torch import Tensor

from sparring.config import Settings
from sparring.data.sources.dataset_subset import dataset_subset
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.features import FeatureEncoder, extract_features
from sparring.evaluation.finetuning.finetuning import (
    FineTuningSettings,
    budget_warning,
    fine_tuned,
    predictions,
)
from sparring.evaluation.frozen.logistic import linear_probe, regularisation_path, standardise
from sparring.evaluation.pretraining_again.held_out_domains import (
    DomainImages,
    HeldOutDomain,
    chosen,
    held_out,
    opened,
)
from sparring.evaluation.pretraining_again.pretraining import (
    pretrained,
    require_batches,
    run_config,
)
from sparring.evaluation.protocol import Protocol, Result, spread, table
from sparring.measures.accuracy import top_1
from sparring.seeding import derived_seed
from sparring.training.encoder_names import UNTRAINED

FALLBACK_PENALTY = 0.1
"""Weight penalty where no class has two labelled images, so that no image can be held out to choose
the penalty on."""


PROTOCOL = Protocol(
    name="domains",
    function="domains",
    settings="DomainsSettings",
    title="Unseen domain",
    question="how accurate is it on a domain that pretraining has not seen?",
    labels="domains",
    measure="accuracy at the smallest share of the labels, mean over domains held out",
    source="Zhang et al. 2022, arXiv:2107.06219 (fractions and classifiers, not verified)",
    variants={
        "linear": {"fractions": [0.01, 0.1, 1.0], "fine_tune_from": 2.0},
        "udg": {"fractions": [0.01, 0.05, 0.1, 1.0]},
        "own-encoder": {"pretrain": "run"},
    },
    is_frozen=False,
)


class DomainsSettings(Settings):
    """Settings of `domains`."""

    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.01, 0.1), min_length=1
    )
    """Shares of the other domains' images that are labelled, at least one of each class in each
    domain; the first gives the headline."""
    draws: int = Field(default=3, ge=1)
    """Random choices of the labelled images; mean and spread are over them."""
    fine_tune_from: float = Field(default=0.1, gt=0)
    """Fraction from which the whole network is fine-tuned instead of a linear classifier on its
    features; 2: never. Zhang et al. 2022."""
    tuning: FineTuningSettings = FineTuningSettings()
    """Fine-tuning of a pretrained encoder."""
    scratch: FineTuningSettings = FineTuningSettings(
        backbone_learning_rate=0.1, head_learning_rate=0.1, weight_decay=5e-4
    )
    """Fine-tuning of the untrained encoder: supervised learning from scratch on the same labels, as
    in `semi-supervised`."""
    pretrain: Literal["leave-one-out", "run"] = "leave-one-out"
    """`leave-one-out`: pretrain for every held-out domain, without its images; `run`: take the
    run's own encoder, which may have seen them."""
    epochs: int | None = Field(default=None, ge=1)
    """Epochs of each pretraining; None: the run's."""
    hold_out: tuple[str, ...] = ()
    """Domains to hold out, one after the other; empty: all."""

    @field_validator("hold_out", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


Scores: TypeAlias = list[list[float]]
"""Accuracies of one held-out domain: for each fraction, one per draw."""


def domains(evaluated: EvaluatedEncoder, data: EvaluationData, settings: DomainsSettings) -> Result:
    """Accuracy on a held-out domain after learning from few labels of the other domains; mean over
    the domains held out."""
    images = opened(data)
    cases = [held_out(images, name) for name in chosen(images, settings.hold_out)]
    for note in dict.fromkeys(note for case in cases for note in case.notes):
        data.report(note)
    pretrains = evaluated.is_trained and settings.pretrain == "leave-one-out"
    if pretrains:
        for case in cases:
            require_batches(len(case.others), run_config(data), f"{case.name} held out")
    scorer, scores = Scorer(images, data, settings), {}
    for case in cases:
        own = _without(case, images, data, settings) if pretrains else evaluated
        scores[case.name] = scorer.scores(own, case)
    is_tuned = max(settings.fractions) >= settings.fine_tune_from
    return {
        **_result(cases, scores, settings),
        **(
            budget_warning(settings.tuning, settings.scratch, protocol=PROTOCOL.name)
            if is_tuned
            else {}
        ),
        "note": _note(evaluated, settings, data),
    }


class Scorer:
    """Learns from few labels and scores; the features of an encoder are computed once.

    Args:
        images: all of them.
        data: device, seed, and who is told.
        settings: fractions, draws, kinds of classifiers.
    """

    def __init__(
        self, images: DomainImages, data: EvaluationData, settings: DomainsSettings
    ) -> None:
        self._images, self._data, self._settings = images, data, settings
        self._known: tuple[FeatureEncoder, Tensor] | None = None

    def scores(self, evaluated: EvaluatedEncoder, case: HeldOutDomain) -> Scores:
        """An encoder's accuracies on the held-out domain: for each fraction, one per draw."""
        draws = range(self._settings.draws)
        return [
            [self._accuracy(evaluated, case, fraction, draw) for draw in draws]
            for fraction in self._settings.fractions
        ]

    def _accuracy(
        self, evaluated: EvaluatedEncoder, case: HeldOutDomain, fraction: float, draw: int
    ) -> float:
        rows = case.drawn(fraction, draw=draw, seed=self._data.seed)
        seed = derived_seed(self._data.seed, "domains", case.name, draw)
        if fraction >= self._settings.fine_tune_from:
            what = (
                f"{evaluated.name} encoder, {case.name} held out, fine-tuning on "
                f"{100 * fraction:g} % of the labels, draw {draw + 1}"
            )
            return self._fine_tuned(evaluated, case, rows, seed=seed, what=what)
        features, targets = self._features(evaluated), case.targets.to(self._data.device)
        rows, tested = rows.to(features.device), case.tested.to(features.device)
        return linear_accuracy(
            features[rows], targets[rows], features[tested], targets[tested], seed=seed
        )

    def _fine_tuned(
        self,
        evaluated: EvaluatedEncoder,
        case: HeldOutDomain,
        rows: Tensor,
        *,
        seed: int,
        what: str,
    ) -> float:
        own = self._settings
        classifier = fine_tuned(
            evaluated.trainable_copy(),
            self._images.dataset,
            rows,
            case.targets[rows],
            num_classes=case.num_classes,
            settings=own.scratch if evaluated.name == UNTRAINED else own.tuning,
            seed=seed,
            progress=self._data.progress(what),
        )
        return top_1(
            predictions(classifier, self._images.dataset, case.tested), case.targets[case.tested]
        )

    def _features(self, evaluated: EvaluatedEncoder) -> Float[Tensor, "images channels"]:
        if self._known is None or self._known[0] is not evaluated.encoder:
            device, progress = (
                self._data.device,
                self._data.progress(f"features of the {evaluated.name} encoder"),
            )
            features = extract_features(
                evaluated.encoder, self._images.dataset, device=device, progress=progress
            )
            self._known = evaluated.encoder, features.to(device)
        return self._known[1]


def linear_accuracy(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int[Tensor, "train"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int[Tensor, "test"],
    *,
    seed: int,
) -> float:
    """Linear probe's accuracy in [0, 1]; where labels are too few to choose the penalty on, it is
    `FALLBACK_PENALTY`.

    Args:
        train_features: rows to learn from.
        train_labels: their classes, 0 .. classes - 1.
        test_features: rows to score.
        test_labels: their classes; -1 is an error whatever is predicted.
        seed: draws the rows to choose the penalty on.
    """
    if int(torch.bincount(train_labels).max()) > 1:
        return linear_probe(
            train_features, train_labels, test_features, test_labels, seed=seed
        ).accuracy
    training, testing = standardise(train_features, test_features)
    (probe,) = regularisation_path(training, train_labels, [FALLBACK_PENALTY])
    return probe.accuracy(testing, test_labels)


def _without(
    case: HeldOutDomain, images: DomainImages, data: EvaluationData, settings: DomainsSettings
) -> EvaluatedEncoder:
    """The encoder pretrained on the other domains."""
    place = "domains/without-" + re.sub(r"[^\w.-]+", "-", case.name)
    config = run_config(data, epochs=settings.epochs)
    found = pretrained(
        dataset_subset(images.dataset, case.others.numpy()), place, config=config, data=data
    )
    return EvaluatedEncoder("trained", found.trained)


def _note(evaluated: EvaluatedEncoder, settings: DomainsSettings, data: EvaluationData) -> str:
    if not evaluated.is_trained:
        return "the encoder from which the pretraining starts"
    if settings.pretrain == "run":
        return (
            "the run's own encoder, which may have seen the held-out domains' images without labels"
        )
    length = f"{run_config(data, epochs=settings.epochs).training.length()} each"
    return (
        f"pretrained anew for each held-out domain, without its images, {length}; the run's own "
        "encoder plays no part"
    )


def _result(
    cases: Sequence[HeldOutDomain], scores: Mapping[str, Scores], settings: DomainsSettings
) -> Result:
    """Result of the protocol: the headline, chance and the table."""
    fractions = settings.fractions
    over_domains = [
        [spread([scores[case.name][f][d] for case in cases])[0] for d in range(settings.draws)]
        for f in range(len(fractions))
    ]
    accuracy, deviation = spread(over_domains[0])
    unseen = {case.name: int((case.targets[case.tested] < 0).sum()) for case in cases}
    return {
        "accuracy": accuracy,
        "spread": deviation,
        "fraction": fractions[0],
        "draws": settings.draws,
        "domains": {
            case.name: {
                "test_images": len(case.tested),
                "labelled_images": [
                    len(case.drawn(fraction, draw=0, seed=0)) for fraction in fractions
                ],
                "accuracies": scores[case.name],
                **({"images_of_unseen_classes": unseen[case.name]} if unseen[case.name] else {}),
            }
            for case in cases
        },
        "table": _table(cases, [scores[case.name] for case in cases], over_domains, fractions),
    }


def _table(
    cases: Sequence[HeldOutDomain],
    scores: Sequence[Scores],
    over_domains: Scores,
    fractions: Sequence[float],
) -> Result:
    """Table of the accuracies by domain and fraction."""
    columns = ["held out", "images"]
    for fraction in fractions:
        columns += [f"{100 * fraction:g} % labels %", f"{100 * fraction:g} % labels, spread %"]
    rows: list[list[str | float | int | None]] = []
    for case, found in zip(cases, scores, strict=True):
        measured = [value for values in found for value in spread(values)]
        rows.append([case.name, len(case.tested), *measured, case.commonest, 1 / case.num_classes])
    means = [value for values in over_domains for value in spread(values)]
    guesses = [
        spread([case.commonest for case in cases])[0],
        spread([1 / case.num_classes for case in cases])[0],
    ]
    rows.append(["mean", sum(len(case.tested) for case in cases), *means, *guesses])
    title = (
        "Accuracy on each domain held out, by the share of the other domains that is labelled; "
        "mean and spread over draws of the labels"
    )
    return table([*columns, "commonest %", "chance %"], rows, title=title)
