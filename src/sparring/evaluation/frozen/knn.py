"""The kNN protocol: a weighted vote of the nearest training features."""

from pydantic import Field

from sparring.config import Settings
from sparring.evaluation.data import Contestant, Material
from sparring.evaluation.protocol import Result
from sparring.measures.knn import knn_accuracy


class KnnSettings(Settings):
    """Settings of `knn`."""

    num_neighbors: int = Field(default=200, ge=1)
    """As in Wu et al. 2018; at most the training images."""
    temperature: float = Field(default=0.1, gt=0)
    """Of the weight exp(cosine / temperature); theirs is 0.07, the training monitor's and ours
    0.1."""


def knn(contestant: Contestant, material: Material, settings: KnnSettings) -> Result:
    """Share of test images whose neighbours vote for their class (Wu et al. 2018,
    arXiv:1805.01978)."""
    data = material.labelled(contestant)
    neighbors = min(settings.num_neighbors, len(data.train_labels))
    accuracy = knn_accuracy(
        data.train_features,
        data.train_labels,
        data.test_features,
        data.test_labels,
        num_neighbors=neighbors,
        temperature=settings.temperature,
    )
    return {
        "accuracy": accuracy,
        "num_neighbors": neighbors,
        "temperature": settings.temperature,
        **material.classes.sizes,
    }
