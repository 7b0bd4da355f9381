"""Heads: small perceptrons between the backbone and the objective. A projector follows the
backbone, a predictor or prototypes follow a projector."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

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
    - `dino`: three linear layers with GELU between, no batch norm; weights begin with a variance of
      1 / inputs, biases at 0 (DINO, Caron et al. 2021, arXiv:2104.14294; released code: a standard
      deviation of 0.02, the same at 2,500 inputs).
    - `dino-normed`: like `dino`, with batch norm before each GELU.
    """

    kind: Literal[
        "linear", "mocov2", "simclr", "three-layer", "mocov3", "simsiam", "dino", "dino-normed"
    ] = "mocov2"
    """Form of the projector, named after the method that introduced it."""
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
        case "dino" | "dino-normed":
            return _dino_projector(
                num_features, hidden, dim, is_normed=settings.kind == "dino-normed"
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
    """Form of the predictor: where it has batch norm and biases."""
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


class Prototypes(nn.Linear):
    """Unit vectors in embedding space; an embedding's score of each is the cosine with it.

    The vectors are parameters of any length that are normalised whenever they are used: a linear
    layer with weight norm whose lengths are fixed at 1.

    Args:
        dim: size of the embeddings.
        num_prototypes: number of vectors.

    Source: Caron et al. 2021, arXiv:2104.14294, section 3.1 and appendix C.
    """

    def __init__(self, dim: int, num_prototypes: int) -> None:
        super().__init__(dim, num_prototypes, bias=False)

    def forward(
        self, embeddings: Float[Tensor, "batch dim"], *, is_fixed: bool = False
    ) -> Float[Tensor, "batch prototypes"]:
        """Cosines, in [-1, 1].

        Args:
            embeddings: raw embeddings.
            is_fixed: whether the vectors get no gradient.
        """
        weight = self.weight.detach() if is_fixed else self.weight
        return F.linear(F.normalize(embeddings, dim=1), F.normalize(weight, dim=1))


def _dino_projector(inputs: int, hidden: int, dim: int, *, is_normed: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in (inputs, hidden):
        norm = [nn.BatchNorm1d(hidden)] if is_normed else []
        layers += [nn.Linear(size, hidden), *norm, nn.GELU()]
    layers.append(nn.Linear(hidden, dim))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def _normed(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]


def _normed_output(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs, affine=False)]
