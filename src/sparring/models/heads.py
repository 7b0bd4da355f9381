"""Heads: small perceptrons between the backbone and the objective. A projector follows the
backbone, a predictor follows a projector."""

from typing import Literal

from pydantic import Field
from torch import nn

from sparring.config import Settings


class ProjectorSettings(Settings):
    """Shape of the projector.

    - `linear`: one linear layer (Ye et al. 2019, arXiv:1904.03436, and CLAE's `plain` and `uel`).
    - `mocov2`: two linear layers with ReLU between, no batch norm (Chen et al. 2020,
      arXiv:2003.04297).
    - `simclr`: like `mocov2`, with batch norm after the first layer (SimCLR's released code; Chen
      et al. 2020, arXiv:2002.05709).
    - `three-layer`: three linear layers without bias; batch norm and ReLU after the first two
      (CaCo).
    - `mocov3`: two linear layers without bias; batch norm and ReLU between, batch norm without
      parameters at the end (MoCo v3 with ResNets, Chen et al. 2021, arXiv:2104.02057; SimSiam on
      CIFAR).
    - `simsiam`: like `mocov3`, with three layers (SimSiam, Chen & He 2020, arXiv:2011.10566; MoCo
      v3 with vision transformers).
    """

    kind: Literal["linear", "mocov2", "simclr", "three-layer", "mocov3", "simsiam"] = "mocov2"
    hidden: int | None = Field(default=None, ge=1)
    """Width of the hidden layers, if any; None: the size of the features."""
    dim: int = Field(default=128, ge=2)
    """Size of the embeddings."""


def make_projector(settings: ProjectorSettings, num_features: int) -> nn.Sequential:
    """Projector from features of the given size to embeddings."""
    hidden, dim = settings.hidden or num_features, settings.dim
    match settings.kind:
        case "linear":
            return nn.Sequential(nn.Linear(num_features, dim))
        case "mocov2":
            return nn.Sequential(
                nn.Linear(num_features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim)
            )
        case "simclr":
            return nn.Sequential(*_normed(num_features, hidden), nn.Linear(hidden, dim))
        case "three-layer":
            first, second = _normed(num_features, hidden), _normed(hidden, hidden)
            return nn.Sequential(*first, *second, nn.Linear(hidden, dim, bias=False))
        case "mocov3":
            return nn.Sequential(*_normed(num_features, hidden), *_normed_output(hidden, dim))
        case "simsiam":
            return nn.Sequential(
                *_normed(num_features, hidden),
                *_normed(hidden, hidden),
                *_normed_output(hidden, dim),
            )


class PredictorSettings(Settings):
    """Shape of the predictor: two linear layers from embeddings to embeddings, ReLU between.

    - `normed`: batch norm after the first layer (SimSiam; BYOL, Grill et al. 2020,
      arXiv:2006.07733).
    - `normed-unbiased`: like `normed`, with no bias in the second layer (MoCo v3 with ResNets, Chen
      et al. 2021, arXiv:2104.02057).
    - `normed-output`: like `normed-unbiased`, with batch norm without parameters at the end (MoCo
      v3 with vision transformers).
    - `plain`: no batch norm.
    """

    kind: Literal["normed", "normed-unbiased", "normed-output", "plain"] = "normed"
    hidden: int = Field(default=512, ge=1)
    """Width of the hidden layer."""


def make_predictor(settings: PredictorSettings, dim: int) -> nn.Sequential:
    """Predictor for embeddings of the given size."""
    match settings.kind:
        case "normed":
            return nn.Sequential(*_normed(dim, settings.hidden), nn.Linear(settings.hidden, dim))
        case "normed-unbiased":
            return nn.Sequential(
                *_normed(dim, settings.hidden), nn.Linear(settings.hidden, dim, bias=False)
            )
        case "normed-output":
            return nn.Sequential(
                *_normed(dim, settings.hidden), *_normed_output(settings.hidden, dim)
            )
        case "plain":
            return nn.Sequential(
                nn.Linear(dim, settings.hidden),
                nn.ReLU(inplace=True),
                nn.Linear(settings.hidden, dim),
            )


def _normed(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]


def _normed_output(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs, affine=False)]
