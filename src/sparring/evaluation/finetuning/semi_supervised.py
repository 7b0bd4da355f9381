"""Semi-supervised evaluation: the whole network learns from a few labels, over several draws of the
labelled images."""

from pathlib import PurePath
from typing import Annotated

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from sparring.config import Settings
from sparring.errors import DataError
from sparring.evaluation.classified import Classified
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.finetuning.finetuning import (
    FineTuningSettings,
    budget_warning,
    predictions,
    tuned_copy,
)
from sparring.evaluation.protocol import Protocol, Result, spread, table
from sparring.evaluation.resident_images import resident
from sparring.evaluation.split import labelled_rows
from sparring.measures.accuracy import top_1
from sparring.regular_files import read_text
from sparring.seeding import derived_seed
from sparring.training.encoder_names import UNTRAINED

Share = Annotated[float, Field(gt=0, le=1)]


PROTOCOL = Protocol(
    name="semi-supervised",
    function="semi_supervised",
    settings="SemiSupervisedSettings",
    title="Semi-supervised",
    question="how accurate is the network fine-tuned on few labels?",
    labels="classes",
    measure="accuracy at the smallest share of the labels, mean over draws",
    source=(
        "Zhai et al. 2019, arXiv:1905.03670 (1 % and 10 %); rates and length after Caron et "
        "al. 2020 (SwAV), arXiv:2006.09882"
    ),
    # Caron et al. 2020 (SwAV), released code: 20 epochs of batch 256 on ImageNet's 1 % (1,000
    # steps) or 10 %, drops at 12 and 16.
    variants={
        "swav-1": {
            "fractions": [0.01],
            "tuning": {
                "batch_size": 256,
                "schedule": "steps",
                "crop_scale": [0.08, 1.0],
                "steps": 1000,
                "backbone_learning_rate": 0.02,
                "head_learning_rate": 5.0,
            },
            "scratch": {
                "batch_size": 256,
                "schedule": "steps",
                "crop_scale": [0.08, 1.0],
                "steps": 1000,
            },
        },
        "swav-10": {
            "fractions": [0.1],
            "tuning": {
                "batch_size": 256,
                "schedule": "steps",
                "crop_scale": [0.08, 1.0],
                "steps": 10000,
                "backbone_learning_rate": 0.01,
                "head_learning_rate": 0.2,
            },
            "scratch": {
                "batch_size": 256,
                "schedule": "steps",
                "crop_scale": [0.08, 1.0],
                "steps": 10000,
            },
        },
    },
    is_frozen=False,
)


class SemiSupervisedSettings(Settings):
    """Settings of `semi-supervised`."""

    fractions: tuple[Share, ...] = (0.01, 0.1)
    """Shares of the labels; those of each class, at least one image of each. A smaller share is
    part of a larger one."""
    draws: int = Field(default=3, ge=1)
    """Draws of the labelled images; the spread is over them."""
    lists: tuple[str, ...] = ()
    """Text files of image names, one per line, in the place of drawn fractions: such as the
    published lists of ImageNet."""
    tuning: FineTuningSettings = FineTuningSettings()
    """Fine-tuning of a pretrained encoder."""
    scratch: FineTuningSettings = FineTuningSettings(
        backbone_learning_rate=0.1, head_learning_rate=0.1, weight_decay=5e-4
    )
    """Fine-tuning of the untrained encoder: supervised learning from scratch on the same labels,
    with a scratch rate (He et al. 2016)."""


def semi_supervised(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: SemiSupervisedSettings
) -> Result:
    """Test accuracy after fine-tuning on few labels; for the untrained encoder this is supervised
    learning from scratch.

    The headline is the mean over draws at the first fraction.

    Raises:
        DataError: for a list that names none of the training images, or leaves a class without one.
        TrainingError: if a loss is not finite.
    """
    classified = data.classes
    budgets = {name: [_listed(classified, name)] for name in settings.lists} or {
        f"{100 * fraction:.4g} %": [
            labelled_rows(
                classified.train_labels, share=fraction, seed=derived_seed(data.seed, draw)
            )
            for draw in range(settings.draws)
        ]
        for fraction in settings.fractions
    }
    tuning = settings.tuning if evaluated.name != UNTRAINED else settings.scratch
    accuracies: dict[str, list[float]] = {}
    predicted: dict[str, Tensor] = {}
    for name, draws in budgets.items():
        for number, chosen in enumerate(draws):
            fit = f"{name} of the labels, draw {number + 1}"
            seed = derived_seed(data.seed, "tuning", number)
            classifier = tuned_copy(evaluated, data, chosen, settings=tuning, seed=seed, what=fit)
            predicted[fit] = predictions(
                classifier, resident(data, classified.test), classified.test_rows
            )
            accuracies.setdefault(name, []).append(top_1(predicted[fit], classified.test_labels))
    rows: list[list[str | float | int | None]] = [
        [name, len(budgets[name][0]), *spread(found), len(found)]
        for name, found in accuracies.items()
    ]
    first, first_spread = spread(next(iter(accuracies.values())))
    return {
        "accuracy": first,
        "spread": first_spread,
        "draws": accuracies,
        "note": "fine-tuned from the pretrained encoder"
        if evaluated.name != UNTRAINED
        else "supervised from scratch on the same labels",
        "table": table(
            ["labels", "images", "accuracy %", "spread %", "draws"],
            rows,
            title="Accuracy over draws of the labelled images",
        ),
        **budget_warning(settings.tuning, settings.scratch, protocol=PROTOCOL.name),
        "predictions": classified.predictions(
            torch.stack(list(predicted.values())), list(predicted)
        ),
        **classified.sizes,
    }


def _listed(classified: Classified, path: str) -> Int[Tensor, "listed"]:
    """Positions among the training rows of the images that a file names, by their whole name or its
    last part."""
    try:
        names = {line.strip() for line in read_text(path).splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"semi-supervised.lists: cannot read {path}: "
            f"{getattr(error, 'strerror', None) or error}"
        ) from None
    keys = [classified.train.keys[int(row)] for row in classified.train_rows]
    listed = torch.tensor(
        [i for i, key in enumerate(keys) if key in names or PurePath(key).name in names],
        dtype=torch.long,
    )
    if not len(listed):
        raise DataError(
            f"semi-supervised.lists: none of the {len(names):,} names in {path} is a training "
            f"image, such as {keys[0]}"
        )
    missing = set(range(len(classified.class_names))) - set(
        classified.train_labels[listed].tolist()
    )
    if missing:
        raise DataError(
            f"semi-supervised.lists: {path} names no image of class "
            f"{classified.class_names[min(missing)]}; name at least one of each"
        )
    return listed
