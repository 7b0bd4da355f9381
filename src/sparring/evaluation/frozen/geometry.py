"""The geometry protocol: label-free measures of the backbone features."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparring.config import Settings
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.features import evaluating
from sparring.evaluation.protocol import Protocol, Result
from sparring.measures.geometry import (
    alignment,
    collapse_warning,
    effective_rank,
    embedding_std,
    uniformity,
)
from sparring.seeding import generator

# Pairs grow with the square of the images, and the measures are means.
_IMAGES = 5000
_ALIGNMENT_IMAGES, _BATCH = 1024, 256


PROTOCOL = Protocol(
    name="geometry",
    function="geometry",
    settings="GeometrySettings",
    title="Geometry of the features",
    question="are the features spread out, or have they collapsed?",
    labels="none",
    headline="",
    measure="",
    source="Wang & Isola 2020, arXiv:2005.10242; Roy & Vetterli 2007",
)


class GeometrySettings(Settings):
    """Settings of `geometry`: there are none."""


def geometry(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: GeometrySettings
) -> Result:
    """Label-free measures of the features of the images to score, and a warning if they have
    collapsed."""
    everything = data.features(evaluated)
    order = torch.randperm(len(everything), generator=generator(data.seed, "geometry"))[:_IMAGES]
    features = everything[order.to(everything.device)]
    measures = {
        "effective_rank": effective_rank(features),
        "embedding_std": embedding_std(features),
    }
    if len(everything) > 1:
        measures["uniformity"] = uniformity(features)
    views = view_features(evaluated, data)
    if views is not None:
        measures["alignment"] = alignment(*views)
    channels = everything.shape[1]
    warning = collapse_warning(measures, channels=channels)
    return {
        **measures,
        "channels": channels,
        "images": len(features),
        **({"warning": warning} if warning else {}),
    }


def view_features(
    evaluated: EvaluatedEncoder, data: EvaluationData
) -> tuple[Float[Tensor, "sample channels"], Float[Tensor, "sample channels"]] | None:
    """An encoder's features of two views of a sample of the images to score; None if there are no
    views."""
    if data.views is None:
        return None
    dataset, parts = data.images[1], []
    order = torch.randperm(len(dataset), generator=generator(data.seed, "alignment"))
    with evaluating(evaluated.encoder.modules()):
        for number, rows in enumerate(torch.split(order[:_ALIGNMENT_IMAGES], _BATCH)):
            first, second = data.views(
                dataset.images(rows.numpy()).to(data.device),
                generator(data.seed, "evaluation views", number * _BATCH),
            )
            parts.append((evaluated.encoder.features(first), evaluated.encoder.features(second)))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
