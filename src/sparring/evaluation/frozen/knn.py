"""The kNN protocol: a weighted vote of the nearest training features."""

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from sparring.config import Settings
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.protocol import Protocol, Result
from sparring.measures.accuracy import top_1, wilson_interval
from sparring.measures.knn import USUAL_NEIGHBORS, fitting_neighbors, knn_predict

PROTOCOL = Protocol(
    name="knn",
    function="knn",
    settings="KnnSettings",
    title="Nearest neighbours (kNN)",
    short="kNN",
    question="how accurate is a vote of the nearest training features?",
    labels="classes",
    source="Wu et al. 2018, arXiv:1805.01978",
)


class KnnSettings(Settings):
    """Settings of `knn`."""

    num_neighbors: int | None = Field(default=None, ge=1)
    """Number of neighbours that vote, at most the training images; None: 200, as in Wu et al. 2018,
    or fewer where the smallest class has fewer training images."""
    temperature: float = Field(default=0.1, gt=0)
    """Temperature of a vote's weight exp(cosine / temperature); 0.07 in Wu et al., 0.1 in the
    training monitor and here."""

    def neighbors(self, labels: Int[Tensor, "train"]) -> int:
        """Number of neighbours that vote, given the class of each training image."""
        return min(self.num_neighbors or fitting_neighbors(labels), len(labels))


def knn(evaluated: EvaluatedEncoder, data: EvaluationData, settings: KnnSettings) -> Result:
    """Share of test images whose nearest training features vote for their class (Wu et al. 2018,
    arXiv:1805.01978)."""
    labelled = data.labelled(evaluated)
    neighbors = settings.neighbors(labelled.train_labels)
    predicted = knn_predict(
        labelled.train_features,
        labelled.train_labels,
        labelled.test_features,
        num_neighbors=neighbors,
        temperature=settings.temperature,
    )
    accuracy = top_1(predicted, labelled.test_labels)
    result: Result = {
        "accuracy": accuracy,
        "interval": [*wilson_interval(accuracy, len(labelled.test_labels))],
        "num_neighbors": neighbors,
        "temperature": settings.temperature,
        "predictions": data.classes.predictions(predicted),
        **data.classes.sizes,
    }
    if settings.num_neighbors is None and neighbors < USUAL_NEIGHBORS:
        smallest = int(torch.bincount(labelled.train_labels).min())
        result["note"] = (
            f"{neighbors} neighbours vote, not the usual {USUAL_NEIGHBORS}, since the smallest "
            f"class has {smallest:,} training image{'s' * (smallest != 1)}; set "
            "knn.num_neighbors for another number"
        )
    return result
