"""Projector heads: small perceptrons between the backbone and the objective."""

from typing import Literal

from pydantic import Field
from torch import nn

from sparring.config import Settings


class ProjectorSettings(Settings):
    """Shape of the projector.

    `mocov2`: two linear layers, ReLU between, no batch norm (Chen et al. 2020, arXiv:2003.04297).
    `simclr`: the same with batch norm after the first layer (SimCLR's released code; Chen et al. 2020, arXiv:2002.05709).
    `three-layer`: three bias-free linear layers, batch norm and ReLU after the first two (CaCo, MoCo v3).
    """

    kind: Literal["mocov2", "simclr", "three-layer"] = "mocov2"
    hidden: int | None = Field(default=None, ge=1)
    """Width of the hidden layers; None: that of the features."""
    dim: int = Field(default=128, ge=2)
    """Size of the embeddings."""


def make_projector(settings: ProjectorSettings, num_features: int) -> nn.Sequential:
    """Projector from features of the given size to embeddings."""
    hidden, dim = settings.hidden or num_features, settings.dim
    match settings.kind:
        case "mocov2":
            return nn.Sequential(nn.Linear(num_features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim))
        case "simclr":
            return nn.Sequential(*_normed(num_features, hidden), nn.Linear(hidden, dim))
        case "three-layer":
            first, second = _normed(num_features, hidden), _normed(hidden, hidden)
            return nn.Sequential(*first, *second, nn.Linear(hidden, dim, bias=False))


def _normed(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
