"""The linear probe on frozen features: logistic regression to convergence, or as one of the papers
trains it."""

from pydantic import Field

from sparring.config import Settings
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.frozen.epoch_probe import EpochRecipe, probe_predictions
from sparring.evaluation.frozen.logistic import REGULARISATIONS, fitted_probe
from sparring.evaluation.protocol import Protocol, Result
from sparring.measures.accuracy import top_1, wilson_interval

PROTOCOL = Protocol(
    name="linear",
    function="linear",
    settings="LinearSettings",
    title="Linear probe",
    short="linear probe",
    question="how accurate is a linear classifier of the frozen features?",
    labels="classes",
    source=(
        "logistic regression, after Kornblith et al. 2019, arXiv:1805.08974; the variants as "
        "in the papers of their names"
    ),
    variants={
        "adco": {"recipe": {}},
        "adco-best": {"recipe": {"report": "best"}},
        # Wang et al. 2022 (CaCo), released code: LARS, 0.025 per 256 images at a batch of
        # 4,096, to zero.
        "caco": {
            "recipe": {
                "optimizer": "lars",
                "learning_rate": 0.025,
                "final_learning_rate": 0.0,
                "reference_batch": 256,
                "batch_size": 4096,
            }
        },
        # Ho & Vasconcelos 2020 (CLAE), released code: Adam at a constant rate on features
        # computed once.
        "clae": {
            "recipe": {
                "optimizer": "adam",
                "learning_rate": 3e-4,
                "final_learning_rate": 3e-4,
                "epochs": 1000,
                "crop_scale": None,
            }
        },
        "clae-best": {
            "recipe": {
                "optimizer": "adam",
                "learning_rate": 3e-4,
                "final_learning_rate": 3e-4,
                "epochs": 1000,
                "crop_scale": None,
                "report": "best",
            }
        },
        "clae-uel": {
            "recipe": {
                "optimizer": "adam",
                "learning_rate": 3e-4,
                "final_learning_rate": 3e-4,
                "epochs": 1000,
                "crop_scale": None,
                "batch_size": 128,
                "input": "embeddings",
            }
        },
    },
)


class LinearSettings(Settings):
    """Settings of `linear`."""

    regularisations: tuple[float, ...] = REGULARISATIONS
    """Weight penalties to choose from on held-out training images."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Part of each class of the training images to choose on."""
    recipe: EpochRecipe | None = None
    """A paper's recipe of epochs, set by the variants; None: logistic regression to convergence,
    with the two settings above."""


def linear(evaluated: EvaluatedEncoder, data: EvaluationData, settings: LinearSettings) -> Result:
    """Test accuracy of a linear classifier of the frozen features; the test images are used
    once."""
    if settings.recipe is not None:
        return _by_recipe(evaluated, data, settings.recipe)
    labelled = data.labelled(evaluated)
    probe = fitted_probe(
        labelled.train_features,
        labelled.train_labels,
        seed=data.seed,
        regularisations=settings.regularisations,
        validation_share=settings.validation_share,
    )
    predicted = probe.predicted(labelled.test_features)
    accuracy = top_1(predicted, labelled.test_labels)
    return {
        "accuracy": accuracy,
        "interval": [*wilson_interval(accuracy, len(labelled.test_labels))],
        "validation_accuracy": probe.validation_accuracy,
        "regularisation": probe.regularisation,
        "iterations": probe.iterations,
        "predictions": data.classes.predictions(predicted),
        **data.classes.sizes,
    }


def _by_recipe(evaluated: EvaluatedEncoder, data: EvaluationData, recipe: EpochRecipe) -> Result:
    accuracies, best_predicted = [], None
    for predicted in probe_predictions(evaluated, data, recipe):
        accuracies.append(top_1(predicted, data.classes.test_labels))
        if accuracies[-1] == max(accuracies):
            best_predicted = predicted
    assert best_predicted is not None
    result = {
        "accuracy": max(accuracies),
        "epochs": recipe.epochs,
        "predictions": data.classes.predictions(best_predicted),
        **data.classes.sizes,
    }
    if recipe.report == "best":
        best = (
            f"best of {recipe.epochs} epochs on the test images, whose labels chose it; the last "
            f"one has {accuracies[-1]:.4f}"
        )
        return {**result, "last_accuracy": accuracies[-1], "note": best}
    return result
