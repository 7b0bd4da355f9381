"""The linear probe on frozen features."""

from dataclasses import asdict

from pydantic import Field

from sparring.config import Settings
from sparring.evaluation.logistic import REGULARISATIONS, linear_probe
from sparring.evaluation.material import Contestant, Material
from sparring.evaluation.protocol import Result


class LinearSettings(Settings):
    """Settings of `linear`."""

    regularisations: tuple[float, ...] = REGULARISATIONS
    """Weight penalties to choose from on held-out training images."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Part of each class of the training images to choose on."""


def linear(contestant: Contestant, material: Material, settings: LinearSettings) -> Result:
    """Logistic regression, its regularisation chosen on held-out training images; the test images are looked at once."""
    data = material.labelled(contestant)
    score = linear_probe(
        data.train_features,
        data.train_labels,
        data.test_features,
        data.test_labels,
        seed=material.seed,
        regularisations=settings.regularisations,
        validation_share=settings.validation_share,
    )
    return {**asdict(score), **material.classes.sizes}
