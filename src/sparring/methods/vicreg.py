"""VICReg: embeddings of two views agree, and each batch keeps its spread; no negatives.

Idea. Two views of an image should have one embedding. Instead of pushing images apart, the loss
asks every dimension for a standard deviation of at least 1 over the batch, and different dimensions
for no correlation; a constant embedding cannot have that. So this is the control that has neither
negatives, nor a teacher, nor a predictor.

The game. The encoder (backbone and expander, which is the projector here) minimises, at every step,
for raw embeddings Z and Z' of the two views of the joint batch of all processes, n images and d
dimensions:

    L = 25 s(Z, Z') + 25 (v(Z) + v(Z')) / 2 + 1 (c(Z) + c(Z'))
    s = mean_ij (z_ij - z'_ij)^2
    v(Z) = mean_j max(0, 1 - sqrt(Var(z_.j) + 1e-4))
    c(Z) = (1 / d) sum_{j != k} Cov(z_.j, z_.k)^2

Nobody else plays.

Deviations from the paper (Bardes et al. 2022, arXiv:2105.04906). s is a mean over dimensions and v
a mean over the two views, as in the authors' code; the equations have sums. The defaults have the
views and optimiser of the other methods for small images and a narrower expander. Batch norm is per
process unless training.sync_batch_norm is set.

Deviations from the authors' code (facebookresearch/vicreg). Its expander has biases in the layers
before a batch norm, which removes them again; ours has none. Its backbone starts the last batch
norm of each residual block at zero, ours at one.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field

from sparring import distributed
from sparring.data.views.view_settings import ViewsSettings
from sparring.measures.metric import Metric
from sparring.methods.about import About, Toy
from sparring.methods.method import (
    Context,
    EncoderOnly,
    Method,
    MethodLoss,
    MethodSettings,
    Metrics,
)
from sparring.models.encoder import Encoder
from sparring.models.heads import ProjectorSettings
from sparring.models.view import View
from sparring.objectives.vicreg import covariance, invariance, variance_hinge
from sparring.optim.player import Player


class VICRegSettings(MethodSettings):
    """Settings of VICReg; the weights are the paper's."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="three-layer", hidden=512)
    """The expander; 8192 wide throughout in the paper, narrow here for small batches."""
    players: EncoderOnly = EncoderOnly()
    invariance_weight: float = Field(default=25.0, ge=0)
    """Weight of the squared difference of the two views."""
    variance_weight: float = Field(default=25.0, ge=0)
    """Weight of the hinge on standard deviations below 1; 0 lets the embeddings collapse."""
    covariance_weight: float = Field(default=1.0, ge=0)
    """Weight of the squared covariances; 0 lets dimensions repeat each other."""


class VICReg(Method):
    """VICReg. Bardes et al. 2022, arXiv:2105.04906."""

    about = About(
        name="vicreg",
        title="VICReg",
        summary="agree on both views while each batch keeps its spread; no negatives",
        source="Bardes et al. 2022, arXiv:2105.04906",
        opponent="none (control): no negatives either",
        good_for="the control that has neither negatives nor a teacher nor a predictor",
        cost=1.04,
        order=4,
    )
    settings_class = VICRegSettings
    toy = Toy(
        # Covariances of 32 images say little.
        learning={
            "projector": {"dim": 64, "hidden": 128},
            "training": {"epochs": 80, "batch_size": 64},
        }
    )
    metrics: ClassVar[Mapping[str, Metric]] = {
        "vicreg/invariance": Metric("mean squared difference of the embeddings of two views"),
        "vicreg/variance": Metric(
            "mean shortfall of the embeddings' standard deviations from 1, from 0 to 1; 1: collapse"
        ),
        "vicreg/covariance": Metric(
            "squared covariances of different dimensions, summed over both views and divided by "
            "the dimension; 0: uncorrelated"
        ),
    }

    def __init__(
        self, encoder: Encoder, settings: VICRegSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """The weighted sum of the three terms; spread is taken over the joint batch."""
        s = self.settings
        first, second = (
            distributed.joint_with_gradient(context.forward(view, self.encoder)) for view in views
        )
        terms = {
            "invariance": invariance(first.own, second.own),
            "variance": (variance_hinge(first.everyone) + variance_hinge(second.everyone)) / 2,
            "covariance": covariance(first.everyone) + covariance(second.everyone),
        }
        loss = (
            s.invariance_weight * terms["invariance"]
            + s.variance_weight * terms["variance"]
            + s.covariance_weight * terms["covariance"]
        )
        return MethodLoss(
            loss=loss, metrics={f"vicreg/{name}": term.detach() for name, term in terms.items()}
        )

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """The loss on the views, then the encoder's update."""
        found = self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        return {"loss": loss, **found.metrics}
