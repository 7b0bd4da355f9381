"""The kNN protocol: a weighted vote of the nearest training features."""

from pydantic import Field

from sparring.config import Settings
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.protocol import Protocol, Result
from sparring.measures.accuracy import top_1
from sparring.measures.knn import knn_predict

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

    num_neighbors: int = Field(default=200, ge=1)
    """Number of neighbours that vote, as in Wu et al. 2018; at most the training images."""
    temperature: float = Field(default=0.1, gt=0)
    """Temperature of a vote's weight exp(cosine / temperature); 0.07 in Wu et al., 0.1 in the
    training monitor and here."""


def knn(evaluated: EvaluatedEncoder, data: EvaluationData, settings: KnnSettings) -> Result:
    """Share of test images whose nearest training features vote for their class (Wu et al. 2018,
    arXiv:1805.01978)."""
    labelled = data.labelled(evaluated)
    neighbors = min(settings.num_neighbors, len(labelled.train_labels))
    predicted = knn_predict(
        labelled.train_features,
        labelled.train_labels,
        labelled.test_features,
        num_neighbors=neighbors,
        temperature=settings.temperature,
    )
    return {
        "accuracy": top_1(predicted, labelled.test_labels),
        "num_neighbors": neighbors,
        "temperature": settings.temperature,
        "predictions": data.classes.predictions(predicted),
        **data.classes.sizes,
    }
