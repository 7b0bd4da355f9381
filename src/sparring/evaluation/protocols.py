"""The evaluation protocols by name, and the function that runs them.

To add one: a function from `Material` to `Scores`, and its line in `PROTOCOLS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch

from sparring.errors import ConfigError, DataError, unknown_name
from sparring.evaluation.features import FeatureEncoder, Progress
from sparring.evaluation.linear import linear_probe
from sparring.evaluation.material import (
    Labelled,
    LabelledImages,
    Material,
    ViewPair,
    both_features,
    known_labels,
    labelled,
    view_features,
)
from sparring.measures.geometry import alignment, collapse_warning, effective_rank, embedding_std, uniformity
from sparring.measures.knn import knn_accuracy
from sparring.seeding import generator

Scores = dict[str, float | int | str]
"""One protocol's results; `accuracy` is a share in [0, 1]."""

NUM_NEIGHBORS, TEMPERATURE = 200, 0.1
"""Of the kNN protocol: 200 neighbours as in Wu et al. 2018; their temperature is 0.07, the monitor's and ours 0.1."""

# Pairs grow with the square of the images, and the measures are means.
_GEOMETRY_IMAGES = 5000


def evaluate(
    encoder: FeatureEncoder,
    train: LabelledImages,
    test: LabelledImages,
    *,
    protocols: Sequence[str] = ("knn", "linear", "geometry"),
    seed: int = 0,
    device: torch.device | str = "cpu",
    views: ViewPair | None = None,
    progress: Progress | None = None,
) -> dict[str, Scores]:
    """Scores of each protocol on frozen backbone features, in the order asked for.

    Args:
        encoder: unchanged afterwards; its parameters are on `device`.
        train: images whose labels classifiers may learn from.
        test: all of it is scored. If it is the same images as `train`, a fifth of each class is held out and scored.
        protocols: names in `PROTOCOLS`.
        seed: draws every split and sample.
        device: where features and fits are computed.
        views: makes two views for the alignment, which is left out without them.
        progress: told the number of images done and in all.

    Raises:
        ConfigError: for an unknown protocol.
        DataError: if a protocol needs labels that are missing or show a single class.
    """
    for name in protocols:
        if name not in PROTOCOLS:
            raise ConfigError(unknown_name("protocol", name, PROTOCOLS))
    needs_labels = not LABEL_FREE.issuperset(protocols)
    if needs_labels:  # before the minutes that features take
        _check_labels(train, test)
    features = both_features(encoder, train, test, device=device, progress=progress)
    with_views = views if "geometry" in protocols else None
    material = Material(
        labelled=labelled(train, test, features, seed=seed) if needs_labels else None,
        features=features[1],
        views=view_features(encoder, test, with_views, device=device, seed=seed) if with_views else None,
        seed=seed,
    )
    return {name: PROTOCOLS[name](material) for name in protocols}


def knn(material: Material) -> Scores:
    """Weighted vote of the nearest training features (Wu et al. 2018)."""
    data = _require(material)
    neighbors = min(NUM_NEIGHBORS, len(data.train_labels))
    accuracy = knn_accuracy(
        data.train_features,
        data.train_labels,
        data.test_features,
        data.test_labels,
        num_neighbors=neighbors,
        temperature=TEMPERATURE,
    )
    return {"accuracy": accuracy, "num_neighbors": neighbors, "temperature": TEMPERATURE, **_sizes(data)}


def linear(material: Material) -> Scores:
    """Logistic regression, its regularisation chosen on held-out training images."""
    data = _require(material)
    score = linear_probe(data.train_features, data.train_labels, data.test_features, data.test_labels, seed=material.seed)
    return {**asdict(score), **_sizes(data)}


def geometry(material: Material) -> Scores:
    """Label-free measures of the backbone features, and a warning if they have collapsed."""
    count, channels = material.features.shape
    order = torch.randperm(count, generator=generator(material.seed, "geometry"))[:_GEOMETRY_IMAGES]
    features = material.features[order.to(material.features.device)]
    measures = {"effective_rank": effective_rank(features), "embedding_std": embedding_std(features)}
    if count > 1:
        measures["uniformity"] = uniformity(features)
    if material.views is not None:
        measures["alignment"] = alignment(*material.views)
    warning = collapse_warning(measures, channels=channels)
    return {**measures, "channels": channels, "images": len(features), **({"warning": warning} if warning else {})}


PROTOCOLS: dict[str, Callable[[Material], Scores]] = {"knn": knn, "linear": linear, "geometry": geometry}
LABEL_FREE = frozenset({"geometry"})


def _check_labels(train: LabelledImages, test: LabelledImages) -> None:
    labels = known_labels(train, "training")
    known_labels(test, "test")
    if len(torch.unique(labels[labels >= 0])) < 2:
        raise DataError("the training images show a single class, and telling classes apart needs at least two")


def _require(material: Material) -> Labelled:
    assert material.labelled is not None
    return material.labelled


def _sizes(data: Labelled) -> Scores:
    return {"train_images": len(data.train_labels), "test_images": len(data.test_labels), "tested_on": data.tested_on}
